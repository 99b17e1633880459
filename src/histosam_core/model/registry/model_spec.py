"""`ModelSpec`: the facts of a model known by name, and where its weights are on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histosam_core.model.interface import NOT_STATED, TrainingGeometry

if TYPE_CHECKING:
    from histosam_core.model.registry.digest import Digest

__all__ = ["Family", "ModelSpec", "Where", "cache_folder", "weights_path"]

Family = Literal["histosam", "sam", "ritm", "focalclick", "simpleclick"]
Where = Literal["bundled", "downloaded", "not downloaded", "by hand", "missing"]

PAPER = TrainingGeometry(mpp=2.0, patch_size_px=400)


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
    decoders
        Which of SAM's decoders the weights hold, the default first; empty for other networks.
    file_name
        In the cache folder, or in the package for a bundled model.
    about
        What it was trained on, in a few words.
    licence
        Of the weights.
    code_licence
        Of the code that the weights were published with.
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
        Of the file; the nearest that its authors state, in MB for RITM and FocalClick. None: they
        do not.
    terms
        What the licence forbids, for a person to accept before the first use; empty: nothing that
        must be accepted.
    terms_url
        The whole licence.
    takes_boxes, encodes_ahead
        As in `ModelInfo`.
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
    geometry: TrainingGeometry = PAPER
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
    def where(self) -> Where:
        """Where the weights are; "by hand" means that a person must fetch them from `page`."""
        is_here = weights_path(self).is_file()
        if self.is_bundled:
            return "bundled" if is_here else "missing"
        if is_here:
            return "downloaded"
        return "not downloaded" if self.url is not None else "by hand"

    @property
    def is_here(self) -> bool:
        """Whether the weights are on this machine."""
        return weights_path(self).is_file()

    @property
    def cannot(self) -> tuple[str, ...]:
        """What it cannot do that others can, or may not be used for, in a few words each."""
        limits = []
        if not self.takes_boxes:
            limits.append("no box prompts")
        if not self.encodes_ahead:
            limits.append("no embeddings ahead of clicks")
        if self.terms:
            limits.append("no commercial use")
        return tuple(limits)


def cache_folder() -> Path:
    """Where downloaded weights are kept: $HISTOSAM_CACHE, else the platform's cache folder."""
    stated = os.environ.get("HISTOSAM_CACHE")
    if stated:
        return Path(stated).expanduser()
    import pooch

    return Path(pooch.os_cache("histosam"))


def weights_path(spec: ModelSpec) -> Path:
    """Where the model's weights are, or would be."""
    if spec.is_bundled:
        return Path(str(resources.files("histosam_core.model") / "weights" / spec.file_name))
    return cache_folder() / "models" / spec.file_name
