from __future__ import annotations

from pathlib import Path

import pytest

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError
from histosam_core.session import parse_click, read_click_list

CLICKS = [Click((12, 8.5), True), Click((30, 40), False)]


@pytest.mark.parametrize(
    ("text", "click"),
    [
        ("1200,800,+", Click((1200, 800), True)),
        (" 1200.5 , 800 , - ", Click((1200.5, 800), False)),
        ("1,2,0", Click((1, 2), False)),
        ("1,2,positive", Click((1, 2), True)),
        ("1,2", Click((1, 2), True)),
    ],
)
def test_click_text_is_read(text: str, click: Click) -> None:
    assert parse_click(text) == click


@pytest.mark.parametrize("text", ["", "1200", "1200 800 +", "a,b,+", "1,2,x", "1,2,+,3", "nan,1,+"])
def test_what_is_no_click_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"X,Y,\+ or X,Y,-; write e\.g\. 1200,800,\+"):
        parse_click(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "x,y,sign\n12,8.5,+\n\n# a remark\n30,40,-\n"),
        ("a.txt", "12, 8.5\n30, 40, 0\n"),
        ("a.json", '[[12, 8.5, "+"], [30, 40, "-"]]'),
        ("a.json", '{"clicks": [{"xy": [12, 8.5]}, {"x": 30, "y": 40, "is_positive": false}]}'),
    ],
)
def test_click_file_is_read_in_order(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_click_list(path) == CLICKS


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "1,2,+\n3;4\n", "line 2"),
        ("a.csv", "x,y\n", "holds no click"),
        ("a.json", "[1,", "not a list of clicks"),
        ("a.json", '{"points": []}', "needs a list"),
        ("a.json", '[{"xy": 5}]', "click 1 is not X,Y"),
        ("a.json", "[null]", "click 1"),
    ],
)
def test_faulty_click_file_is_refused_with_the_place(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_click_list(path)


def test_missing_click_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_click_list(tmp_path / "none.csv")
