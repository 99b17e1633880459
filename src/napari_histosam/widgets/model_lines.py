"""The lines of a list of models: their titles, and what one should know before choosing one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histosam_core.model.registry.registry import ModelSpec

__all__ = ["model_state", "model_tip"]


def model_state(spec: ModelSpec) -> str:
    """Return where a model's weights are, in a few words, with the size of what is to be fetched.

    Parameters
    ----------
    spec
        From `list_models`.
    """
    size = f", {spec.size_bytes / 1e6:,.0f} MB" if spec.size_bytes else ""
    words = {"not downloaded": "to download", "by hand": "get it by hand"}
    return f"{words[spec.where]}{size}" if spec.where in words else spec.where


def model_tip(spec: ModelSpec) -> str:
    """Return several lines: training data, size, source, licence, and what it cannot do."""
    from histosam_core.model.registry.registry import weights_path

    lines = [f"Trained on {spec.about}" if not spec.is_bundled else spec.about.capitalize()]
    if spec.size_bytes:
        lines.append(f"{spec.size_bytes / 1e6:,.0f} MB on disk")
    if spec.where == "by hand":
        lines.append(f"Get {spec.page_item} from {spec.page} and put it at {weights_path(spec)}")
    lines.append(f"Licence: {spec.licence}")
    if spec.terms:
        lines.append(f"Mind: {spec.terms}")
    if not spec.takes_boxes:
        lines.append("Takes no boxes: a box is said to it by clicks")
    if not spec.encodes_ahead:
        lines.append("No embeddings ahead: every click runs the whole network")
    return "\n".join(lines)
