"""The lines of a list of models: their titles, and what one should know before choosing one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.model.registry.model_choice import DECODERS, ModelChoice, held_decoders
from histosam_core.model.registry.own_models import list_own_models
from histosam_core.model.registry.registry import list_models

if TYPE_CHECKING:
    from histosam_core.model.registry.registry import ModelSpec
    from histosam_core.model.sam.network import Decoder


@dataclass(frozen=True, slots=True)
class ListLine:
    """A line of a list."""

    value: str
    """What it stands for."""
    title: str
    tip: str = ""
    """Shown under the mouse."""


def model_lines(files: Sequence[ModelChoice], *, by_decoder: bool = False) -> list[ListLine]:
    """Return the models that there are: what is here comes before what is to be downloaded.

    Parameters
    ----------
    files
        Checkpoints that were chosen before.
    by_decoder
        Whether a model that holds several decoders has a line for each, the usual one first.
    """
    own_models = {own.name: own for own in list_own_models()}
    here: list[tuple[ModelChoice, str, str, str]] = []
    away: list[tuple[ModelChoice, str, str, str]] = []
    for own in own_models.values():
        here.append((ModelChoice(own.name), own.name, "your own", str(own.path)))
    for spec in list_models():
        if spec.name not in own_models:
            line = ModelChoice(spec.name), spec.name, model_state(spec), model_tip(spec)
            (here if spec.is_here else away).append(line)
    for choice in files:
        here.append((choice, _short(choice.source), "", choice.source))
    return [line for one in (*here, *away) for line in _lines(*one, by_decoder)]


def _lines(
    choice: ModelChoice, title: str, where: str, tip: str, by_decoder: bool
) -> list[ListLine]:
    """A line for a model, or one for each of its decoders where it has several."""

    def line(choice: ModelChoice, decoder: Decoder | None, more: str = "") -> ListLine:
        words = title if decoder is None else f"{title}, {DECODERS[decoder]}"
        return ListLine(str(choice), f"{words} ({where})" if where else words, tip + more)

    decoders = held_decoders(choice.source) if by_decoder and choice.decoder is None else ()
    if len(decoders) < 2:
        return [line(choice, choice.decoder)]
    usual, *others = decoders
    return [
        line(choice, usual, "\nThe decoder that it uses unless another one is asked for"),
        *(line(replace(choice, decoder=one), one, "\nIts other decoder") for one in others),
    ]


def _short(source: str) -> str:
    """A path's last two parts."""
    path = Path(source)
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


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
        lines.append("Takes no boxes: a box is turned into clicks")
    if not spec.encodes_ahead:
        lines.append("No embeddings ahead: every click runs the whole network")
    return "\n".join(lines)
