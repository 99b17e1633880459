"""The contact sheet."""

from __future__ import annotations

import numpy as np

from histosam_core.dataset import extract_patches, open_patches
from histosam_core.dataset.contact_sheet import contact_sheet


def test_sheet_outlines_the_truth_and_is_equally_wide_for_every_store(new_slide, tmp_path):
    sheets = []
    for name, size in (("a", 256), ("b", 384)):
        out = tmp_path / f"patches-{name}"
        pair = new_slide(name, size=size)
        options = {"patch_size_px": 64, "min_tissue": 0, "splits": {"train": 1}}
        extract_patches([pair], out, tumor_fraction=(0.1, 0.9), stride_px=16, **options)
        sheets.append(contact_sheet(open_patches(out), n=3))
    assert sheets[0].shape[1] == sheets[1].shape[1]
    for sheet in sheets:
        assert (sheet == (0, 160, 60)).all(axis=2).sum() > 200
        assert np.unique(sheet.reshape(-1, 3), axis=0).shape[0] > 3
