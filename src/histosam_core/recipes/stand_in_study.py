"""Synthetic stand-ins for both data sets and for all weights, laid out as the real ones are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from histosam_core.annotation import (
    AnnotatedRegion,
    mask_to_geometry,
    read_annotations,
    write_asap_xml,
    write_imagescope_xml,
    write_mask_tiff,
)
from histosam_core.annotation.formats.mask_tiff import read_mask_tiff
from histosam_core.atomic import new_file, new_folder
from histosam_core.geometry import Region
from histosam_core.progress import ProgressCallback, silent
from histosam_core.recipes.synthetic.cohort import Cohort, make_cohort
from histosam_core.reproduce.cohorts import PHASES
from histosam_core.reproduce.settings import SYNTHETIC_MARK

SMALL_MODELS: Mapping[str, str] = {
    "ritm": "ritm_h18s",
    "focalclick": "focalclick_b0_s2",
    "simpleclick": "simpleclick_xtiny448",
    "sam": "histosam-tiny",
}
"""The smallest network of each family. The last comes with its weights, the others have none."""

_YELLOW, _GREEN = (255, 255, 0), (0, 160, 0)
_MPP = 0.5
_CLOSING_UM = 120.0


@dataclass(frozen=True, slots=True)
class SyntheticPlan:
    """How much is made, and how short the fine-tunings are."""

    # Slides of each data set; PAIP2019's need three, one for each split.
    paip_slides: int = 4
    camelyon_slides: int = 2
    slide_um: float = 2000.0  # side of a slide in micrometres
    # Of the patches.
    patch_size_px: int = 400
    stride_px: int = 200
    limit: int = 2  # patches of each test set
    epochs: int = 1  # of each fine-tuning
    # Other settings of it, so that it ends after a few steps.
    tuning: Mapping[str, Any] = field(
        default_factory=lambda: {
            "batch_size": 2,
            "max_steps_per_epoch": 2,
            "validation_limit": 1,
            "validation_clicks": 3,
        }
    )


def make_synthetic_folders(
    out: str | Path, plan: SyntheticPlan, *, seed: int = 0, progress: ProgressCallback = silent
) -> tuple[Path, Path]:
    """Render slides and lay them out as PAIP2019 and CAMELYON16 are published.

    Liver-like slides get ImageScope XML with two layers and the two masks; lymph-node-like slides
    get ASAP XML in CAMELYON16's groups. Folders that are there are kept. Return both, ``PAIP2019``
    and ``CAMELYON16`` in `out`; `progress` is called after every slide.
    """
    paip, camelyon = Path(out) / "PAIP2019", Path(out) / "CAMELYON16"
    first, second = plan.paip_slides, plan.camelyon_slides

    def make(folder: Path, before: int, lay_out: Callable[..., None], **cohort: Any) -> None:
        if folder.is_dir():
            return
        with tempfile.TemporaryDirectory() as made, new_folder(folder) as target:
            made_cohort = make_cohort(
                Path(made) / "cohort",
                slide_um=plan.slide_um,
                mpp=_MPP,
                workers=1,
                progress=lambda done, total, message="": progress(
                    before + done, first + second, message
                ),
                **cohort,
            )
            lay_out(made_cohort, target)

    make(
        paip, 0, _lay_out_paip, domain="liver", n_slides=first, seed=seed, annotation_format="mask"
    )
    make(camelyon, first, _lay_out_camelyon, domain="lymph_node", n_slides=second, seed=seed + 1000)
    progress(first + second, first + second, "synthetic slides are there")
    return paip, camelyon


def make_synthetic_weights(folder: str | Path, *, seed: int = 0) -> Path:
    """Write random weights of the small networks, in the layout of the official files.

    Files that are there are kept. Return the folder.
    """
    import torch

    from histosam_core.model.baselines import canonical_name, network
    from histosam_core.model.registry.registry import MODELS

    for family, name in SMALL_MODELS.items():
        # The official file name; the network's own where no weights were published.
        path = Path(folder) / (MODELS[name].file_name if name in MODELS else f"{name}.pth")
        if family == "sam" or path.is_file():
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state = network(name).state_dict()
        config = {"class": canonical_name(name), "params": {}}
        with new_file(path) as temporary:
            torch.save({"state_dict": state, "config": config}, temporary)
    return Path(folder)


def synthetic_values(out: str | Path, plan: SyntheticPlan) -> dict[str, Any]:
    """Return the settings of a run on the synthetic folders below `out`, by their names."""
    made = Path(out) / SYNTHETIC_MARK
    return {
        "paip": made / "PAIP2019",
        "camelyon": made / "CAMELYON16",
        "weights": made / "weights",
        "models": SMALL_MODELS,
        "patch_size_px": plan.patch_size_px,
        "stride_px": plan.stride_px,
        "limit": plan.limit,
        "epochs": plan.epochs,
        "tuning": plan.tuning,
    }


def _lay_out_paip(cohort: Cohort, target: Path) -> None:
    cases = [(phase, number) for phase, numbers in PHASES.items() for number in numbers]
    slides = zip(cohort.slides, cohort.annotations, cases, strict=False)
    for i, (slide, mask_path, (phase, number)) in enumerate(slides, start=1):
        place = target / f"Training_phase_{phase}_{i:03d}"
        place.mkdir()
        stem = f"01_01_{number:04d}"
        slide.rename(place / f"{stem}.svs")
        annotation = read_mask_tiff(mask_path)
        viable = annotation.mask(Region((0.0, 0.0), annotation.size_wh)) == 1
        whole = _surrounding(viable)
        for name, mask in (("viable", viable), ("whole", whole)):
            write_mask_tiff(place / f"{stem}_{name}.tif", mask, mpp=_MPP)
        layers = (("Whole tumor", whole, _YELLOW), ("Viable tumor", viable, _GREEN))
        regions = [
            AnnotatedRegion(mask_to_geometry(mask), label, colour) for label, mask, colour in layers
        ]
        write_imagescope_xml(place / f"{stem}.xml", regions, mpp=_MPP)


def _lay_out_camelyon(cohort: Cohort, target: Path) -> None:
    images, annotations = (target / "testing" / name for name in ("images", "lesion_annotations"))
    images.mkdir(parents=True)
    annotations.mkdir()
    for i, (slide, outline) in enumerate(
        zip(cohort.slides, cohort.annotations, strict=True), start=1
    ):
        slide.rename(images / f"test_{i:03d}.tif")
        regions = [replace(one, label="_0") for one in read_annotations(outline).regions]
        write_asap_xml(annotations / f"test_{i:03d}.xml", regions)


def _surrounding(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The area around all of a mask: gaps closed, holes filled."""
    step = 8
    small = mask[::step, ::step].astype(np.uint8)
    reach = 2 * round(_CLOSING_UM / _MPP / step / 2) + 1
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    filled = binary_fill_holes(cv2.morphologyEx(small, cv2.MORPH_CLOSE, ellipse)).astype(np.uint8)
    height, width = mask.shape
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_NEAREST)
    around: NDArray[np.bool_] = (large > 0) | mask
    return around
