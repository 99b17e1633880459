"""The verdict, from IoU curves written by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation import EvaluationResult, PatchRecord, ProtocolSettings
from histosam_core.improve import prove

PX = {"a": 100.0, "b": 100.0}


def result(
    curves: Sequence[Sequence[float]], slides: str, step: float = 1000.0
) -> EvaluationResult:
    """A run with one patch per curve, `step` level-0 pixels apart."""
    patches = tuple(
        PatchRecord(
            index=i,
            patch_id=f"p{i}",
            slide=slide,
            location_xy=(i * step, 0.0),
            tumor_fraction=0.5,
            clicks=tuple(Click((0, 0)) for _ in curve),
            ious=np.array(curve, dtype=np.float32),
            encode_s=0.0,
            decode_s=np.zeros(len(curve)),
            wall_s=np.zeros(len(curve)),
        )
        for i, (curve, slide) in enumerate(zip(curves, slides, strict=True))
    )
    return EvaluationResult("m", "d", ProtocolSettings(max_clicks=5), patches, {})


def reaching(*clicks: int) -> list[list[float]]:
    """Curves that reach 0.86 at the click given; 0: never."""
    return [[0.5] * (n - 1) + [0.86, 0.91] if n else [0.5] * 5 for n in clicks]


def test_fewer_clicks_on_every_patch_are_better_and_the_sentence_counts_them() -> None:
    proof = prove(
        result(reaching(4, 4, 3, 3), "aaaa"), result(reaching(2, 1, 1, 2), "aaaa"), patch_px=PX
    )
    assert (proof.measure, proof.before, proof.after) == ("noc85", 3.5, 1.5)
    assert proof.difference.value == -2.0
    assert proof.difference.low < -2.0 < proof.difference.high < 0
    assert proof.is_better
    assert not proof.is_worse
    low, high = -proof.difference.high, -proof.difference.low
    assert proof.sentence().startswith(
        f"needs 2.00 clicks fewer (95 % CI {low:.2f} to {high:.2f}) to reach an IoU of 85 % "
        "on 4 held-out patches of 1 slide (3.50 before, 1.50 after)"
    )


def test_more_clicks_are_worse() -> None:
    proof = prove(
        result(reaching(1, 1, 2, 2), "aaaa"), result(reaching(3, 3, 3, 0), "aaaa"), patch_px=PX
    )
    assert proof.is_worse
    assert not proof.is_better
    assert "needs 2.00 clicks more" in proof.sentence()


def test_an_interval_that_holds_zero_proves_nothing() -> None:
    proof = prove(
        result(reaching(3, 1, 3, 1), "aaaa"), result(reaching(1, 3, 2, 1), "aaaa"), patch_px=PX
    )
    assert proof.difference.low < 0 < proof.difference.high
    assert not proof.is_better
    assert not proof.is_worse
    assert "may be chance" in proof.sentence()


def test_an_interval_that_ends_at_zero_proves_nothing() -> None:
    proof = prove(
        result(reaching(3, 2, 2, 2), "aaaa"), result(reaching(1, 2, 2, 2), "aaaa"), patch_px=PX
    )
    assert proof.difference.high == 0
    assert not proof.is_better


def test_where_no_patch_gets_there_the_mean_iou_decides() -> None:
    before, after = [[0.3] * 5] * 4, [[0.5, 0.6, 0.6, 0.6, 0.7]] * 4
    proof = prove(result(before, "aaaa"), result(after, "aaaa"), patch_px=PX)
    assert proof.measure == "mean_iou"
    assert proof.difference.value == pytest.approx(0.3)
    assert proof.is_better
    assert "the same for every patch" in proof.sentence()
    assert prove(result(after, "aaaa"), result(before, "aaaa"), patch_px=PX).is_worse
    same = prove(result(before, "aaaa"), result(before, "aaaa"), patch_px=PX)
    assert not same.is_better
    assert not same.is_worse
    hardly = prove(result(before, "aaaa"), result([[0.3002] * 5] * 4, "aaaa"), patch_px=PX)
    assert hardly.difference.low > 0
    assert not hardly.is_better


def test_one_slide_is_resampled_by_blocks_so_neighbours_count_as_one() -> None:
    before, after = reaching(*[4] * 6, *[1] * 6), reaching(*[1] * 6, *[2] * 6)
    near = prove(result(before, "a" * 12, step=30), result(after, "a" * 12, step=30), patch_px=PX)
    far = prove(result(before, "a" * 12), result(after, "a" * 12), patch_px=PX)
    assert near.resampled == far.resampled == "blocks"
    assert near.difference.value == far.difference.value == -1.0
    assert near.difference.high > 0
    assert far.difference.high < near.difference.high


def test_of_few_slides_the_wider_interval_is_taken() -> None:
    # Slides agree with each other, their blocks do not.
    before, after = reaching(4, 2, 4, 2), reaching(1, 2, 1, 2)
    proof = prove(result(before, "aabb"), result(after, "aabb"), patch_px=PX)
    assert proof.resampled == "slides or blocks"
    assert proof.n_slides == 2
    assert (proof.difference.low, proof.difference.high) == (-3.0, 0.0)


def test_one_block_is_resampled_by_patches() -> None:
    proof = prove(
        result(reaching(4, 3), "aa", step=1), result(reaching(1, 1), "aa", step=1), patch_px=PX
    )
    assert proof.resampled == "patches"
    assert (proof.difference.low, proof.difference.high) == (-3.0, -2.0)


def test_runs_without_a_common_patch_prove_nothing() -> None:
    with pytest.raises(EvaluationRecordsError, match="no patch in common"):
        prove(result([], ""), result(reaching(1), "a"), patch_px=PX)
