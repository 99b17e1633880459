"""The models known by name: their facts, which models.toml states, and where their weights are.

Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import xxhash

from histosam_core.model.interface import NOT_STATED, TrainingGeometry
from histosam_core.paths import cache_folder

BUNDLED = "histosam-tiny"

Family = Literal["histosam", "sam", "ritm", "focalclick", "simpleclick"]
Where = Literal["bundled", "downloaded", "not downloaded", "by hand", "missing"]


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash a file must have: "sha256", or "xxh128" where none is published; hexadecimal."""

    algorithm: str
    value: str

    @staticmethod
    def of(path: Path, algorithm: str = "sha256") -> Digest:
        """Return the hash of the file at `path`."""
        with path.open("rb") as file:
            made = hashlib.file_digest(file, xxhash.xxh128 if algorithm == "xxh128" else algorithm)
        return Digest(algorithm, made.hexdigest())

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` has this hash."""
        return Digest.of(path, self.algorithm).value == self.value.lower()

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model known by name."""

    name: str  # what `load_model` takes
    family: Family  # "sam": SAM and what was trained from it; "histosam": this project's own
    architecture: str  # as in `CheckpointInfo`
    file_name: str  # in the cache folder, or in the package for a bundled model
    about: str  # what it was trained on, in a few words
    decoders: tuple[str, ...] = ()  # as in `ModelInfo`
    licence: str = NOT_STATED  # of the weights
    code_licence: str = NOT_STATED  # of the code that they were published with
    citation: str = NOT_STATED  # the paper that introduces it
    # The window that serves a click; the paper's for a model that was not trained on slides.
    geometry: TrainingGeometry = field(default_factory=TrainingGeometry)
    url: str | None = None  # of the weights; None: they are bundled, or lie on a page
    page: str | None = None  # where a person gets weights without a URL of their own,
    page_item: str = ""  # and what to choose there
    # None: none is published; the sha256 is noted when the file first comes, and checked later.
    digest: Digest | None = None
    size_bytes: int | None = None  # of the file, or the nearest that its authors state
    terms: str = ""  # what the licence forbids, to be accepted before the first use; or nothing
    terms_url: str = ""  # the whole licence
    takes_boxes: bool = False  # as in `ModelInfo`
    encodes_ahead: bool = False  # as in `ModelInfo`

    @property
    def is_bundled(self) -> bool:
        """Whether the weights come with the package."""
        return self.url is None and self.page is None

    @property
    def is_here(self) -> bool:
        """Whether the weights are on this machine."""
        return weights_path(self).is_file()

    @property
    def where(self) -> Where:
        """Where the weights are; "by hand" means that a person must fetch them from `page`."""
        if self.is_bundled:
            return "bundled" if self.is_here else "missing"
        if self.is_here:
            return "downloaded"
        return "not downloaded" if self.url is not None else "by hand"

    @property
    def cannot(self) -> tuple[str, ...]:
        """What it cannot do that others can, or may not be used for, in a few words each."""
        limits = {
            "no box prompts": not self.takes_boxes,
            "no embeddings ahead of clicks": not self.encodes_ahead,
            "no commercial use": bool(self.terms),
        }
        return tuple(limit for limit, applies in limits.items() if applies)


def weights_path(spec: ModelSpec) -> Path:
    """Where the model's weights are, or would be."""
    if spec.is_bundled:
        return Path(str(resources.files("histosam_core.model") / "weights" / spec.file_name))
    return cache_folder() / "models" / spec.file_name


def list_models() -> tuple[ModelSpec, ...]:
    """All models that `load_model` knows by name, the bundled one first."""
    return tuple(MODELS.values())


def _read_specs() -> Iterator[ModelSpec]:
    text = (resources.files("histosam_core.model.registry") / "models.toml").read_text("utf-8")
    for group in tomllib.loads(text)["group"]:
        for model in group.pop("models"):
            facts: dict[str, Any] = {**group, **model}
            facts["decoders"] = tuple(facts.get("decoders", ()))
            if "digest" in facts:
                facts["digest"] = Digest(*facts["digest"].split())
            yield ModelSpec(**facts)


MODELS: Mapping[str, ModelSpec] = {spec.name: spec for spec in _read_specs()}
"""All of them by name, the bundled one first."""
