"""A large JPEG pyramid made from one square of tissue-like texture, repeated.

Level k is the same texture averaged, so the levels show the same tissue. With `share_bytes` every
tile of the index points at the few encoded tiles that exist, so that a slide of 100,000 pixels a
side is a file of a few megabytes (written by hand: a TIFF library would store each copy).
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

__all__ = ["TILE_PX", "tissue_texture", "write_repeated_slide"]

TILE_PX = 256
_SHORT, _LONG8, _ASCII = 3, 16, 2


def tissue_texture(side_px: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a periodic (side_px, side_px, 3) uint8 picture with the detail of stained tissue."""
    rng = np.random.default_rng(seed)

    def noise(sigma: float) -> NDArray[np.float32]:
        white = rng.standard_normal((side_px, side_px)).astype(np.float32)
        pad = int(4 * sigma) + 1
        smooth = cv2.GaussianBlur(np.pad(white, pad, mode="wrap"), (0, 0), sigma)
        smooth = smooth[pad:-pad, pad:-pad]
        return smooth / smooth.std()

    stroma = 0.5 + 0.25 * noise(12) + 0.15 * noise(3)
    nuclei = 1 / (1 + np.exp(-6 * (noise(4) + 0.5 * noise(20) - 1.4)))
    optical_density = (
        np.clip(stroma, 0, 1.2)[..., None] * (0.10, 0.45, 0.20)
        + nuclei[..., None] * (0.70, 0.75, 0.35)
        + 0.02 * noise(0.7)[..., None]
    )
    return np.clip(245 * np.exp(-optical_density), 0, 255).astype(np.uint8)


def write_repeated_slide(
    path: Path,
    size_px: int,
    *,
    downsamples: tuple[int, ...] = (1, 4, 16),
    texture_px: int = 4096,
    share_bytes: bool = False,
    quality: int = 80,
) -> Path:
    """Write a square pyramidal BigTIFF with an Aperio description (0.5 um per pixel, 20x).

    `texture_px` must be a multiple of ``TILE_PX * downsamples[-1]``, so that all levels repeat on
    tile borders.
    """
    texture = tissue_texture(texture_px)
    directories = []
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        for downsample in downsamples:
            side = texture_px // downsample
            level = cv2.resize(texture, (side, side), interpolation=cv2.INTER_AREA)
            tiles = [
                [
                    imagecodecs.jpeg8_encode(
                        np.ascontiguousarray(level[y : y + TILE_PX, x : x + TILE_PX]),
                        level=quality,
                        subsampling="420",
                    )
                    for x in range(0, side, TILE_PX)
                ]
                for y in range(0, side, TILE_PX)
            ]
            stored: dict[tuple[int, int], int] = {}
            offsets, counts = [], []
            across = -(-(size_px // downsample) // TILE_PX)
            for row in range(across):
                for column in range(across):
                    at = row % len(tiles), column % len(tiles)
                    data = tiles[at[0]][at[1]]
                    if not share_bytes or at not in stored:
                        stored[at] = file.tell()
                        file.write(data)
                    offsets.append(stored[at])
                    counts.append(len(data))
            directories.append((size_px // downsample, offsets, counts))
        _write_directories(file, directories)
    return path


def _write_directories(file, directories) -> None:  # type: ignore[no-untyped-def]
    link = 8  # where the offset of the next directory must be written
    for index, (side, offsets, counts) in enumerate(directories):
        values = {
            254: (_LONG8, [int(index > 0)]),
            256: (_LONG8, [side]),
            257: (_LONG8, [side]),
            258: (_SHORT, [8, 8, 8]),
            259: (_SHORT, [7]),  # JPEG
            262: (_SHORT, [6]),  # YCbCr
            270: (_ASCII, b"Aperio Image Library v1\r\nbenchmark|AppMag = 20|MPP = 0.5\0"),
            277: (_SHORT, [3]),
            284: (_SHORT, [1]),
            322: (_SHORT, [TILE_PX]),
            323: (_SHORT, [TILE_PX]),
            324: (_LONG8, offsets),
            325: (_LONG8, counts),
            530: (_SHORT, [2, 2]),
        }
        entries = b""
        for tag, (kind, value) in sorted(values.items()):
            data = (
                value if kind == _ASCII else np.asarray(value, "<u2" if kind == _SHORT else "<u8")
            )
            data = bytes(data) if kind == _ASCII else data.tobytes()
            if len(data) > 8:
                where = file.tell()
                file.write(data)
                data = struct.pack("<Q", where)
            entries += struct.pack("<HHQ", tag, kind, len(value)) + data.ljust(8, b"\0")
        start = file.tell()
        file.write(struct.pack("<Q", len(values)) + entries + struct.pack("<Q", 0))
        end = file.tell()
        file.seek(link)
        file.write(struct.pack("<Q", start))
        file.seek(end)
        link = end - 8
