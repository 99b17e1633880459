"""PAIP2019 and CAMELYON16 as published: file names, annotations, slides not to be counted on.

PAIP2019. Each slide comes in a folder (or zip file) of its own, ``Training_phase_1_001`` and so on,
with four files named after the case: ``01_01_0083.svs``, ``01_01_0083.xml`` (ImageScope), and two
masks made from the XML by the organisers, ``01_01_0083_viable.tif`` and ``01_01_0083_whole.tif``
(0 and 1). Fifty slides are annotated, 20 in phase 1 and 30 in phase 2; those of validation and test
never were. What the XML's layers are called is not known, which is why the masks are read.

CAMELYON16. The challenge's layout is ``training/tumor/tumor_001.tif``, ``training/normal``,
``training/lesion_annotations/tumor_001.xml``, ``testing/images/test_001.tif`` and
``testing/lesion_annotations/test_001.xml``; the public bucket has ``images`` and ``annotations``;
some copies hold everything in one folder. All of them are read. XML is ASAP's. By the organisers'
README annotations are exhaustive but for the slides in `NOT_EXHAUSTIVE`, and two slides were taken
back (`REMOVED`). Which part the paper takes, and whether it leaves slides out, it does not state.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from histosam_core.annotation.formats.mask_tiff import read_mask_tiff
from histosam_core.errors import SlideNotFoundError
from histosam_core.geometry import Region

Mask = Literal["viable", "whole"]

PHASES: Mapping[int, tuple[int, ...]] = {
    1: (83, 85, *range(87, 97), 98, 100, 101, 103, 104, 106, 107, 108),
    2: tuple(range(110, 140)),
}
"""Numbers of the annotated cases by the phase in which they were published: 20 and 30."""

MAYBE_EXCHANGED = frozenset({"01_01_0107"})
"""Cases whose two masks were exchanged in an early release, as its users reported."""

_N_CASES = sum(map(len, PHASES.values()))
_COARSENING = 64
_PAIP_NAME = re.compile(
    r"^(?P<case>01_01_\d{4}|training_phase_[12]_\d{3})"
    r"(?:[_ -]?rescan)?(?P<mask>_viable|_whole)?$",
    re.IGNORECASE,
)

Part = Literal["testing", "training", "both"]

_UNFINISHED = (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85, 92, 95, 110)
NOT_EXHAUSTIVE = frozenset({*(f"tumor_{number:03d}" for number in _UNFINISHED), "test_114"})
"""Slides in which some tumour is not outlined; clicks there could be right and count as wrong."""

REMOVED: Mapping[str, str] = {
    "test_049": "a duplicate, which the organisers removed",
    "normal_086": "misclassified; the organisers made it tumor_111",
}
"""Slides of the first release that were taken back, and why; some copies still hold them."""

N_ANNOTATED: Mapping[str, int] = {"tumor": 111, "test": 49}
"""Annotation files by the beginning of their names: slides of the training and the test part."""

_PARTS: Mapping[Part, tuple[str, tuple[str, ...]]] = {
    "testing": ("of the test part", ("test",)),
    "training": ("of the training part", ("tumor",)),
    "both": ("of two parts", ("tumor", "test")),
}
_CAMELYON_NAME = re.compile(r"^(tumor|test|normal)[_-]?(\d{1,3})$", re.IGNORECASE)
_NO_SLIDES = re.compile(r"mask|tissue|evaluation|truth", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CohortFiles:
    """Slides of a data set that have what the paper's patches need."""

    name: str  # the data set's
    folder: Path
    pairs: Mapping[str, tuple[Path, Path]]  # a slide's published name to its and its annotation's
    expected: int  # how many such slides were published
    missing: tuple[str, ...] = ()  # a line for each file, or kind of file, that is not there
    excluded: Mapping[str, str] = field(default_factory=dict)  # slides left out, and why
    notes: tuple[str, ...] = ()

    def described(self) -> str:
        """Say in a line what is there."""
        left_out = f", {len(self.excluded)} left out" if self.excluded else ""
        return f"{len(self.pairs)} of {self.expected} annotated slides{left_out}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "pairs"}
        slides = {name: [str(path) for path in pair] for name, pair in self.pairs.items()}
        return {**values, "folder": str(self.folder), "slides": slides}


def find_paip2019(folder: str | Path, *, mask: Mask = "viable") -> CohortFiles:
    """Find PAIP2019's annotated slides, each with one of its masks.

    Upper and lower case do not matter, nor how the files are spread over subfolders. Files that
    were renamed after their folder (``Training_phase_1_001.svs``) are taken too, and so is the
    ``rescan`` that some copies have in the names of case 0111. The mask is "viable" (tumour cells,
    the challenge's first task) or "whole" (the area around them); the paper does not say which.

    Raises
    ------
    SlideNotFoundError
        There is no such folder, or none of the slides in it has its mask.
    """
    folder = Path(folder)
    slides: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    n_others = n_xml = 0
    for path in _files_below(folder):
        suffix, found = path.suffix.casefold(), _PAIP_NAME.match(path.stem)
        case, its_mask = (found["case"], found["mask"] or "") if found else ("", "")
        if suffix == ".svs" and (its_mask or not case):
            n_others += 1
        elif suffix == ".svs":
            slides.setdefault(case.casefold(), path)
        elif suffix in (".tif", ".tiff") and its_mask.casefold() == f"_{mask}":
            masks.setdefault(case.casefold(), path)
        elif suffix == ".xml" and case:
            n_xml += 1
    both = sorted(slides.keys() & masks.keys())
    if not both:
        raise SlideNotFoundError(
            f"{folder} holds no slide of PAIP2019 with its mask; looked in it and its subfolders "
            f"for 01_01_NNNN.svs (there are {len(slides)}) and 01_01_NNNN_{mask}.tif "
            f"({len(masks)}); unzip Training_phase_*.zip there"
        )
    others = "other .svs files are left out: by their names they are none of the annotated slides"
    notes = [f"{n_others} {others}"] if n_others else []
    if n_xml < len(both):
        notes.append(f"{n_xml} XML files are there; they are not needed, the masks are read")
    return CohortFiles(
        name="PAIP2019",
        folder=folder,
        pairs={case: (slides[case], masks[case]) for case in both},
        expected=_N_CASES,
        missing=tuple(_missing_paip(slides, masks, mask)),
        notes=tuple(notes),
    )


def with_right_mask(case: str, mask_path: Path, mask: Mask) -> tuple[Path, str]:
    """Return the file that holds a case's mask, and a note where it has the other one's name.

    Only `MAYBE_EXCHANGED` is looked at. Viable tumour lies within the whole, so the larger area is
    the whole; masks are sampled at every 64th pixel. AnnotationError where one cannot be read.
    """
    if case in MAYBE_EXCHANGED:
        other: Mask = "whole" if mask == "viable" else "viable"
        name = re.sub(rf"_{mask}(?=\.)", f"_{other}", mask_path.name, flags=re.IGNORECASE)
        beside = mask_path.with_name(name)
        viable, whole = (mask_path, beside) if mask == "viable" else (beside, mask_path)
        if beside.is_file() and _area(viable) > _area(whole):
            note = f"{case}: its two masks have each other's names; {name} is the {mask} one"
            return beside, note
    return mask_path, ""


def _missing_paip(slides: Mapping[str, Path], masks: Mapping[str, Path], mask: Mask) -> list[str]:
    """What is not there of the fifty cases: a line each for slides, masks, and both."""
    known = slides.keys() | masks.keys()
    expected = {case for case in known if not case.startswith("01_01_")}
    if len(expected) < len(known):
        expected = {f"01_01_{number:04d}" for phase in PHASES.values() for number in phase}
    absent = {
        "slides and their masks": sorted(expected - known),
        "slides": sorted(masks.keys() - slides.keys()),
        f"masks *_{mask}.tif": sorted(slides.keys() - masks.keys()),
    }
    lines = [f"{len(cases)} {what}: {', '.join(cases)}" for what, cases in absent.items() if cases]
    if len(expected) < _N_CASES:  # named after their folders, whose numbers may be any
        lines.append(f"{_N_CASES - len(expected)} of the {_N_CASES} Training_phase_* slides")
    return lines


def _area(path: Path) -> int:
    annotation = read_mask_tiff(path)
    width, height = annotation.size_wh
    annotation = annotation.fitted((width, height))
    size = max(1, width // _COARSENING), max(1, height // _COARSENING)
    # An mpp in units of the mask's own pixels.
    sampled = annotation.mask(Region((0.0, 0.0), size, float(_COARSENING)), 1.0)
    return int(np.count_nonzero(sampled == 1))


def find_camelyon16(
    folder: str | Path, *, part: Part = "testing", keep_partial: bool = False
) -> CohortFiles:
    """Find CAMELYON16's slides with tumour, each with its annotation.

    Upper and lower case do not matter, nor how the files are spread over subfolders; label masks
    with a slide's name are known by the folder they are in. Slides without tumour are not looked
    for: no patch of theirs is a fifth tumour. `keep_partial` takes slides whose annotation is not
    exhaustive too.

    Raises
    ------
    SlideNotFoundError
        There is no such folder, or no slide with its annotation in it.
    """
    folder = Path(folder)
    words, kinds = _PARTS[part]
    images: dict[str, list[Path]] = {}
    annotations: dict[str, Path] = {}
    zipped = ""
    for path in _files_below(folder):
        suffix = path.suffix.casefold()
        if suffix == ".zip" and "annotation" in path.stem.casefold():
            zipped = path.name
        found = _CAMELYON_NAME.match(path.stem)
        if found is None or found[1].casefold() not in kinds:
            continue
        name = f"{found[1].casefold()}_{int(found[2]):03d}"
        if suffix in (".tif", ".tiff"):
            images.setdefault(name, []).append(path)
        elif suffix == ".xml":
            annotations.setdefault(name, path)
    slides = {name: _slide_of(paths, folder) for name, paths in images.items()}
    partial = frozenset() if keep_partial else NOT_EXHAUSTIVE
    reasons = {**dict.fromkeys(partial, "its annotation is not exhaustive"), **REMOVED}
    there = sorted(slides.keys() | annotations.keys())
    excluded = {name: reasons[name] for name in there if name in reasons}
    names = sorted((slides.keys() & annotations.keys()) - excluded.keys())
    if not names:
        wanted = " and ".join(f"{kind}_NNN.tif with {kind}_NNN.xml" for kind in kinds)
        hint = f"unzip {zipped}" if zipped else "check --camelyon and --camelyon-part"
        raise SlideNotFoundError(
            f"{folder} holds no slide {words} of CAMELYON16 with its annotation; looked in it and "
            f"its subfolders for {wanted} (there are {len(slides)} slides and {len(annotations)} "
            f"annotations); {hint}"
        )
    expected, missing = 0, []
    for kind in kinds:
        n = N_ANNOTATED[kind]
        expected += n - sum(name.startswith(kind) for name in partial)
        n_absent = n - sum(name.startswith(kind) for name in annotations.keys() - REMOVED.keys())
        if n_absent > 0:
            missing.append(f"{n_absent} of {n} annotations {kind}_NNN.xml")
    absent = annotations.keys() - slides.keys() - excluded.keys()
    return CohortFiles(
        name="CAMELYON16",
        folder=folder,
        pairs={name: (slides[name], annotations[name]) for name in names},
        expected=expected,
        missing=(*missing, *(f"{name}.tif" for name in sorted(absent))),
        excluded=excluded,
        notes=(words,),
    )


def _slide_of(paths: list[Path], folder: Path) -> Path:
    """Of files with a slide's name, the one that is no mask; else the largest."""
    others = [p for p in paths if not _NO_SLIDES.search(str(p.parent.relative_to(folder)))]
    return max(others or paths, key=lambda path: path.stat().st_size)


def _files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and its subfolders, sorted; hidden ones are passed over.

    Links to folders are followed, each folder once. SlideNotFoundError where there is no folder.
    """
    if not folder.is_dir():
        raise SlideNotFoundError(f"no folder {folder}; check the name")
    found: list[Path] = []
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # A patch store has a file for every patch, and no slide.
        folders[:] = [f for f in folders if not f.startswith(".") and not f.endswith(".zarr")]
        found += (Path(place) / name for name in names if not name.startswith("."))
    return sorted(found)
