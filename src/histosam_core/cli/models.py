"""`histosam models`: which models there are, where their weights are; fetch one, name one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from histosam_core.model.own_models import OwnModel
    from histosam_core.model.registry import ModelSpec

__all__ = ["models"]


def models(
    download: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Fetch this model's weights, resuming a broken transfer."
        ),
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
    models in the one that HISTOSAM_DATA names.

    **Examples**

    `histosam models`

    `histosam models --download sam_vit_b`

    `histosam models --add runs/refining/best.safetensors --name liver-2026`
    """
    from histosam_core.cli.console import print_json, progress_bar
    from histosam_core.errors import ConfigError
    from histosam_core.model.own_models import add_own_model, list_own_models, remove_own_model
    from histosam_core.model.registry import MODELS, fetch_weights, list_models

    if sum(option is not None for option in (download, add, remove)) > 1:
        raise ConfigError("--download, --add and --remove are separate calls; pass one")
    if name is not None and add is None:
        raise ConfigError("--name goes with --add CHECKPOINT")
    if add is not None:
        own = add_own_model(add, name=name)
        if as_json:
            print_json(_own_facts(own))
        else:
            typer.echo(f"{own.name}: {own.path}")
            typer.echo(f"next: name it where a command takes a model, as in --model {own.name}")
        return
    if remove is not None:
        remove_own_model(remove)
        if not as_json:
            typer.echo(f"{remove} is no name of a model any more")
        return
    if download is not None:
        with progress_bar(f"fetching {download}") as progress:
            path = fetch_weights(download, progress=progress)
        if as_json:
            print_json(_facts(MODELS[download]))
        else:
            typer.echo(f"{download}: {path}")
            typer.echo(f"next: name it where a command takes a model, as in --model {download}")
        return
    facts = [_facts(spec) for spec in list_models()]
    facts += [_own_facts(own) for own in list_own_models()]
    if as_json:
        print_json(facts)
        return
    _print_table(facts)


def _facts(spec: ModelSpec) -> dict[str, Any]:
    from histosam_core.model.registry import weights_path

    path = weights_path(spec)
    return {
        "name": spec.name,
        "architecture": spec.architecture,
        "decoders": list(spec.decoders),
        "trained_on": spec.about,
        "licence": spec.licence,
        "size_bytes": path.stat().st_size if path.is_file() else spec.size_bytes,
        "mpp": spec.geometry.mpp,
        "patch_size_px": spec.geometry.patch_size_px,
        "where": spec.where,
        "path": str(path),
        "url": spec.url,
        "digest": str(spec.digest) if spec.digest else None,
    }


def _own_facts(own: OwnModel) -> dict[str, Any]:
    """Facts of an own model, as those of ours; what its file does not tell is None or empty."""
    from histosam_core.model.own_models import checkpoint_facts

    told = checkpoint_facts(own.path)
    provenance, geometry = told.get("provenance", {}), told.get("geometry", {})
    return {
        "name": own.name,
        "architecture": told.get("architecture"),
        "decoders": told.get("decoders", []),
        "trained_on": provenance.get("data"),
        "licence": None,
        "size_bytes": own.path.stat().st_size,
        "mpp": geometry.get("mpp"),
        "patch_size_px": geometry.get("patch_size_px"),
        "where": "own",
        "path": str(own.path),
        "url": None,
        "digest": None,
        "added": own.added,
    }


def _print_table(models: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from histosam_core.cli.console import out
    from histosam_core.model.registry import cache_folder

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("name", "architecture", "decoder", "size", "window", "licence", "weights"):
        whole = title in {"name", "architecture", "size", "licence"}
        least = len("refining,") if title == "decoder" else None
        table.add_column(title, no_wrap=whole, min_width=least, overflow="fold")
    for facts in models:
        size, mpp = facts["size_bytes"], facts["mpp"]
        table.add_row(
            facts["name"],
            facts["architecture"] or "",
            ", ".join(facts["decoders"]),
            f"{size / 1e6:,.0f} MB" if size else "unknown",
            "" if mpp is None else f"{facts['patch_size_px']}\u00a0px, {mpp:g}\u00a0um",
            facts["licence"] or "",
            facts["where"],
        )
    out.print(table)
    out.print()
    out.print(f"downloads are kept in {cache_folder() / 'models'} (set HISTOSAM_CACHE to move it)")
    absent = next((one["name"] for one in models if one["where"] == "not downloaded"), None)
    if absent:
        out.print(f"next: histosam models --download {absent}")
