"""Synthetic H&E slides with known tumour regions: made here, from a seed, with no outside image."""

from histosam_core.recipes.synthetic.render import (
    DOMAINS,
    GENERATOR_VERSION,
    SyntheticSlide,
    render_slide,
)

__all__ = ["DOMAINS", "GENERATOR_VERSION", "SyntheticSlide", "render_slide"]
