"""What opening a patch takes: its pixels, a model, its clicks given again. On a worker's thread.

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
from histosam_core.evaluation.examples import read_mask
from histosam_core.evaluation.walkthrough import Walkthrough, walk_through
from histosam_core.model.own_models import list_own_models
from histosam_core.model.registry import list_models
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult, PatchRecord

__all__ = ["Engine", "Picture", "source_of"]

MODELS_KEPT = 2
"""Two stand side by side; a third would only hold memory."""

LoadModel = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A patch to be looked at.

    Parameters
    ----------
    result, record
        The run and the patch in it.
    image
        (H, W, 3) uint8 RGB.
    truth
        (H, W) int8: 1 object, 0 background, -1 ignored.
    mpp
        Micrometres per pixel.
    last_mask
        (H, W) bool after the last click, as the run kept it; None where it did not.
    """

    result: EvaluationResult
    record: PatchRecord
    image: NDArray[np.uint8]
    truth: NDArray[np.int8]
    mpp: float
    last_mask: NDArray[np.bool_] | None = None


class Engine:
    """Opens patches, and gives their clicks to models, of which the last two are kept.

    Parameters
    ----------
    load
        Loads a model; None: `load_model`.
    """

    def __init__(self, load: LoadModel | None = None) -> None:
        self._load = load
        self._models: OrderedDict[tuple[str, str | None], Any] = OrderedDict()

    def open(self, result: EvaluationResult, record: PatchRecord) -> Picture:
        """Read a patch of a run.

        Raises
        ------
        PatchStoreError
            The store is gone, cannot be read, or holds other patches now.
        """
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
        mask = None if result.folder is None else read_mask(result.folder, record.index)
        if mask is not None and mask.shape != patch.gt_mask.shape:
            mask = None
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
            Whose model answers; says which of a file's decoders.
        source
            What `load_model` takes.
        progress
            Told the clicks done; may raise to break off.

        Raises
        ------
        HistoSamError
            The model cannot be loaded, or the clicks do not fit.
        """
        checkpoint = run.header.get("checkpoint", {})
        model = self._model(source, checkpoint.get("decoder"))
        return walk_through(
            model,
            picture.image,
            picture.truth,
            picture.record.clicks,
            mask_threshold=picture.result.settings.mask_threshold,
            progress=progress,
        )

    def close(self) -> None:
        """Let go of the models."""
        self._models.clear()

    def _model(self, source: str, decoder: str | None) -> Any:
        key = source, decoder
        if key not in self._models:
            while len(self._models) >= MODELS_KEPT:
                self._models.popitem(last=False)
            self._models[key] = self._loader()(source, "auto", decoder=decoder)
        self._models.move_to_end(key)
        return self._models[key]

    def _loader(self) -> LoadModel:
        if self._load is None:
            from napari_histosam.torch_beside_opengl import import_torch

            import_torch()
            from histosam_core.model.registry import load_model

            self._load = load_model
        return self._load


def source_of(result: EvaluationResult, told: Mapping[str, str]) -> str:
    """Return what `load_model` takes for the model of a run.

    Parameters
    ----------
    result
        The run.
    told
        Names in results -> sources, as the job that made them or the user said.

    Raises
    ------
    UnknownModelError
        Nothing says so: neither the job, nor a model of that name.
    """
    if result.name in told:
        return told[result.name]
    known = {spec.name for spec in list_models() if spec.where != "not downloaded"}
    known |= {own.name for own in list_own_models()}
    for name in (result.name, str(result.header.get("checkpoint", {}).get("name"))):
        if name in known:
            return name
    raise UnknownModelError(
        f"the results do not say where the model {result.name!r} is; choose its checkpoint"
    )
