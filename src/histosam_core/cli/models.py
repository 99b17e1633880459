"""`histosam models`: which models there are, whether their weights are here, and fetching them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from histosam_core.model.registry import ModelSpec

__all__ = ["models"]


def models(
    download: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Fetch this model's weights, resuming a broken transfer."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """List the models that can be loaded by name, or fetch one's weights.

    Every name works where a command or `load_model` takes a model; so does the path of a
    checkpoint. Weights are kept in the folder that HISTOSAM_CACHE names.

    **Examples**

    `histosam models`

    `histosam models --download sam_vit_b`
    """
    from histosam_core.cli.console import print_json, progress_bar
    from histosam_core.model.registry import MODELS, fetch_weights, list_models

    if download is not None:
        with progress_bar(f"fetching {download}") as progress:
            path = fetch_weights(download, progress=progress)
        if as_json:
            print_json(_facts(MODELS[download]))
        else:
            typer.echo(f"{download}: {path}")
            typer.echo(f"next: name it where a command takes a model, as in --model {download}")
        return
    if as_json:
        print_json([_facts(spec) for spec in list_models()])
        return
    _print_table(list_models())


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


def _print_table(specs: tuple[ModelSpec, ...]) -> None:
    from rich.table import Table

    from histosam_core.cli.console import out
    from histosam_core.model.registry import cache_folder

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "architecture", "decoder", "size", "window", "licence", "weights"):
        table.add_column(title, no_wrap=title in {"name", "size"}, overflow="fold")
    for facts in map(_facts, specs):
        size = facts["size_bytes"]
        table.add_row(
            facts["name"],
            facts["architecture"],
            ", ".join(facts["decoders"]),
            f"{size / 1e6:,.0f} MB" if size else "unknown",
            f"{facts['patch_size_px']} px, {facts['mpp']:g} um",
            facts["licence"],
            facts["where"],
        )
    out.print(table)
    out.print()
    out.print(f"downloads are kept in {cache_folder() / 'models'} (set HISTOSAM_CACHE to move it)")
    absent = next((spec.name for spec in specs if spec.where == "not downloaded"), None)
    if absent:
        out.print(f"next: histosam models --download {absent}")
