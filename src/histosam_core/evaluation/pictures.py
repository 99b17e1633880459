"""Pictures beside the rows: every patch's last mask, and image and truth of a few examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.atomic import new_file

JPEG_QUALITY = 88
IGNORED_GREY = 128


def save_mask(folder: Path, index: int, mask: NDArray[np.bool_], repeat: int = 0) -> None:
    """Write a patch's last mask, (H, W) bool, as a one-bit PNG into a run folder."""
    options = [cv2.IMWRITE_PNG_BILEVEL, 1]
    _write(_mask_path(folder, index, repeat), mask.astype(np.uint8) * 255, options)


def save_example(folder: Path, index: int, image: NDArray[np.uint8], gt_mask: ArrayLike) -> None:
    """Write (h, w, 3) RGB as JPEG, and its truth, (H, W) of 1, 0, -1, as PNG into a run folder."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    _write(_image_path(folder, index), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    truth = np.asarray(gt_mask)
    grey = np.where(truth == 1, 255, np.where(truth == -1, IGNORED_GREY, 0)).astype(np.uint8)
    _write(_truth_path(folder, index), grey, [])


def read_mask(folder: Path, index: int, repeat: int = 0) -> NDArray[np.bool_] | None:
    """Return a patch's last mask, (H, W) bool; None where it was not kept."""
    grey = _read_grey(_mask_path(folder, index, repeat))
    return None if grey is None else grey > 0


def read_truth(folder: Path, index: int) -> NDArray[np.int8] | None:
    """Return an example's truth, (H, W) int8 of 1, 0, -1; None where it was not kept."""
    grey = _read_grey(_truth_path(folder, index))
    if grey is None:
        return None
    return np.where(grey == 255, 1, np.where(grey == IGNORED_GREY, -1, 0)).astype(np.int8)


def read_image(folder: Path, index: int) -> bytes | None:
    """Return an example's image as JPEG bytes; None where it was not kept."""
    path = _image_path(folder, index)
    return path.read_bytes() if path.is_file() else None


def _mask_path(folder: Path, index: int, repeat: int) -> Path:
    again = f"_repeat{repeat}" if repeat else ""
    return folder / "masks" / f"{index:06d}{again}.png"


def _image_path(folder: Path, index: int) -> Path:
    return folder / "examples" / f"{index:06d}.jpg"


def _truth_path(folder: Path, index: int) -> Path:
    return folder / "examples" / f"{index:06d}_truth.png"


def _write(path: Path, pixels: NDArray[np.uint8], options: Sequence[int]) -> None:
    done, encoded = cv2.imencode(path.suffix, pixels, list(options))
    if not done:
        raise ValueError(f"cannot encode {pixels.shape} {pixels.dtype} as {path.suffix}")
    with new_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _read_grey(path: Path) -> NDArray[np.uint8] | None:
    if not path.is_file():
        return None
    grey: NDArray[np.uint8] | None = cv2.imdecode(
        np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE
    )
    return grey
