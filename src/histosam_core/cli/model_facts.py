"""What `histosam models` shows of a model: facts as JSON, a line of the list, or a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.markup import escape

if TYPE_CHECKING:
    from histosam_core.model.registry.own_models import OwnModel
    from histosam_core.model.registry.registry import ModelSpec

LINE, TITLE = 80, 14
"""Characters in a line, and in the title before a fact."""

FAMILIES = {
    "histosam": "This program's own",
    "sam": "SAM, and what was trained from it",
    "ritm": "RITM",
    "focalclick": "FocalClick",
    "simpleclick": "SimpleClick",
}
"""The families in the order of the list, and what they are called."""


_AS_THEY_ARE = (
    "name", "family", "architecture", "licence", "code_licence", "where", "url", "page",
    "takes_boxes", "encodes_ahead", "citation",
)  # fmt: skip


def spec_facts(spec: ModelSpec) -> dict[str, Any]:
    """Facts of a model known by name, as JSON values."""
    from histosam_core.model.registry.registry import weights_path
    from histosam_core.model.registry.weights import licence_to_confirm, noted_digest

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


def own_facts(own: OwnModel) -> dict[str, Any]:
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


def print_list(models: Iterable[Mapping[str, Any]]) -> None:
    """Print a line for each model, by families: what each of these cannot do stands above it."""
    from histosam_core.console import out
    from histosam_core.paths import cache_folder

    listed = list(models)
    width = max(20, *(len(facts["name"]) for facts in listed))
    out.print(f"  {'name':<{width}} {'size':>8}  {'weights':<15} licence", style="bold")
    kinds: list[tuple[str | None, str]] = [*FAMILIES.items(), (None, "Your own")]
    for family, title in kinds:
        members = [facts for facts in listed if facts.get("family") == family]
        if not members:
            continue
        limits = ", ".join(_shared_limits(members))
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


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print all facts of one model, a line each, and no address broken."""
    from histosam_core.console import out

    for title, value in _rows(facts):
        if not value:
            continue
        lines = wrap(value, LINE - TITLE, break_long_words=False, break_on_hyphens=False)
        for title_or_none, line in zip_longest([title], lines, fillvalue=""):
            out.print(f"[bold]{title_or_none:<{TITLE}}[/]{escape(line)}")


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


def _shared_limits(members: list[Mapping[str, Any]]) -> list[str]:
    """What no member of a family can do."""
    first, *others = (facts.get("cannot", []) for facts in members)
    return [limit for limit in first if all(limit in other for other in others)]


def _size(facts: Mapping[str, Any]) -> str:
    size = facts["size_bytes"]
    return f"{size / 1e6:,.0f} MB" if size else "unknown"
