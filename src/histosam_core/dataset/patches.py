"""The patch store: one zarr group per split, opened lazily, a row of provenance per patch.

Layout of ``<split>.zarr`` (zarr 3): `images` (N, H, W, 3) uint8 and `masks` (N, H, W) int8, a
chunk per patch, zstd; the columns `slide_index`, `location_xy`, `tumor_fraction` and
`tissue_fraction`; everything that holds for all patches, and the table of slides, as attributes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec

from histosam_core.errors import PatchStoreError

FORMAT_VERSION = 1
_MARK = "histosam_patches"
_STORE_SUFFIX = ".zarr"


@dataclass(frozen=True, slots=True)
class PatchGeometry:
    """What every patch of a store has in common: um per pixel, and its edge in pixels."""

    mpp: float
    patch_size_px: int


@dataclass(frozen=True, slots=True)
class SlideRecord:
    """A slide that patches came from, as it was when they were cut."""

    name: str  # without the file's suffix
    path: str
    annotation: str  # the path of it
    fingerprint: str  # as `Slide.fingerprint` gives it
    mpp: float  # um per level-0 pixel, as used
    size_wh: tuple[int, int]  # of level 0
    level: int  # of the pyramid, that was read
    n_patches: int  # in this store


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch and its truth.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    gt_mask
        (H, W) int8: 1 tumour, 0 not, -1 ignore.
    id
        Slide name and level-0 location: unique within a data set.
    slide
        The slide's name.
    location_xy
        Level-0 pixel (x, y) of the upper-left corner.
    mpp
        Micrometres per patch pixel.
    tumor_fraction
        Share of tumour among the pixels that are not ignored.
    """

    image: npt.NDArray[np.uint8]
    gt_mask: npt.NDArray[np.int8]
    id: str
    slide: str
    location_xy: tuple[float, float]
    mpp: float
    tumor_fraction: float


class PatchStore(Sequence[Patch]):
    """The patches of one split; pixels are read when a patch is asked for.

    A sequence in a fixed order (by slide, then row by row), which a torch `DataLoader` takes as
    it is. It pickles by path, so worker processes open their own.

    Parameters
    ----------
    path
        A ``<split>.zarr`` folder.

    Attributes
    ----------
    path, split
        The folder, and the split's name.
    geometry, settings
        What all patches have in common, and how they were cut (as `extract_patches` was called).
    slides
        Where they come from.

    Raises
    ------
    PatchStoreError
        `path` is no patch store, or one of another version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        make_one = "make one with `histosam prepare`"
        if not (self.path / "zarr.json").is_file():
            raise PatchStoreError(f"{self.path} is not a patch store; {make_one}")
        try:
            self._group = zarr.open_group(self.path, mode="r")
            mark = dict(self._group.attrs).get(_MARK)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise PatchStoreError(
                f"{self.path} cannot be read as a patch store ({error}); prepare it again"
            ) from error
        if not isinstance(mark, Mapping):
            raise PatchStoreError(f"{self.path} is zarr but not a patch store; {make_one}")
        if mark.get("version") != FORMAT_VERSION:
            raise PatchStoreError(
                f"{self.path} is a patch store of version {mark.get('version')}, this program "
                f"reads {FORMAT_VERSION}; prepare it again"
            )
        self.split = str(mark["split"])
        self.settings: Mapping[str, Any] = mark.get("settings", {})
        self.geometry = PatchGeometry(float(mark["mpp"]), int(mark["patch_size_px"]))
        self.slides = tuple(
            SlideRecord(**{**record, "size_wh": tuple(record["size_wh"])})
            for record in mark["slides"]
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return PatchStore, (self.path,)

    def __repr__(self) -> str:
        g = self.geometry
        return (
            f"PatchStore({self.name!r}, {len(self)} patches of {g.patch_size_px} px at {g.mpp} um)"
        )

    @property
    def name(self) -> str:
        """Data set and split, e.g. ``"liver/test"``."""
        return f"{self.path.parent.name}/{self.split}"

    @cached_property
    def slide_index(self) -> npt.NDArray[np.int32]:
        """(N,) int32: each patch's place in `slides`."""
        return self._column("slide_index", np.int32)

    @cached_property
    def locations_xy(self) -> npt.NDArray[np.float64]:
        """(N, 2) float64: level-0 (x, y) of each patch's upper-left corner."""
        return self._column("location_xy", np.float64)

    @cached_property
    def tumor_fractions(self) -> npt.NDArray[np.float32]:
        """(N,) float32: share of tumour among each patch's pixels that are not ignored."""
        return self._column("tumor_fraction", np.float32)

    @cached_property
    def tissue_fractions(self) -> npt.NDArray[np.float32]:
        """(N,) float32: share of tissue in each patch, as judged on the slide's overview."""
        return self._column("tissue_fraction", np.float32)

    @cached_property
    def _pixels(self) -> tuple[Any, Any]:
        return self._group["images"], self._group["masks"]

    def __len__(self) -> int:
        return int(self.slide_index.shape[0])

    @overload
    def __getitem__(self, index: int) -> Patch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Patch]: ...
    def __getitem__(self, index: int | slice) -> Patch | list[Patch]:
        """Read one patch, or a list of them for a slice.

        Raises
        ------
        IndexError
            `index` is out of range.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = int(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"patch {at} of {len(self)}")
        at %= len(self)
        images, masks = self._pixels
        x, y = self.locations_xy[at].tolist()
        slide = self.slides[int(self.slide_index[at])].name
        return Patch(
            image=np.asarray(images[at], dtype=np.uint8),
            gt_mask=np.asarray(masks[at], dtype=np.int8),
            id=f"{slide}_x{round(x)}_y{round(y)}",
            slide=slide,
            location_xy=(x, y),
            mpp=self.geometry.mpp,
            tumor_fraction=float(self.tumor_fractions[at]),
        )

    def _column(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        column: Any = self._group[name]
        return np.asarray(column[:], dtype=dtype)


def open_patches(path: str | os.PathLike[str], split: str | None = None) -> PatchStore:
    """Open a split of a patch data set.

    Parameters
    ----------
    path
        A split (``patches/test.zarr``), or the data set's folder with `split`.
    split
        Name of the split; not needed where the folder holds a single one.

    Raises
    ------
    PatchStoreError
        There is no such store or split; the message lists those that are there.
    """
    path = Path(path)
    if not path.exists() and path.with_name(path.name + _STORE_SUFFIX).is_dir():
        path = path.with_name(path.name + _STORE_SUFFIX)
    if not path.is_dir():
        raise PatchStoreError(f"no patch store {path}{_splits_there(path.parent)}; check the name")
    if (path / "zarr.json").is_file():
        store = PatchStore(path)
        if split is not None and split != store.split:
            raise PatchStoreError(f"{path} is the split {store.split!r}, not {split!r}")
        return store
    stores = {p.stem: p for p in sorted(path.glob(f"*{_STORE_SUFFIX}"))}
    if not stores:
        raise PatchStoreError(f"{path} holds no patch store; make one with `histosam prepare`")
    if split is None and len(stores) == 1:
        return PatchStore(next(iter(stores.values())))
    if split not in stores:
        wanted = "which split is meant" if split is None else f"no split {split!r}"
        raise PatchStoreError(f"{path}: {wanted}{_splits_there(path)}")
    return PatchStore(stores[split])


def _splits_there(folder: Path) -> str:
    names = sorted(p.name for p in folder.glob(f"*{_STORE_SUFFIX}")) if folder.is_dir() else []
    return f"; there are {', '.join(names)}" if names else ""


class PatchStoreWriter:
    """Fills a new store, the folder `path`; used by `extract_patches`, from one thread.

    `slide_index`, `location_xy`, `tumor_fraction` and `tissue_fraction` have one entry per patch,
    in the store's order; `settings` (how the patches are cut) holds JSON types only.
    """

    def __init__(
        self,
        path: Path,
        *,
        split: str,
        geometry: PatchGeometry,
        slides: Sequence[SlideRecord],
        slide_index: npt.ArrayLike,
        location_xy: npt.ArrayLike,
        tumor_fraction: npt.ArrayLike,
        tissue_fraction: npt.ArrayLike,
        settings: Mapping[str, Any],
    ) -> None:
        attributes = {
            "version": FORMAT_VERSION,
            "split": split,
            **asdict(geometry),
            "slides": [asdict(record) for record in slides],
            "settings": dict(settings),
        }
        group = zarr.create_group(path, attributes={_MARK: attributes})
        columns: dict[str, npt.NDArray[Any]] = {
            "slide_index": np.asarray(slide_index, dtype=np.int32),
            "location_xy": np.asarray(location_xy, dtype=np.float64).reshape(-1, 2),
            "tumor_fraction": np.asarray(tumor_fraction, dtype=np.float32),
            "tissue_fraction": np.asarray(tissue_fraction, dtype=np.float32),
        }
        for name, column in columns.items():
            group.create_array(name, data=column)
        n, px = columns["slide_index"].size, geometry.patch_size_px

        def pixels(name: str, dtype: str, *shape: int) -> Any:
            codec = ZstdCodec(level=3)
            return group.create_array(
                name, shape=(n, *shape), chunks=(1, *shape), dtype=dtype, compressors=codec
            )

        self._images = pixels("images", "u1", px, px, 3)
        self._masks = pixels("masks", "i1", px, px)

    def write(
        self, index: int, image: npt.NDArray[np.uint8], gt_mask: npt.NDArray[np.int8]
    ) -> None:
        """Store the pixels of patch `index`."""
        self._images[index] = image
        self._masks[index] = gt_mask
