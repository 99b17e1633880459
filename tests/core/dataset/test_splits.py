"""Slides to splits: by slide, repeatable, none empty."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.dataset import assign_splits, read_split_file
from histosam_core.errors import ConfigError

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


@settings(deadline=None)
@given(n=st.integers(3, 200), seed=st.integers(0, 99))
def test_every_split_gets_a_slide_and_about_its_share(n, seed):
    slides = [f"s{i}" for i in range(n)]
    assigned = assign_splits(slides, SHARES, seed=seed)
    assert set(assigned) == set(slides)
    counts = {k: list(assigned.values()).count(k) for k in SHARES}
    for split, share in SHARES.items():
        assert counts[split] >= 1
        assert abs(counts[split] - share * n) <= 1.5


def test_order_of_slides_does_not_matter_and_seed_does():
    slides = [f"s{i}" for i in range(40)]
    first = assign_splits(slides, SHARES, seed=1)
    assert assign_splits(slides[::-1], SHARES, seed=1) == first
    assert assign_splits(slides, SHARES, seed=2) != first


def test_share_of_zero_means_no_such_split():
    assigned = assign_splits(["a", "b"], {"train": 0, "validation": 0, "test": 1})
    assert set(assigned.values()) == {"test"}


def test_shares_need_not_sum_to_one():
    slides = [f"s{i}" for i in range(10)]
    assigned = assign_splits(slides, {"train": 8, "test": 2})
    assert list(assigned.values()).count("test") == 2


def test_fewer_slides_than_splits_raises():
    with pytest.raises(ConfigError, match="2 slides with patches cannot fill the 3 splits"):
        assign_splits(["a", "b"], SHARES)


@pytest.mark.parametrize("shares", [{"train": -1, "test": 2}, {"train": 0.0}, {"a": float("nan")}])
def test_senseless_shares_raise(shares):
    with pytest.raises(ConfigError, match="split"):
        assign_splits(["a", "b"], shares)


def test_explicit_mapping_wins_and_none_leaves_out():
    mapping = {"a.svs": "train", "b": "test", "c": "none", "unused": "test"}
    assert assign_splits(["a", "b", "c"], mapping) == {"a": "train", "b": "test"}


def test_mapping_that_misses_a_slide_raises_naming_it():
    with pytest.raises(ConfigError, match="no split is given for b"):
        assign_splits(["a", "b"], {"a": "train"})


def test_split_file_is_read(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("slide,split\na.svs,train\nb , test\n")
    assert read_split_file(path) == {"a.svs": "train", "b": "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,set\na,train\n", "two columns slide,split"),
        ("slide,split\na,train\na,test\n", "line 3: a is given two splits"),
        ("slide,split\n", "names no slide"),
    ],
)
def test_bad_split_file_raises(tmp_path, text, message):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_split_file(tmp_path / "splits.csv")


def test_missing_split_file_raises(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_split_file(tmp_path / "none.csv")
