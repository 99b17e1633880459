"""The small encoder."""

from __future__ import annotations

import pytest
import torch

from histosam_core.model.sam.tiny import TinyEncoder, build_tiny_modules


@pytest.mark.parametrize("size", [128, 256])
def test_embedding_is_an_eighth_of_the_input(size: int) -> None:
    assert TinyEncoder(size)(torch.randn(1, 3, size, size)).shape == (1, 128, size // 8, size // 8)


def test_weights_fit_every_input_size() -> None:
    small, large = (build_tiny_modules("refining", image_size=s) for s in (128, 256))
    for a, b in zip(small, large, strict=True):
        b.load_state_dict(a.state_dict(), strict=True)


def test_whole_model_fits_in_twelve_megabytes_at_half_precision() -> None:
    modules = build_tiny_modules("refining", keep_sam_head=True)
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    assert 2 * parameters < 12_000_000
