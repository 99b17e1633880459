"""A model as a text names it: a name or a path, and behind an @ which of its decoders.

``histosam-tiny@sam`` is SAM's decoder of histosam-tiny. A file whose own name ends so wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.errors import CheckpointError, ConfigError
from histosam_core.model.checkpoint.weights_header import checkpoint_facts
from histosam_core.model.registry.own_models import checkpoint_path, find_own_model
from histosam_core.model.registry.registry import MODELS
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.model.load import Model
    from histosam_core.model.sam.network import Decoder

DECODERS: Mapping[Decoder, str] = {"refining": "refining decoder", "sam": "SAM's decoder"}
"""The decoders, and what they are called."""
PLAIN_STEMS = ("best", "last", "checkpoint")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model, and which of its decoders; as text it is what `parse_model` takes."""

    source: str  # what `load_model` takes: a name or a checkpoint's path
    decoder: Decoder | None = None  # "refining" or "sam"; None: the checkpoint's default

    def __str__(self) -> str:
        return self.source + self._ending

    @property
    def title(self) -> str:
        """A short name for tables: of a path the file's, with the decoder that was asked for."""
        return self._short + self._ending

    @property
    def long_title(self) -> str:
        """The same with the folder's name before the file's, where `source` is a path."""
        folder = Path(self.source).absolute().parent.name
        return f"{folder} {self.title}" if self._is_path else self.title

    @property
    def is_plain(self) -> bool:
        """Whether the file's name says nothing of the model, as best.safetensors does."""
        return self._is_path and self._short in PLAIN_STEMS

    @property
    def anywhere(self) -> ModelChoice:
        """The same for a process in another folder, or without the user's own names."""
        path = checkpoint_path(self.source)
        return replace(self, source=str(path.absolute())) if path.is_file() else self

    @property
    def _is_path(self) -> bool:
        path = Path(self.source)
        looks_so = path.suffix != "" or len(path.parts) > 1
        return looks_so and find_own_model(self.source) is None  # v1.2 may be one's name

    @property
    def _short(self) -> str:
        return Path(self.source).stem if self._is_path else self.source

    @property
    def _ending(self) -> str:
        return "" if self.decoder is None else f"@{self.decoder}"


def parse_model(text: str | os.PathLike[str]) -> ModelChoice:
    """Tell model and decoder apart; whether there is such a model, loading it tells.

    Parameters
    ----------
    text
        A name of `list_models` or `list_own_models` or a checkpoint's path; "@refining" or "@sam"
        after it chooses one of its decoders.

    Raises
    ------
    ConfigError
        There is no such decoder, or no model before the @.
    CheckpointError
        The model says that it does not have the decoder, or has none to choose from.
    """
    given = os.fspath(text)
    source, at, decoder = given.rpartition("@")
    if not at or Path(given).is_file():
        return ModelChoice(given)
    if not source and decoder in DECODERS:
        raise ConfigError(f"no model is named before {given}; write NAME{given}")
    if _stated_decoders(source) == ():
        raise CheckpointError(f"{source} has no decoders to choose from; write {source} alone")
    held = held_decoders(source)
    for name in DECODERS:
        if decoder == name:
            choice = ModelChoice(source, name)
            _check(choice, held)
            return choice
    if held or Path(source).is_file():
        there = " or ".join(f"{source}@{name}" for name in held or DECODERS)
        raise ConfigError(f"there is no decoder {decoder!r}; write {there}, or {source} alone")
    return ModelChoice(given)  # a path with an @ in it


def held_decoders(source: str) -> tuple[Decoder, ...]:
    """Return the decoders that a model, by name or path, says it has, the default first.

    Empty where nothing says so, as of weights of others, or there is nothing to choose.
    """
    held = _stated_decoders(source) or ()
    return tuple(name for one in held for name in DECODERS if name == one)


def load_choice(
    model: str | os.PathLike[str] | ModelChoice,
    device: str = "auto",
    *,
    progress: ProgressCallback = silent,
) -> Model:
    """Load a model from `parse_model`, or from what that takes, as `load_model` does.

    But a refining decoder is never started afresh: a decoder that the weights do not hold is a
    CheckpointError.
    """
    from histosam_core.model import load_model

    choice = model if isinstance(model, ModelChoice) else parse_model(model)
    loaded = load_model(choice.source, device, decoder=choice.decoder, progress=progress)
    if choice.decoder is not None:
        _check(choice, loaded.info.decoders)
    return loaded


def _stated_decoders(source: str) -> tuple[str, ...] | None:
    """The decoders that a model states, perhaps none; None where it states nothing."""
    if source in MODELS:
        return MODELS[source].decoders
    stated = checkpoint_facts(checkpoint_path(source)).get("decoders")
    return None if stated is None else tuple(stated)


def _check(choice: ModelChoice, held: tuple[str, ...]) -> None:
    if held and choice.decoder not in held:
        there = " or ".join(f"{choice.source}@{name}" for name in held)
        raise CheckpointError(
            f"{choice.source} holds no {choice.decoder} decoder; write {there}, or "
            f"{choice.source} alone"
        )
