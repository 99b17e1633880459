"""The cells of both tables, and which are wanted."""

from __future__ import annotations

import pytest

from histosam_core.errors import ConfigError
from histosam_core.reproduce.kim2023 import paper_figures
from histosam_core.reproduce.survey import ALL_CELLS, CellState, Selection


def test_every_cell_is_one_of_the_papers_once() -> None:
    keys = [cell.key for cell in ALL_CELLS]
    assert len(set(keys)) == 33
    assert set(keys) == set(paper_figures())
    assert len({cell.folder_name for cell in ALL_CELLS}) == 33


def test_a_methods_sets_come_after_each_other() -> None:
    methods = [cell.method for cell in ALL_CELLS]
    assert methods == [m for m in dict.fromkeys(methods) for _ in range(3)]


@pytest.mark.parametrize(
    ("texts", "n"),
    [
        ([], 33),
        (["zero_shot"], 12),
        (["finetuned"], 21),
        (["finetuned_paip2019"], 21),
        (["ritm,refining"], 9),
        (["ritm, refining", "zero_shot"], 3),
        (["ritm", "focalclick", "camelyon16_x10", "finetuned"], 2),
        (["PAIP2019 x5"], 11),
        (["SAM md", "sam-whole"], 6),
        (["sam"], 3),
    ],
)
def test_names_of_a_kind_add_up_and_kinds_narrow_down(texts: list[str], n: int) -> None:
    assert len(Selection.parse(texts).cells) == n


def test_an_unknown_name_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"--only unet: no such name.*ritm.*camelyon16_x10"):
        Selection.parse(["ritm,unet"])


def test_a_selection_without_a_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves no cell"):
        _ = Selection.parse(["sam", "finetuned"]).cells


def test_a_state_says_how_it_stands() -> None:
    cell = ALL_CELLS[0]
    assert CellState(cell, "done").described() == "done"
    begun = CellState(cell, "begun", n_done=3, n_patches=10)
    assert begun.described() == "begun, 3 of 10 patches"
    assert CellState(cell, "not run", "no file").described() == "not run (no file)"
