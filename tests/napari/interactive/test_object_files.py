from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from histosam_core.annotation import read_annotations
from histosam_core.errors import AnnotationError, EmptyMaskError, OutputExistsError


def near(drawn: Any, dx: float = 0) -> tuple[float, float]:
    x, y = drawn.inside
    return x + dx, y


@pytest.fixture
def accepted(started: Any, drawn: Any) -> Any:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    return started


@pytest.mark.parametrize("name", ["out.geojson", "out.ome.zarr"])
def test_an_export_says_how_many_objects_it_wrote(accepted: Any, tmp_path: Path, name: str) -> None:
    accepted.controller.export_file(tmp_path / name)
    accepted.settle()
    assert accepted.told == [f"1 object written to {name}"]


def test_an_export_says_that_the_current_object_is_not_in_the_file(
    accepted: Any, drawn: Any, tmp_path: Path
) -> None:
    accepted.controller.click(near(drawn, 200))
    accepted.controller.export_file(tmp_path / "out.geojson")
    accepted.settle()
    assert "the current object is not in it" in accepted.told[-1]
    assert "accept it (C)" in accepted.told[-1]
    assert len(read_annotations(tmp_path / "out.geojson").regions) == 1


@pytest.mark.parametrize("name", ["out.geojson", "out.ome.zarr"])
def test_nothing_accepted_is_not_exported(started: Any, tmp_path: Path, name: str) -> None:
    started.controller.export_file(tmp_path / name)
    started.settle()
    assert isinstance(started.failures[0].error, EmptyMaskError)
    assert "accept one (C)" in started.failures[0].message
    assert not (tmp_path / name).exists()


def test_labels_are_not_written_over_what_is_there(accepted: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.ome.zarr"
    for _ in range(2):
        accepted.controller.export_file(path)
    accepted.settle()
    assert isinstance(accepted.failures[0].error, OutputExistsError)
    assert accepted.failures[0].message == f"{path} exists; choose another name"


def test_an_import_says_how_many_objects_it_read(accepted: Any, tmp_path: Path) -> None:
    accepted.controller.export_file(tmp_path / "out.geojson")
    accepted.controller.import_file(tmp_path / "out.geojson")
    accepted.settle()
    assert accepted.told[-1] == "1 object read from out.geojson"


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"type": "FeatureColl',
        '{"some": "thing"}',
        '{"type": "FeatureCollection", "features": []}',
        '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [3, 4]}}',
    ],
    ids=["empty", "damaged", "foreign", "no features", "a point"],
)
def test_a_file_that_outlines_nothing_is_told_and_changes_nothing(
    accepted: Any, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "bad.geojson"
    path.write_text(text)
    before = accepted.view.objects
    accepted.controller.import_file(path)
    accepted.settle()
    assert isinstance(accepted.failures[0].error, AnnotationError)
    assert "bad.geojson" in accepted.failures[0].message
    assert accepted.view.objects == before
