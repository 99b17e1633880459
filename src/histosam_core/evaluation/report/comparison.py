"""Models beside each other on the same patches: differences, intervals and paired tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from histosam_core.evaluation.report.summary import (
    NOC_THRESHOLDS,
    Estimate,
    PatchMeans,
    can_tell,
    estimate_mean,
)
from histosam_core.metrics import clicks_to_reach, holm, sign_flip_test, wilcoxon_test

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult


@dataclass(frozen=True, slots=True)
class Difference:
    """Clicks that `name` needs more (+) or fewer (-) than `reference`, patch by patch."""

    # What is compared.
    dataset: str
    name: str
    reference: str
    threshold: float  # the IoU to reach
    n_patches: int  # patches that both runs hold
    # Mean difference of the number of clicks, with its interval over the same patches.
    noc: Estimate
    # Of the tests `histosam_core.metrics.sign_flip_test` and `wilcoxon_test`.
    p: float = math.nan
    # `p` corrected for all pairs of models that are compared at this threshold on this data set.
    p_holm: float = math.nan
    p_wilcoxon: float = math.nan
    # What changes sign together: "slides", or "patches" where there are too few slides. The latter
    # says nothing about other slides.
    tested: str = "patches"


def compare(
    results: Sequence[EvaluationResult],
    *,
    thresholds: Sequence[float] = NOC_THRESHOLDS,
    seed: int = 0,
) -> list[Difference]:
    """Compare every pair of models on the patches that both were given, per data set.

    The same patches are hard for both, so that the interval of the difference is narrower than
    those of the two means; where it leaves out 0, the models differ beyond the choice of slides.
    Repeats of a patch are averaged first, one run's with the other's of the same draws.

    Parameters
    ----------
    results
        Runs; the earlier of a pair is the reference.
    thresholds
        IoUs to reach; those above either run's target are left out.
    seed
        Of the bootstrap.
    """
    differences = [
        difference
        for reference, other in combinations(results, 2)
        if (reference.dataset, reference.user) == (other.dataset, other.user)
        for difference in _pair(reference, other, thresholds, seed)
    ]
    families: dict[tuple[str, float], list[int]] = {}
    for i, difference in enumerate(differences):
        families.setdefault((difference.dataset, difference.threshold), []).append(i)
    for family in families.values():
        for i, p in zip(family, holm([differences[i].p for i in family]), strict=True):
            differences[i] = replace(differences[i], p_holm=p)
    return differences


def _pair(
    reference: EvaluationResult, other: EvaluationResult, thresholds: Sequence[float], seed: int
) -> Iterator[Difference]:
    by_id = {(patch.patch_id, patch.repeat): patch for patch in reference.patches}
    pairs = [(by_id[key], p) for p in other.patches if (key := (p.patch_id, p.repeat)) in by_id]
    budget = min(reference.settings.max_clicks, other.settings.max_clicks)
    target = min(reference.settings.target_iou, other.settings.target_iou)
    patches = PatchMeans(replace(other, patches=tuple(patch for _, patch in pairs)))
    for threshold in thresholds if pairs else ():
        if not can_tell(threshold, target):
            continue
        before, after = (
            np.minimum(clicks_to_reach([p[i].ious for p in pairs], threshold, budget), budget)
            for i in (0, 1)
        )
        values = patches.mean(after - before)
        test = sign_flip_test(values, patches.slides, rng=np.random.default_rng(seed))
        yield Difference(
            dataset=other.dataset,
            name=other.name,
            reference=reference.name,
            threshold=threshold,
            n_patches=len(values),
            noc=estimate_mean(values, patches.slides, seed),
            p=test.p,
            p_wilcoxon=wilcoxon_test(values, patches.slides).p,
            tested="slides" if test.units == "groups" else "patches",
        )
