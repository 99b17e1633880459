"""Where a mask begins: the one threshold of sessions, training and evaluation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MASK_THRESHOLD = 0.49
"""A pixel belongs to the mask where its probability lies above this, strictly (RITM)."""


def logits_to_mask(logits: ArrayLike, threshold: float = MASK_THRESHOLD) -> NDArray[np.bool_]:
    """Return the mask that logits of any shape stand for: ``sigmoid(logits) > threshold``.

    Probabilities are compared in float32, as RITM compares them: the logit of the threshold would
    treat logits within rounding of it differently.
    """
    from scipy.special import expit  # takes as long to import as all of this room

    mask: NDArray[np.bool_] = expit(np.asarray(logits, np.float32)) > np.float32(threshold)
    return mask
