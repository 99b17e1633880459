"""Synthetic folders have the names, formats and values of the real ones."""

from __future__ import annotations

from pathlib import Path

from histosam_core.annotation import read_annotations
from histosam_core.geometry import Region
from histosam_core.recipes.stand_in_study import (
    SMALL_MODELS,
    make_synthetic_folders,
    make_synthetic_weights,
)
from histosam_core.slide import open_slide

from .conftest import PLAN


def test_paip2019_has_four_files_a_case(folders: tuple[Path, Path]) -> None:
    place = folders[0] / "Training_phase_1_002"
    names = sorted(path.name for path in place.iterdir())
    endings = (".svs", ".xml", "_viable.tif", "_whole.tif")
    assert names == [f"01_01_0085{ending}" for ending in endings]
    with open_slide(place / "01_01_0085.svs") as slide:
        assert slide.magnification == 20
        region = Region((0.0, 0.0), slide.size_wh)
        masks = {
            name: read_annotations(place / f"01_01_0085_{name}.tif").fitted(slide.size_wh)
            for name in ("viable", "whole")
        }
        viable, whole = (masks[name].mask(region) == 1 for name in ("viable", "whole"))
        outlined = read_annotations(place / "01_01_0085.xml").mask(region) == 1
    assert 0 < viable.sum() < whole.sum()
    assert not (viable & ~whole).any()
    # ImageScope's two layers together are the whole tumour.
    assert (outlined != whole).mean() < 0.01


def test_camelyon16_has_asap_annotations_in_its_groups(folders: tuple[Path, Path]) -> None:
    testing = folders[1] / "testing"
    text = (testing / "lesion_annotations" / "test_001.xml").read_text()
    assert 'PartOfGroup="_0"' in text
    with open_slide(testing / "images" / "test_001.tif") as slide:
        annotation = read_annotations(testing / "lesion_annotations" / "test_001.xml")
        assert annotation.fitted(slide.size_wh) is annotation


def test_slides_that_are_there_are_kept(folders: tuple[Path, Path]) -> None:
    slide = next(folders[0].rglob("*.svs"))
    before = slide.stat().st_mtime_ns
    assert make_synthetic_folders(folders[0].parent, PLAN) == folders
    assert slide.stat().st_mtime_ns == before


def test_small_weights_are_found_and_loaded(tmp_path: Path) -> None:
    from histosam_core.model import load_model
    from histosam_core.reproduce.method_models import find_weights

    folder = make_synthetic_weights(tmp_path)
    for family, model in SMALL_MODELS.items():
        loaded = load_model(find_weights(model, folder).source, "cpu")
        assert family in type(loaded).__name__.casefold() or family == "sam"
