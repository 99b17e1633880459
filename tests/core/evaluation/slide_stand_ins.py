"""Flat slides with dark tumour, their annotations, and a model whose answers can be foretold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray

from histosam_core.annotation import AnnotatedRegion, write_geojson
from histosam_core.model import ModelInfo, Prediction, TrainingGeometry

if TYPE_CHECKING:
    from histosam_core.clicks import Click

DARK, PALE = (120, 60, 140), (235, 170, 200)
Box = tuple[int, int, int, int]


@dataclass
class Brush:
    """Paints dark pixels within 30 px of positive clicks, and keeps what was painted before."""

    info: ClassVar = ModelInfo("brush", TrainingGeometry(1.0, 64), sha256="cd" * 32)
    device: ClassVar = "cpu"

    radius_px: float = 30.0

    def encode(self, image: NDArray[np.uint8]) -> Any:
        return image[..., 0] < 180

    def decode(
        self,
        embedding: Any,
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> Prediction:
        yy, xx = np.mgrid[: embedding.shape[0], : embedding.shape[1]]
        mask = np.zeros(embedding.shape, bool) if previous is None else previous.logits > 0
        for click in clicks:
            near = (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2 < self.radius_px**2
            mask = mask | (near & embedding) if click.is_positive else mask & ~near
        return Prediction(np.where(mask, 5, -5).astype(np.float32))


def write_slide(
    folder: Path,
    name: str,
    boxes: Sequence[Box],
    *,
    size_wh: tuple[int, int] = (800, 480),
    mpp: float | None = 0.5,
    label: str = "Tumor",
) -> Path:
    """Write ``<name>.tif`` with dark boxes (x0, y0, x1, y1), level-0 pixels, and its GeoJSON."""
    image = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
    image[:] = PALE
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = DARK
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp)}
    path = folder / f"{name}.tif"
    options = {"tile": (64, 64), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, **options, **resolution)  # type: ignore[arg-type]
    regions = [
        AnnotatedRegion(shapely.box(x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5), label)
        for x0, y0, x1, y1 in boxes
    ]
    write_geojson(folder / f"{name}.geojson", regions)
    return path
