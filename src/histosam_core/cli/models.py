"""`histosam models`: which models there are, where their weights are; fetch one, name one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from histosam_core.progress import ProgressCallback

__all__ = ["models"]


def models(
    model: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Tell all about this model.")
    ] = None,
    download: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Fetch this model's weights, resuming a broken transfer."
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --download: a base URL that has the files by their names.  "
            "[default: HISTOSAM_MIRROR, else their own]",
        ),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Accept what this model's licence forbids."),
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT", help="Give a checkpoint of your own a name."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name, with --add.  [default: made from the file's]")
    ] = None,
    remove: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take the name of an own model back.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """List the models that can be loaded by name, fetch one's weights, or name one of your own.

    Every name works where a command or `load_model` takes a model; so does the path of a
    checkpoint. Weights are kept in the folder that HISTOSAM_CACHE names, the names of your own
    models and the licences that you have accepted in the one that HISTOSAM_DATA names.

    **Examples**

    `histosam models`

    `histosam models ritm_h18s`

    `histosam models --download sam_vit_b`

    `histosam models --add runs/refining/best.safetensors --name liver-2026`
    """
    from histosam_core.cli.model_facts import own_facts, print_facts, print_list, spec_facts
    from histosam_core.console import print_json
    from histosam_core.errors import ConfigError
    from histosam_core.model.registry.own_models import list_own_models, remove_own_model
    from histosam_core.model.registry.registry import list_models

    if sum(option is not None for option in (model, download, accept, add, remove)) > 1:
        raise ConfigError(
            "NAME, --download, --accept, --add and --remove are separate calls; pass one"
        )
    if name is not None and add is None:
        raise ConfigError("--name goes with --add CHECKPOINT")
    if mirror is not None and download is None:
        raise ConfigError("--mirror goes with --download NAME")
    if add is not None:
        _add(add, name, as_json)
    elif remove is not None:
        remove_own_model(remove)
        if not as_json:
            typer.echo(f"{remove} is no name of a model any more")
    elif accept is not None:
        _accept(accept, as_json)
    elif download is not None:
        _download(download, mirror, as_json)
    elif model is not None:
        facts = _facts(model)
        if as_json:
            print_json(facts)
        else:
            print_facts(facts)
    else:
        listed = [spec_facts(spec) for spec in list_models()]
        listed += [own_facts(own) for own in list_own_models()]
        if as_json:
            print_json(listed)
        else:
            print_list(listed)


def _facts(name: str) -> dict[str, object]:
    from histosam_core.cli.model_facts import own_facts, spec_facts
    from histosam_core.model.registry.own_models import find_own_model
    from histosam_core.model.registry.registry import find_spec

    own = find_own_model(name)
    return spec_facts(find_spec(name)) if own is None else own_facts(own)


def _add(path: Path, name: str | None, as_json: bool) -> None:
    from histosam_core.cli.model_facts import own_facts
    from histosam_core.console import print_json
    from histosam_core.model.registry.own_models import add_own_model

    own = add_own_model(path, name=name)
    if as_json:
        print_json(own_facts(own))
        return
    typer.echo(f"{own.name}: {own.path}")
    typer.echo(f"next: name it where a command takes a model, as in --model {own.name}")


def _accept(name: str, as_json: bool) -> None:
    from histosam_core.console import print_json
    from histosam_core.model.registry.licence import accept_licence, licence_to_confirm

    text = licence_to_confirm(name)
    accept_licence(name)
    if as_json:
        print_json(_facts(name))
    elif text is None:
        typer.echo(f"{name}: there is nothing to accept, or it was accepted before")
    else:
        typer.echo(text)
        typer.echo("accepted, and remembered for this user")


def _download(name: str, mirror: str | None, as_json: bool) -> None:
    from histosam_core.console import err, print_json
    from histosam_core.model.registry.licence import accept_licence, licence_to_confirm
    from histosam_core.model.registry.registry import fetch_weights

    text = licence_to_confirm(name)
    if text is not None and _in_a_terminal() and not as_json:
        typer.echo(text)
        if typer.confirm("Do you accept this?"):
            accept_licence(name)
    try:
        with _download_bar(f"fetching {name}") as progress:
            path = fetch_weights(name, mirror=mirror, progress=progress)
    except KeyboardInterrupt:
        err.print("histosam: stopped; the same command goes on from where it was")
        raise typer.Exit(1) from None
    if as_json:
        print_json(_facts(name))
        return
    typer.echo(f"{name}: {path}")
    typer.echo(f"next: name it where a command takes a model, as in --model {name}")


def _in_a_terminal() -> bool:
    return sys.stdin.isatty()


@contextmanager
def _download_bar(title: str) -> Iterator[ProgressCallback]:
    """Show bytes, speed and the time that is left; nothing where all is here already."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from histosam_core.console import err

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        tasks: list[TaskID] = []

        def report(done: int, total: int, message: str = "") -> None:
            if not tasks:
                # What came before counts as there, not as speed.
                tasks.append(bar.add_task(title, total=total, completed=done))
            bar.update(tasks[0], completed=done, total=total)

        yield report
