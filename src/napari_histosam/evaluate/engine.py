"""Opens patches, and gives their clicks to models again. On a worker's thread.

Knows neither Qt nor napari; torch is imported when the first model is loaded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.dataset.patches import open_patches
from histosam_core.errors import PatchStoreError, UnknownModelError
from histosam_core.evaluation.pictures import read_mask
from histosam_core.evaluation.walkthrough import Walkthrough, disagreement, walk_through
from histosam_core.model.registry.model_choice import (
    DECODERS,
    ModelChoice,
    load_choice,
    parse_model,
)
from histosam_core.model.registry.own_models import list_own_models
from histosam_core.model.registry.registry import list_models
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.evaluation.records import EvaluationResult, PatchRecord
    from histosam_core.evaluation.slide_walkthrough import RegionPicture

ADDED, REMOVED = 1, 2
"""Classes of `Opened.change`."""
MODELS_KEPT = 2
"""Two are compared; a third would only hold memory."""

LoadModel = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A patch, or a region of a slide."""

    result: EvaluationResult
    record: PatchRecord
    """The run and the patch in it."""
    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    truth: NDArray[np.int8]
    """(H, W) int8: 1 object, 0 background, -1 ignored."""
    mpp: float
    """Micrometres per pixel."""
    last_mask: NDArray[np.bool_] | None = None
    """(H, W) bool after the last click, as the run kept it; None where it did not."""
    region: RegionPicture | None = None
    """Where it lies on its slide, of which a large region is thinned here; None: a patch."""

    @property
    def clicks_xy(self) -> list[tuple[float, float]]:
        """Where the clicks lie, pixels (x, y) of the image."""
        step = 1 if self.region is None else self.region.step
        return [_thinned(click, step) for click in self.record.clicks]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A patch that is open, as far as its masks are there."""

    picture: Picture
    """Its pixels."""
    walk: Walkthrough | None = None
    """The masks of the run's own model; None until they are there."""
    other: EvaluationResult | None = None
    """The run that it is compared with."""
    other_walk: Walkthrough | None = None
    """The masks of that run's model on the same clicks."""
    mismatch: str = ""
    """How the masks depart from the record; empty where they do not."""

    @property
    def n_clicks(self) -> int:
        """How many clicks were recorded."""
        return len(self.picture.record.clicks)

    def mask(self, click: int) -> NDArray[np.bool_] | None:
        """Return the mask after a click, 1 the first, 0 before any; None where it is not known."""
        if click == 0:
            return np.zeros(self.picture.truth.shape, dtype=bool)
        if self.walk is not None:
            return np.asarray(self.walk.masks[click - 1])
        return self.picture.last_mask if click == self.n_clicks else None

    def other_mask(self, click: int) -> NDArray[np.bool_] | None:
        """Return the other model's mask after a click; None where it is not known."""
        return None if self.other_walk is None else np.asarray(self.other_walk.masks[click - 1])

    def change(self, click: int) -> NDArray[np.uint8] | None:
        """Return what a click added and removed, (H, W) uint8; None where that is not known."""
        before, after = self.mask(click - 1), self.mask(click)
        if before is None or after is None:
            return None
        classes = np.zeros(after.shape, dtype=np.uint8)
        classes[after & ~before] = ADDED
        classes[before & ~after] = REMOVED
        return classes

    def disagreement(self, click: int) -> NDArray[np.uint8] | None:
        """Return who is right after a click; see `disagreement` of the core; None: not known."""
        mask, other = self.mask(click), self.other_mask(click)
        if mask is None or other is None:
            return None
        return disagreement(mask, other, self.picture.truth)


class Engine:
    """Opens patches, and gives their clicks to models, of which the last two are kept.

    `load` takes source and device, and the decoder by its name.
    """

    def __init__(self, load: LoadModel | None = None) -> None:
        self._load = load or _load
        self._models: OrderedDict[tuple[str, str | None], Any] = OrderedDict()

    def open(self, result: EvaluationResult, record: PatchRecord) -> Picture:
        """Read a patch, or a region of a slide.

        Raises
        ------
        PatchStoreError, EvaluationRecordsError, AnnotationError, SlideError
            It is gone, cannot be read, or is another one now.
        """
        import pandas  # noqa: F401 - napari's first layer would, and hold the window

        if result.header.get("dataset", {}).get("kind") == "slides":
            return _open_region(result, record)
        path = str(result.header.get("dataset", {}).get("path", ""))
        if not path:
            raise PatchStoreError(
                f"the records of {result.dataset} do not say where its patches are; evaluate it "
                "again with `histosam evaluate --patches`"
            )
        store = open_patches(path)
        if not record.index < len(store) or store[record.index].id != record.patch_id:
            raise PatchStoreError(
                f"{path} no longer holds {record.patch_id}; it was prepared anew: evaluate again"
            )
        patch = store[record.index]
        mask = _last_mask(result, record, patch.gt_mask.shape)
        return Picture(result, record, patch.image, patch.gt_mask, patch.mpp, mask)

    def walk(
        self,
        picture: Picture,
        run: EvaluationResult,
        source: str,
        *,
        progress: ProgressCallback = silent,
    ) -> Walkthrough:
        """Give the clicks of a picture to the model of a run, which may be another run.

        Parameters
        ----------
        picture
            From `open`.
        run
            Whose model answers; its own record of the decoder goes before that of `source`.
        source
            What `parse_model` takes.
        progress
            Called with the clicks done; may raise to break off.

        Raises
        ------
        HistoSamError
            The model cannot be loaded, or the clicks do not fit.
        """
        checkpoint = run.header.get("checkpoint", {})
        choice = parse_model(source)
        model = self._model(choice.source, checkpoint.get("decoder") or choice.decoder)
        threshold = picture.result.settings.mask_threshold
        given = picture.record.clicks
        how: Any = {"mask_threshold": threshold, "progress": progress}
        if picture.region is not None:
            from histosam_core.evaluation.slide_walkthrough import walk_through_region

            return walk_through_region(model, picture.region, given, **how)
        return walk_through(model, picture.image, picture.truth, given, **how)

    def close(self) -> None:
        """Let go of the models."""
        self._models.clear()

    def _model(self, source: str, decoder: str | None) -> Any:
        key = source, decoder
        if key not in self._models:
            while len(self._models) >= MODELS_KEPT:
                self._models.popitem(last=False)
            self._models[key] = self._load(source, "auto", decoder=decoder)
        self._models.move_to_end(key)
        return self._models[key]


def _load(source: str, device: str, *, decoder: Any) -> Any:
    from napari_histosam.viewer.torch_beside_opengl import import_torch

    import_torch()
    return load_choice(ModelChoice(source, decoder), device)


def _open_region(result: EvaluationResult, record: PatchRecord) -> Picture:
    from napari_histosam.viewer.torch_beside_opengl import import_torch

    import_torch()  # a session's canvas needs it
    from histosam_core.evaluation.slide_walkthrough import open_region, thin

    region = open_region(result, record)
    mask = _last_mask(result, record, region.truth.mask.shape)
    mask = None if mask is None else thin(mask, region.step)
    truth = thin(region.truth.mask, region.step)
    return Picture(result, record, region.image, truth, region.mpp * region.step, mask, region)


def _last_mask(
    result: EvaluationResult, record: PatchRecord, shape: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """The mask that a run kept; None where it kept none, or one of another image."""
    kept = None if result.folder is None else read_mask(result.folder, record.index, record.repeat)
    return kept if kept is not None and kept.shape == shape else None


def _thinned(click: Click, step: int) -> tuple[float, float]:
    """Where a click lies on every `step`-th pixel, centres at whole numbers."""
    x, y = click.xy
    return (x + 0.5) / step - 0.5, (y + 0.5) / step - 0.5


def source_of(result: EvaluationResult, sources: Mapping[str, str]) -> str:
    """Return the source of a run's model, for `parse_model`.

    `sources`, by the names in results, are from the job that made them or from the user.

    Raises
    ------
    UnknownModelError
        Neither `sources` nor a model of that name says it.
    """
    if result.name in sources:
        return sources[result.name]
    known = {spec.name for spec in list_models() if spec.is_here}
    known |= {own.name for own in list_own_models()}
    for name in (result.name, str(result.header.get("checkpoint", {}).get("name"))):
        for one in (name, *(name.removesuffix(f"@{decoder}") for decoder in DECODERS)):
            if one in known:
                return one
    raise UnknownModelError(
        f"the results do not say where the model {result.name!r} is; choose its checkpoint"
    )
