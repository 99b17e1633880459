"""Sample data for napari's menu: a synthetic slide with its truth, and a stained section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histosam.reader import slide_layer

SYNTHETIC_PX, SYNTHETIC_MPP, SYNTHETIC_SEED = 4000, 0.5, 3
TUMOR = "Tumor (truth)"

LayerData = tuple[Any, ...]


def synthetic_liver() -> list[LayerData]:
    """A drawn liver section with tumour, 4000 x 4000 px at 0.5 um, and where the tumour is.

    Drawn once, in 2 to 4 seconds, and kept in HistoSAM's cache folder. The second layer, labels
    with 1 in the tumour, is hidden.
    """
    from histosam_core.slide import open_slide

    slide_path, mask_path = _synthetic_files()
    slide = open_slide(slide_path)
    scale = {"scale": (SYNTHETIC_MPP, SYNTHETIC_MPP), "units": ("um", "um")}
    data, attributes, kind = slide_layer(slide)
    attributes["name"] = "Synthetic liver"
    truth = {"name": TUMOR, "visible": False, "opacity": 0.5, **scale}
    return [(data, attributes, kind), (_read_mask(mask_path), truth, "labels")]


def immunohistochemistry() -> list[LayerData]:
    """Colonic glands, haematoxylin and DAB, 512 x 512 px, from scikit-image; its mpp is unknown."""
    from skimage.data import immunohistochemistry as image

    return [(image(), {"name": "Immunohistochemistry", "rgb": True}, "image")]


def _synthetic_files() -> tuple[Path, Path]:
    """Return the slide and the mask of its tumour, drawn where they are not there yet."""
    from histosam_core.paths import cache_folder
    from histosam_core.recipes.synthetic import GENERATOR_VERSION

    folder = cache_folder() / "samples"
    stem = f"liver-{SYNTHETIC_PX}-{SYNTHETIC_SEED}-v{GENERATOR_VERSION}"
    slide, mask = folder / f"{stem}.svs", folder / f"{stem}-tumor.png"
    if not (slide.is_file() and mask.is_file()):
        _draw(slide, mask)
    return slide, mask


def _draw(slide: Path, mask: Path) -> None:
    from PIL import Image

    from histosam_core.atomic import new_file
    from histosam_core.recipes.synthetic import render_slide
    from histosam_core.slide.write import write_svs

    drawn = render_slide(
        "liver", (SYNTHETIC_PX, SYNTHETIC_PX), mpp=SYNTHETIC_MPP, rng=SYNTHETIC_SEED
    )
    with new_file(mask) as part:
        Image.fromarray(drawn.tumor_mask).save(part, format="PNG")
    write_svs(slide, drawn.image, mpp=drawn.mpp, magnification=drawn.magnification)


def _read_mask(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image).astype(np.uint8)
