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

__all__ = ["BUNDLED", "MODELS", "Digest", "ModelSpec", "Where", "list_models", "weights_path"]

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
    """A model known by name.

    Parameters
    ----------
    name
        What `load_model` takes.
    family
        "sam" is SAM and what was trained from it; "histosam" is this project's own.
    architecture
        "sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam", "histosam_tiny", or a network of RITM,
        FocalClick or SimpleClick by the name that `histosam_core.model.baselines.network` takes.
    file_name
        In the cache folder, or in the package for a bundled model.
    about
        What it was trained on, in a few words.
    decoders, takes_boxes, encodes_ahead
        As in `ModelInfo`.
    licence, code_licence
        Of the weights, and of the code that they were published with.
    citation
        The paper that introduces it.
    geometry
        The window that serves a click; the paper's (400 px at 2 um/px) for a model that was not
        trained on slides.
    url
        Where the weights can be downloaded. None: they are bundled, or lie on a page.
    page, page_item
        Where a person gets weights that have no URL of their own, and what to choose there.
    digest
        The hash that the file must have. None: none is published; the sha256 is noted when the
        file first comes, and checked from then on.
    size_bytes
        Of the file; the nearest that its authors state. None: they do not.
    terms, terms_url
        What the licence forbids, for a person to accept before the first use, and the whole
        licence; empty: nothing that must be accepted.
    """

    name: str
    family: Family
    architecture: str
    file_name: str
    about: str
    decoders: tuple[str, ...] = ()
    licence: str = NOT_STATED
    code_licence: str = NOT_STATED
    citation: str = NOT_STATED
    geometry: TrainingGeometry = field(default_factory=TrainingGeometry)
    url: str | None = None
    page: str | None = None
    page_item: str = ""
    digest: Digest | None = None
    size_bytes: int | None = None
    terms: str = ""
    terms_url: str = ""
    takes_boxes: bool = False
    encodes_ahead: bool = False

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
