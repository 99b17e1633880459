"""Settings of the extraction."""

from __future__ import annotations

import json

import pytest

from histosam_core.dataset.settings import ExtractionSettings, mpp_of_magnification
from histosam_core.errors import ConfigError


def test_every_problem_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        ExtractionSettings(mpp=0, patch_size_px=2, stride_px=0, tumor_fraction=(0.9, 0.2), seed=-1)
    for word in ("mpp", "patch_size_px", "stride_px", "tumor_fraction", "seed"):
        assert word in str(caught.value)


def test_settings_are_json():
    settings = ExtractionSettings(labels=("a",))
    assert json.loads(json.dumps(settings.as_dict()))["tumor_fraction"] == [0.2, 0.8]


def test_magnification_is_ten_over_mpp():
    assert mpp_of_magnification(5) == 2.0
    assert mpp_of_magnification(40) == 0.25
    with pytest.raises(ConfigError, match="magnification"):
        mpp_of_magnification(0)
