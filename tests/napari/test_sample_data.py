"""The sample data: a slide with its truth, drawn once, and an image of scikit-image's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_histosam import sample_data


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "SYNTHETIC_PX", 600)
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("small")
def test_the_truth_lies_on_the_tumour_of_the_slide() -> None:
    from histosam_core.recipes.synthetic import render_slide

    (image, shown, kind), (mask, truth, truth_kind) = sample_data.synthetic_liver()
    drawn = render_slide("liver", (600, 600), mpp=0.5, rng=sample_data.SYNTHETIC_SEED)
    assert (kind, truth_kind) == ("image", "labels")
    assert np.abs(np.asarray(image).astype(int) - drawn.image).mean() < 5  # JPEG
    np.testing.assert_array_equal(mask, drawn.tumor_mask)
    assert 0.05 < mask.mean() < 0.95
    assert shown["scale"] == truth["scale"] == (0.5, 0.5)
    assert not truth["visible"]


@pytest.mark.usefixtures("small")
def test_the_slide_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sample_data.synthetic_liver()

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr("histosam_core.recipes.synthetic.render_slide", again)
    second = sample_data.synthetic_liver()
    np.testing.assert_array_equal(first[1][0], second[1][0])


@pytest.mark.usefixtures("small")
def test_a_drawing_cut_short_is_drawn_again() -> None:
    slide, mask = sample_data._synthetic_files()
    slide.unlink()
    assert sample_data._synthetic_files() == (slide, mask)
    assert slide.is_file()


def test_the_stained_section_comes_without_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def connect(*_: Any) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(socket.socket, "connect", connect)
    image, attributes, kind = sample_data.immunohistochemistry()[0]
    assert (image.shape, image.dtype, kind) == ((512, 512, 3), np.uint8, "image")
    assert attributes["rgb"]


@pytest.mark.gui
@pytest.mark.usefixtures("small")
def test_the_menu_opens_them(viewer: Any) -> None:
    viewer.open_sample("napari-histosam", "synthetic_liver")
    viewer.open_sample("napari-histosam", "immunohistochemistry")
    assert [layer.name for layer in viewer.layers] == [
        "Synthetic liver",
        "Tumor (truth)",
        "Immunohistochemistry",
    ]
    slide, truth = viewer.layers[:2]
    np.testing.assert_allclose(slide.extent.world, truth.extent.world)
