"""A contact sheet: a few patches of every split, the truth outlined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from histosam_core.dataset.patches import Patch, PatchStore

_PER_SPLIT, _ACROSS, _EDGE_PX, _GAP_PX, _HEADING_PX = 12, 6, 240, 8, 30
_TUMOR_COLOR, _IGNORE_COLOR = (0, 160, 60), (230, 160, 0)
Rgb = npt.NDArray[np.uint8]


def write_preview(path: Path, folder: Path, splits: Sequence[str]) -> None:
    """Write the contact sheets of a data set's splits, one below the other, as PNG."""
    sheets = [contact_sheet(PatchStore(folder / f"{split}.zarr")) for split in splits]
    Image.fromarray(np.concatenate(sheets)).save(path)


def contact_sheet(store: PatchStore, n: int = _PER_SPLIT) -> Rgb:
    """Draw up to `n` patches, evenly spread over a split, under a heading: (H, W, 3) uint8.

    Tumour is outlined in green, ignored parts in orange. The width is the same for every store.
    """
    picked = np.unique(np.linspace(0, len(store) - 1, min(n, len(store))).round().astype(int))
    cell = _EDGE_PX + _GAP_PX
    n_rows = -(-len(picked) // _ACROSS)
    sheet = Image.new("RGB", (_ACROSS * cell + _GAP_PX, n_rows * cell + _HEADING_PX), "white")
    draw = ImageDraw.Draw(sheet)
    g = store.geometry
    draw.text(
        (_GAP_PX, 6),
        f"{store.split}: {len(picked)} of {len(store)} patches from {len(store.slides)} slides, "
        f"{g.patch_size_px} px at {g.mpp:g} um per pixel; tumour outlined",
        fill="black",
        font=ImageFont.load_default(15),
    )
    for place, index in enumerate(picked.tolist()):
        row, column = divmod(place, _ACROSS)
        tile = Image.fromarray(_outlined(store[index]))
        sheet.paste(tile, (_GAP_PX + column * cell, _HEADING_PX + row * cell))
    return np.asarray(sheet, dtype=np.uint8)


def _outlined(patch: Patch) -> Rgb:
    image = cv2.resize(patch.image, (_EDGE_PX, _EDGE_PX), interpolation=cv2.INTER_AREA)
    for value, color in ((1, _TUMOR_COLOR), (-1, _IGNORE_COLOR)):
        share = cv2.resize((patch.gt_mask == value).astype(np.float32), (_EDGE_PX, _EDGE_PX))
        inside = (share >= 0.5).astype(np.uint8)
        outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, outlines, -1, color, 2)
    drawn: Rgb = image
    return drawn
