"""`histosam models`: which models there are, where their weights are; fetch one, name one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.prompt import Confirm

from histosam_core import console
from histosam_core.cli.model_facts import own_facts, print_facts, print_list, spec_facts
from histosam_core.cli.options import JsonOption
from histosam_core.errors import ConfigError
from histosam_core.model.registry.own_models import (
    add_own_model,
    find_own_model,
    find_spec,
    list_own_models,
    remove_own_model,
)
from histosam_core.model.registry.registry import list_models
from histosam_core.model.registry.weights import accept_licence, fetch_weights, licence_to_confirm


def models(
    model: Annotated[str | None, Parameter(name="NAME", help="Show everything about it.")] = None,
    /,
    *,
    download: Annotated[
        str | None,
        Parameter(help="Fetch the weights of the model NAME, resuming a broken transfer."),
    ] = None,
    mirror: Annotated[
        str | None,
        Parameter(
            help="With --download: a base URL that has the files by their names. "
            "(default: HISTOSAM_MIRROR, else their own)"
        ),
    ] = None,
    accept: Annotated[str | None, Parameter(help="Accept the licence of the model NAME.")] = None,
    add: Annotated[Path | None, Parameter(help="Give a checkpoint of your own a name.")] = None,
    name: Annotated[
        str | None, Parameter(help="The name, with --add. (default: made from the file's)")
    ] = None,
    remove: Annotated[str | None, Parameter(help="Remove the name NAME of an own model.")] = None,
    json: JsonOption = False,
) -> None:
    """List the models that can be loaded by name, fetch one's weights, or name one of your own.

    Every name works where a command or `load_model` takes a model; so does the path of a
    checkpoint. Weights are kept in the folder that HISTOSAM_CACHE names, the names of your own
    models and the licences that you have accepted in the one that HISTOSAM_DATA names.

    **Examples**

        histosam models

        histosam models ritm_h18s

        histosam models --download sam_vit_b

        histosam models --add runs/refining/best.safetensors --name liver-2026
    """
    if sum(option is not None for option in (model, download, accept, add, remove)) > 1:
        raise ConfigError(
            "NAME, --download, --accept, --add and --remove are separate calls; pass one"
        )
    if name is not None and add is None:
        raise ConfigError("--name goes with --add CHECKPOINT")
    if mirror is not None and download is None:
        raise ConfigError("--mirror goes with --download NAME")
    lines: list[str] = []
    if add is not None:
        own = add_own_model(add, name=name)
        model = own.name
        lines = [f"{own.name}: {own.path}", _next(own.name)]
    elif remove is not None:
        remove_own_model(remove)
        lines = [f"the name {remove} is removed; its file stays"]
    elif accept is not None:
        model, text = accept, licence_to_confirm(accept)
        accept_licence(accept)
        lines = [f"{accept}: there is nothing to accept, or it was accepted before"]
        if text is not None:
            lines = [text, "accepted, and remembered for this user"]
    elif download is not None:
        model = download
        path = _download(download, mirror, asks=not json)
        lines = [f"{download}: {path}", _next(download)]
    if lines and not json:
        for line in lines:
            console.out.print(line, markup=False)
    elif remove is not None:
        return
    elif model is not None:
        facts = _facts(model)
        console.print_json(facts) if json else print_facts(facts)
    else:
        listed = [spec_facts(spec) for spec in list_models()]
        listed += [own_facts(own) for own in list_own_models()]
        console.print_json(listed) if json else print_list(listed)


def _facts(name: str) -> dict[str, Any]:
    own = find_own_model(name)
    return spec_facts(find_spec(name)) if own is None else own_facts(own)


def _next(name: str) -> str:
    return f"next: name it where a command takes a model, as in --model {name}"


def _download(name: str, mirror: str | None, *, asks: bool) -> Path:
    text = licence_to_confirm(name)
    if text is not None and _in_a_terminal() and asks:
        console.out.print(text, markup=False)
        if Confirm.ask("Do you accept this?", default=False, console=console.out):
            accept_licence(name)
    try:
        with console.progress_bar(f"fetching {name}", of_bytes=True) as progress:
            return fetch_weights(name, mirror=mirror, progress=progress)
    except KeyboardInterrupt:
        console.err.print("histosam: stopped; the same command goes on from where it was")
        raise SystemExit(1) from None


def _in_a_terminal() -> bool:
    return sys.stdin.isatty()
