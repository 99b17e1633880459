"""Who clicks: the ideal user of the protocol, and users whose hand and eye are less exact.

The ideal user hits the middle of the deepest error, every time. People do not, and a model may be
good for the one click and bad for those beside it: the order of models can change (RClicks). The
other users here answer the same error with the same sign, and click elsewhere in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks.click import Click
from histosam_core.clicks.simulate import error_depths, next_click
from histosam_core.errors import ConfigError

UserKind = Literal["ideal", "jitter", "region"]

TRIES = 256
"""Draws before a jittered click that never falls into its error is made where it was aimed."""


@dataclass(frozen=True, slots=True)
class User:
    """A simulated user.

    Parameters
    ----------
    kind
        "ideal": the middle of the deepest error, `next_click`. "jitter": aims there and misses by a
        normal distance in x and in y; a click that would fall outside the error that it answers is
        drawn again, since a person sees where the error is. "region": anywhere in that error, with
        a probability in proportion to the depth. The error that is answered is the connected piece
        (8 neighbours) that holds the deepest pixel; the sign is always the ideal user's.
    sigma_px
        Standard deviation of the jitter in each direction, image pixels.
    repeats
        How often each image is clicked on, with draws of its own each time. The ideal user would do
        the same again: 1.
    seed
        Of the draws. They depend on it, on the image's id and on the repeat alone: neither on the
        model, so that models meet the same luck, nor on what is computed together.

    Raises
    ------
    ConfigError
        A value is out of range.

    References
    ----------
    A. Antonov et al., "RClicks: realistic click simulation for benchmarking interactive
    segmentation", NeurIPS 2024.
    """

    kind: UserKind = "ideal"
    sigma_px: float = 8.0
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if self.kind not in get_args(UserKind):
            wrong.append(f"no simulated user {self.kind!r}; choose {', '.join(get_args(UserKind))}")
        if not 0 < self.sigma_px < np.inf:
            wrong.append(f"sigma_px {self.sigma_px} must be above 0")
        if self.repeats < 1:
            wrong.append(f"repeats {self.repeats} must be at least 1")
        if self.kind == "ideal" and self.repeats > 1:
            wrong.append(
                f"the ideal user does the same {self.repeats} times; choose jitter or region"
            )
        if self.seed < 0:
            wrong.append(f"seed {self.seed} must be 0 or more")
        if wrong:
            raise ConfigError("user: " + "; ".join(wrong))

    @property
    def described(self) -> str:
        """The user in a few words, for tables."""
        if self.kind == "ideal":
            return "ideal user"
        how = (
            f"jitter of {self.sigma_px:g} px" if self.kind == "jitter" else "anywhere in the error"
        )
        return f"{how}, {self.repeats} repeat{'s' if self.repeats != 1 else ''}, seed {self.seed}"

    def rng(self, image_id: str, repeat: int = 0) -> np.random.Generator:
        """Return the source of one session's draws.

        Parameters
        ----------
        image_id
            Names the image, whatever set it is in.
        repeat
            Which of the user's repeats.
        """
        digest = hashlib.sha256(image_id.encode()).digest()
        return np.random.default_rng([self.seed, repeat, int.from_bytes(digest[:8], "little")])

    def next_click(
        self,
        gt_mask: ArrayLike,
        pred_mask: ArrayLike,
        clicked: Iterable[Click] = (),
        *,
        rng: np.random.Generator,
        ignore_mask: ArrayLike | None = None,
    ) -> Click:
        """Return the user's next click; with no error left, a negative one at (0, 0).

        Parameters
        ----------
        gt_mask, pred_mask, clicked, ignore_mask
            As for `histosam_core.clicks.next_click`.
        rng
            From `rng`, the same for all clicks of a session. The ideal user draws nothing.

        Returns
        -------
        Click
            Whole-number (x, y) in image pixels, on an error of its sign, not clicked before.

        Raises
        ------
        ConfigError
            The masks are not two-dimensional, empty, or of different shapes.
        """
        if self.kind == "ideal":
            return next_click(gt_mask, pred_mask, clicked, ignore_mask)
        missed, wrong = error_depths(gt_mask, pred_mask, clicked, ignore_mask)
        is_positive = bool(missed.max() > wrong.max())
        depth = missed if is_positive else wrong
        row, column = divmod(int(depth.argmax()), depth.shape[1])
        if depth[row, column] > 0:
            _keep_piece(depth, row, column)
            if self.kind == "jitter":
                row, column = self._missed_aim(depth, row, column, rng)
            else:
                row, column = _drawn_by_depth(depth, rng)
        return Click(xy=(column, row), is_positive=is_positive)

    def _missed_aim(
        self, depth: NDArray[np.float32], row: int, column: int, rng: np.random.Generator
    ) -> tuple[int, int]:
        height, width = depth.shape
        # All at once, so that a session draws the same amount whatever comes of it.
        rows, columns = np.rint(rng.normal((row, column), self.sigma_px, size=(TRIES, 2))).T.astype(
            int
        )
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns = rows[inside], columns[inside]
        hits = np.flatnonzero(depth[rows, columns] > 0)
        return (int(rows[hits[0]]), int(columns[hits[0]])) if hits.size else (row, column)


IDEAL = User()
"""The user of the standard protocol."""


def _keep_piece(depth: NDArray[np.float32], row: int, column: int) -> None:
    """Set all but the connected piece round a pixel to 0."""
    ink = (depth > 0).astype(np.uint8)
    cv2.floodFill(ink, None, (column, row), 2, flags=8)
    depth[ink != 2] = 0


def _drawn_by_depth(depth: NDArray[np.float32], rng: np.random.Generator) -> tuple[int, int]:
    # Row by row: of a tumour on a slide, all pixels at once would take half as much memory again.
    of_rows = depth.sum(axis=1, dtype=np.float64)
    ends = np.cumsum(of_rows)
    at = rng.random() * ends[-1]
    row = _first_beyond(ends, of_rows, at)
    column = _first_beyond(
        np.cumsum(depth[row], dtype=np.float64), depth[row], at - (ends[row] - of_rows[row])
    )
    return row, column


def _first_beyond(ends: NDArray[np.float64], weights: NDArray[np.floating[Any]], at: float) -> int:
    """Return where the running sum of weights passes a value; rounding does not lead past it."""
    return min(int(np.searchsorted(ends, at, side="right")), int(np.flatnonzero(weights)[-1]))
