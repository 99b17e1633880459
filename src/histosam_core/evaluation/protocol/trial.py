"""A trial: one image, or one region of a slide, on its way through the click protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks import MASK_THRESHOLD, Click
from histosam_core.errors import ConfigError
from histosam_core.metrics import iou


class EvaluationPatch(Protocol):
    """What evaluation needs of a patch; `histosam_core.dataset.Patch` has it.

    `image` is (H, W, 3) uint8 RGB; `gt_mask` (H, W) bool or whole numbers: 1 object, 0 background,
    -1 ignored; `id` is unique in the data set; `slide` names what it was cut from.
    """

    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def gt_mask(self) -> NDArray[Any]: ...
    @property
    def id(self) -> str: ...
    @property
    def slide(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """When to stop clicking, and where the mask begins.

    Parameters
    ----------
    target_iou
        Stop at this IoU; above 1 means never. NoC is known for thresholds up to it only.
    max_clicks
        The budget of clicks per image.
    min_clicks
        Clicks made even if the target is reached before.
    mask_threshold
        A pixel is foreground where its probability lies above this, strictly.
    grow_windows
        Windows that an object may grow into after each click; on slides alone. 0: it does not grow.

    Raises
    ------
    ConfigError
        Values are out of range; all of them are named.
    """

    target_iou: float = 0.90
    max_clicks: int = 20
    min_clicks: int = 1
    mask_threshold: float = MASK_THRESHOLD
    grow_windows: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if not self.target_iou > 0:
            wrong.append(f"target_iou {self.target_iou} must be above 0")
        if self.max_clicks < 1:
            wrong.append(f"max_clicks {self.max_clicks} must be at least 1")
        if not 1 <= self.min_clicks <= max(self.max_clicks, 1):
            wrong.append(f"min_clicks {self.min_clicks} must lie in 1 to max_clicks")
        if not 0 < self.mask_threshold < 1:
            wrong.append(f"mask_threshold {self.mask_threshold} must lie between 0 and 1")
        if self.grow_windows < 0:
            wrong.append(f"grow_windows {self.grow_windows} must not be below 0")
        if wrong:
            raise ConfigError("evaluation settings: " + "; ".join(wrong))


@dataclass(frozen=True, slots=True)
class ClickRun:
    """What happened on one image.

    Parameters
    ----------
    clicks
        The n clicks in order, image pixels (x, y).
    ious
        (n,) float32, the IoU after each click.
    mask
        (H, W) bool, the mask after the last click.
    encode_s
        Seconds to encode the image (its share, where images are encoded together). A kept
        embedding counts what it took when it was made.
    decode_s
        (n,) float64, seconds to decode each click (its share, likewise).
    wall_s
        (n,) float64, each click's share of the loop's wall time: reading, encoding, decoding and
        the simulated user.
    repeat
        Which of the user's repeats this is, from 0.
    """

    clicks: list[Click]
    ious: NDArray[np.float32]
    mask: NDArray[np.bool_]
    encode_s: float
    decode_s: NDArray[np.float64]
    wall_s: NDArray[np.float64]
    repeat: int = 0


class Clicker(Protocol):
    """Who clicks: a simulated `User`, or clicks that were recorded."""

    def next_click(
        self,
        gt_mask: ArrayLike,
        pred_mask: ArrayLike,
        clicked: Iterable[Click] = (),
        *,
        rng: np.random.Generator,
    ) -> Click:
        """Return the next click, image pixels (x, y); see `User.next_click`."""


@dataclass(slots=True)
class Trial:
    """One image or region under the protocol: the clicks so far, and the mask after them.

    Attributes
    ----------
    mask : (H, W) bool
        After the last click; empty before the first.
    saved_s : float
        Seconds that a kept embedding has saved since the last click. They are charged to the next
        one, so that models and repeats which share an encoder stay comparable.
    """

    gt_mask: NDArray[np.int8]  # (H, W) int8: 1 object, 0 background, -1 ignored
    # When to stop, who clicks, and the source of the user's draws.
    settings: ProtocolSettings
    user: Clicker
    rng: np.random.Generator
    # Its place in the data set, and which of the user's repeats it is.
    index: int = 0
    repeat: int = 0
    # What the model made of the image, and its last `Prediction`.
    embedding: Any = None
    previous: Any = None
    mask: NDArray[np.bool_] = field(init=False)
    clicks: list[Click] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    encode_s: float = 0.0
    saved_s: float = 0.0
    decode_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mask = np.zeros(self.gt_mask.shape, dtype=bool)

    @property
    def is_finished(self) -> bool:
        """Whether the protocol stops here."""
        return is_finished(self.ious, self.settings)

    def click(self) -> None:
        """Let the user click."""
        self.clicks.append(self.user.next_click(self.gt_mask, self.mask, self.clicks, rng=self.rng))

    def take(self, mask: NDArray[np.bool_], decode_s: float) -> None:
        """Take the mask after the last click, (H, W) bool, and the seconds that it took."""
        self.mask = mask
        self.ious.append(iou(self.gt_mask, mask))
        self.decode_s.append(decode_s)

    def charge(self, wall_s: float) -> None:
        """Charge the last click with wall time, and with what was saved since the one before."""
        self.wall_s.append(wall_s + self.saved_s)
        self.saved_s = 0.0

    def result(self) -> ClickRun:
        """Return what happened."""
        return ClickRun(
            clicks=self.clicks,
            ious=np.array(self.ious, dtype=np.float32),
            mask=self.mask,
            encode_s=self.encode_s,
            decode_s=np.array(self.decode_s),
            wall_s=np.array(self.wall_s),
            repeat=self.repeat,
        )


def is_finished(ious: Sequence[float] | NDArray[np.float32], settings: ProtocolSettings) -> bool:
    """Whether the protocol stops after clicks with these IoUs."""
    n = len(ious)
    if n >= settings.max_clicks:
        return True
    # In the precision of the IoUs: the loop's are float64, those of records float32.
    return n >= settings.min_clicks and bool(ious[-1] >= type(ious[-1])(settings.target_iou))


def checked_truth(
    image: NDArray[np.uint8],
    gt_mask: ArrayLike,
    ignore_mask: ArrayLike | None = None,
    name: str = "",
) -> NDArray[np.int8]:
    """Return the truth as (H, W) int8 of 1, 0, -1 after making sure that it fits the image.

    Raises
    ------
    ConfigError
        It does not; `name` says of which image.
    """
    truth = np.asarray(gt_mask)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ConfigError(f"{name}image {image.shape} {image.dtype} must be (H, W, 3) uint8 RGB")
    if truth.shape != image.shape[:2]:
        raise ConfigError(f"{name}gt_mask {truth.shape} must cover the image {image.shape[:2]}")
    labels = np.unique(truth)
    if not np.isin(labels, (-1, 0, 1)).all():
        raise ConfigError(f"{name}gt_mask holds {labels[:4].tolist()}...; it may hold 1, 0 and -1")
    checked: NDArray[np.int8] = truth.astype(np.int8)
    if ignore_mask is not None:
        ignored = np.asarray(ignore_mask, dtype=bool)
        if ignored.shape != truth.shape:
            raise ConfigError(f"{name}ignore_mask {ignored.shape} must cover the image")
        checked[ignored] = -1
    return checked
