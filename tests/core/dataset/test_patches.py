"""The patch store: lazy, ordered, picklable, and clear about what is wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import zarr

from histosam_core.dataset import ExtractionSummary, open_patches
from histosam_core.dataset.patches import PatchGeometry, PatchStoreWriter, SlideRecord
from histosam_core.errors import PatchStoreError


def write_store(folder, split, n=3):
    records = [
        SlideRecord(f"s{i}", f"/slides/s{i}.svs", f"/s{i}.xml", "f00d", 0.5, (900, 800), 1, k)
        for i, k in enumerate((n - 1, 1))
    ]
    writer = PatchStoreWriter(
        folder / f"{split}.zarr",
        split=split,
        geometry=PatchGeometry(mpp=2.0, patch_size_px=16),
        slides=records,
        slide_index=[0] * (n - 1) + [1],
        location_xy=[(4.5 * i, 10.0 * i) for i in range(n)],
        tumor_fraction=np.linspace(0.2, 0.8, n),
        tissue_fraction=np.ones(n),
        settings={"mpp": 2.0, "tumor_fraction": [0.2, 0.8]},
    )
    for i in range(n):
        mask = np.full((16, 16), -1, np.int8)
        mask[: i + 1] = 1
        writer.write(i, np.full((16, 16, 3), 10 * i + 7, np.uint8), mask)
    return folder / f"{split}.zarr"


@pytest.fixture
def data_set(tmp_path):
    folder = tmp_path / "liver"
    folder.mkdir()
    write_store(folder, "train", 4)
    write_store(folder, "test")
    return folder


def test_patch_says_what_it_is_and_where_it_came_from(data_set):
    store = open_patches(data_set / "test.zarr")
    assert store.name == "liver/test"
    assert len(store) == 3
    assert store.geometry == PatchGeometry(mpp=2.0, patch_size_px=16)
    patch = store[1]
    assert (patch.slide, patch.location_xy, patch.mpp) == ("s0", (4.5, 10.0), 2.0)
    assert patch.id == "s0_x4_y10"
    assert patch.tumor_fraction == pytest.approx(0.5)
    assert patch.image.dtype == np.uint8
    assert (patch.image == 17).all()
    assert patch.gt_mask.dtype == np.int8
    assert set(np.unique(patch.gt_mask)) == {-1, 1}
    assert store.slides[1].path == "/slides/s1.svs"
    assert store.slides[1].fingerprint == "f00d"
    assert store.settings["tumor_fraction"] == [0.2, 0.8]


def test_order_is_stable_and_indexing_is_a_sequences(data_set):
    store = open_patches(data_set, "test")
    ids = [p.id for p in store]
    assert ids == [store[i].id for i in range(3)] == [p.id for p in store[:]]
    assert store[-1].id == ids[2]
    assert [p.id for p in store[::-2]] == [ids[2], ids[0]]
    with pytest.raises(IndexError):
        store[3]


def test_store_pickles_by_path(data_set):
    store = open_patches(data_set, "train")
    store[0]
    again = pickle.loads(pickle.dumps(store))  # noqa: S301
    np.testing.assert_array_equal(again[2].image, store[2].image)
    assert len(pickle.dumps(store)) < 1000


def test_opening_reads_no_pixels(data_set):
    for chunk in (data_set / "test.zarr" / "images" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    store = open_patches(data_set, "test")
    assert store.tumor_fractions.shape == (3,)
    assert store.locations_xy.shape == (3, 2)


def test_every_patch_is_a_chunk_of_its_own(data_set):
    group = zarr.open_group(data_set / "train.zarr", mode="r")
    assert group["images"].chunks == (1, 16, 16, 3)
    assert group["masks"].chunks == (1, 16, 16)


def test_single_split_needs_no_name(tmp_path):
    write_store(tmp_path, "test")
    assert open_patches(tmp_path).split == "test"
    assert open_patches(tmp_path / "test").split == "test"


def test_missing_split_lists_those_there(data_set):
    for call in (lambda: open_patches(data_set), lambda: open_patches(data_set, "validation")):
        with pytest.raises(PatchStoreError, match=r"there are test\.zarr, train\.zarr"):
            call()
    with pytest.raises(PatchStoreError, match=r"no patch store.*there are test\.zarr"):
        open_patches(data_set / "validation.zarr")
    with pytest.raises(PatchStoreError, match="is the split 'test', not 'train'"):
        open_patches(data_set / "test.zarr", "train")


def test_folder_without_stores_raises(tmp_path):
    with pytest.raises(PatchStoreError, match="holds no patch store"):
        open_patches(tmp_path)


def test_other_zarr_and_other_versions_raise(tmp_path):
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(PatchStoreError, match="zarr but not a patch store"):
        open_patches(tmp_path / "other.zarr")
    path = write_store(tmp_path, "new")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["histosam_patches"]["version"] = 99
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(PatchStoreError, match=r"version 99.*prepare it again"):
        open_patches(path)


def test_damaged_store_raises_one_line(tmp_path):
    path = write_store(tmp_path, "test")
    (path / "zarr.json").write_text("{")
    with pytest.raises(PatchStoreError, match="cannot be read"):
        open_patches(path)


def test_a_store_of_version_0_1_0_opens_and_is_described(tmp_path):
    with ZipFile(Path(__file__).parent / "data" / "patch_store_v1.zip") as archive:
        archive.extractall(tmp_path)
    summary = ExtractionSummary.load(tmp_path / "patches")
    assert summary.slides == {"train": {"case0": 2, "case2": 2}, "test": {"case1": 2}}
    assert (summary.n_candidates, summary.split_by) == (27, "slides")
    for split, n in summary.n_patches.items():
        store = open_patches(tmp_path / "patches", split)
        assert len(store) == n
        assert store.settings["tumor_fraction"] == [0.1, 0.9]
        for patch in store:
            is_dark = patch.image.mean(axis=2) < 155
            assert (is_dark == (patch.gt_mask == 1)).mean() > 0.98
            assert patch.tumor_fraction == pytest.approx((patch.gt_mask == 1).mean())
    assert store[0].id == "case1_x0_y64"
