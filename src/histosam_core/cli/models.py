"""`histosam models`: which models there are, where their weights are; fetch one, name one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape
from rich.prompt import Confirm

from histosam_core import console
from histosam_core.cli.options import JsonOption
from histosam_core.errors import ConfigError
from histosam_core.model.registry.own_models import (
    OwnModel,
    add_own_model,
    find_own_model,
    find_spec,
    list_own_models,
    remove_own_model,
)
from histosam_core.model.registry.registry import ModelSpec, list_models, weights_path
from histosam_core.model.registry.weights import (
    accept_licence,
    fetch_weights,
    licence_to_confirm,
    noted_digest,
)
from histosam_core.paths import cache_folder

LINE, TITLE = 80, 14
"""Characters in a line, and in the title before a fact."""
FAMILIES: Mapping[str | None, str] = {
    "histosam": "This program's own",
    "sam": "SAM, and what was trained from it",
    "ritm": "RITM",
    "focalclick": "FocalClick",
    "simpleclick": "SimpleClick",
    None: "Your own",
}
"""The families in the order of the list, and what they are called."""
_AS_THEY_ARE = (
    "name", "family", "architecture", "licence", "code_licence", "where", "url", "page",
    "takes_boxes", "encodes_ahead", "citation",
)  # fmt: skip


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
        own_model = find_own_model(model)
        facts = _spec_facts(find_spec(model)) if own_model is None else _own_facts(own_model)
        console.print_json(facts) if json else _print_facts(facts)
    else:
        listed = [_spec_facts(spec) for spec in list_models()]
        listed += [_own_facts(own) for own in list_own_models()]
        console.print_json(listed) if json else _print_list(listed)


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


def _spec_facts(spec: ModelSpec) -> dict[str, Any]:
    """Facts of a model known by name, as JSON values."""
    path = weights_path(spec)
    noted = noted_digest(spec)
    return {
        **{name: getattr(spec, name) for name in _AS_THEY_ARE},
        "decoders": list(spec.decoders),
        "trained_on": spec.about,
        "mpp": spec.geometry.mpp,
        "patch_size_px": spec.geometry.patch_size_px,
        "terms": spec.terms or None,
        "terms_url": spec.terms_url or None,
        "must_accept_licence": licence_to_confirm(spec.name) is not None,
        "size_bytes": path.stat().st_size if path.is_file() else spec.size_bytes,
        "path": str(path),
        "page_item": spec.page_item or None,
        "digest": str(spec.digest) if spec.digest else None,
        "noted_digest": str(noted) if noted else None,
        "cannot": list(spec.cannot),
    }


def _own_facts(own: OwnModel) -> dict[str, Any]:
    """Facts of an own model, like those of ours; what its file does not state is None or empty."""
    from histosam_core.model.checkpoint.weights_header import checkpoint_facts
    from histosam_core.model.interface import NOT_STATED

    stated = checkpoint_facts(own.path)
    provenance, geometry = stated.get("provenance", {}), stated.get("geometry", {})
    licence = stated.get("licence", NOT_STATED)
    return {
        "name": own.name,
        "architecture": stated.get("architecture"),
        "decoders": stated.get("decoders", []),
        "trained_on": provenance.get("data"),
        "mpp": geometry.get("mpp"),
        "patch_size_px": geometry.get("patch_size_px"),
        "licence": None if licence == NOT_STATED else licence,
        "size_bytes": own.path.stat().st_size,
        "where": "own",
        "path": str(own.path),
        "url": None,
        "digest": None,
        "added": own.added,
    }


def _print_list(listed: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each model, by families: what each of these cannot do stands above it."""
    out = console.out
    width = max(20, *(len(facts["name"]) for facts in listed))
    out.print(f"  {'name':<{width}} {'size':>8}  {'weights':<15} licence", style="bold")
    for family, title in FAMILIES.items():
        members = [facts for facts in listed if facts.get("family") == family]
        if not members:
            continue
        first, *others = (facts.get("cannot", []) for facts in members)
        limits = ", ".join(one for one in first if all(one in other for other in others))
        out.print(f"[bold]{title}[/]{': ' if limits else ''}{limits}")
        for page in sorted({facts["page"] for facts in members if facts.get("page")}):
            names = [facts["name"] for facts in members if facts["page"] == page]
            which = "" if len(names) == len(members) else f"{', '.join(names)} "
            line = f"  {which}by hand from {page}"
            out.print(
                line if len(line) <= LINE else f"  {which}by hand from\n  {page}", style="dim"
            )
        for facts in members:
            licence = (facts["licence"] or "").partition(" (")[0]
            out.print(
                f"  {facts['name']:<{width}} {_size(facts):>8}  {facts['where']:<15} {licence}",
                markup=False,
            )
    out.print()
    out.print("weights are kept in (set HISTOSAM_CACHE to move them)")
    out.print(f"  {cache_folder() / 'models'}", markup=False)
    out.print("details of one: histosam models NAME")
    absent = next((one["name"] for one in listed if one["where"] == "not downloaded"), None)
    if absent:
        out.print(f"next: histosam models --download {absent}")


def _print_facts(facts: Mapping[str, Any]) -> None:
    """Print all facts of one model, a line each, and no address broken."""
    for title, value in _rows(facts):
        if not value:
            continue
        lines = wrap(value, LINE - TITLE, break_long_words=False, break_on_hyphens=False)
        for title_or_none, line in zip_longest([title], lines, fillvalue=""):
            console.out.print(f"[bold]{title_or_none:<{TITLE}}[/]{escape(line)}")


def _rows(facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    family, has_page = facts.get("family"), bool(facts["url"] or facts.get("page"))
    noted = facts.get("noted_digest")
    accepts = f"not accepted yet: histosam models --accept {facts['name']}"
    window = f"{facts['patch_size_px']} px at {facts['mpp'] or 0:g} um/px"
    yield "name", facts["name"]
    yield "family", FAMILIES[family] if family else "your own"
    yield "network", facts["architecture"] or "not stated"
    yield "decoders", ", ".join(facts["decoders"])
    yield "trained on", facts["trained_on"] or "not stated"
    yield "window", window * (facts["mpp"] is not None)
    yield "size", _size(facts)
    yield "weights", f"{facts['where']}: {facts['path']}"
    yield "from", facts["url"] or facts.get("page") or ""
    yield "choose there", facts.get("page_item") or ""
    if has_page:
        yield "hash", facts["digest"] or (f"noted: {noted}" if noted else "none published")
    yield "licence", facts["licence"] or "not stated"
    yield "code licence", facts.get("code_licence") or ""
    if facts.get("terms"):
        yield "terms", f"{facts['terms']} ({facts['terms_url']})"
        yield "", accepts if facts["must_accept_licence"] else "accepted"
    yield "cannot", "; ".join(facts.get("cannot", ()))
    yield "cite", facts.get("citation") or ""


def _size(facts: Mapping[str, Any]) -> str:
    size = facts["size_bytes"]
    return f"{size / 1e6:,.0f} MB" if size else "unknown"
