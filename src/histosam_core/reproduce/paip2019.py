"""PAIP2019's training slides as published: file names, phases, masks.

Each slide comes in a folder (or zip file) of its own, ``Training_phase_1_001`` and so on, with four
files named after the case: ``01_01_0083.svs``, ``01_01_0083.xml`` (ImageScope), and two masks made
from the XML by the organisers, ``01_01_0083_viable.tif`` and ``01_01_0083_whole.tif`` (0 and 1).
Annotations of the challenge's own validation and test slides were never published.

Stated by the challenge's data page: fifty annotated slides, 20x by an Aperio AT2, one slide and one
tumour a patient, SVS, XML and both masks. Known from its users' code, not from the page: how files
and folders are named, the cases' numbers, and that 20 came in phase 1 and 30 in phase 2. Not known:
what the XML's layers are called, which is why the masks are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from histosam_core.annotation.formats.mask_tiff import read_mask_tiff
from histosam_core.errors import SlideNotFoundError
from histosam_core.geometry import Region
from histosam_core.reproduce.cohort_files import CohortFiles, files_below

__all__ = ["MAYBE_EXCHANGED", "PHASES", "Mask", "find_paip2019", "with_right_mask"]

Mask = Literal["viable", "whole"]

PHASES: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        1: (83, 85, *range(87, 97), 98, 100, 101, 103, 104, 106, 107, 108),
        2: tuple(range(110, 140)),
    }
)
"""Numbers of the annotated cases by the phase in which they were published: 20 and 30."""

MAYBE_EXCHANGED = frozenset({"01_01_0107"})
"""Cases whose two masks were exchanged in an early release, as its users reported."""

_COARSENING = 64
_NAME = re.compile(
    r"^(?P<case>01_01_(?P<number>\d{4})|training_phase_[12]_\d{3})"
    r"(?:[_ -]?rescan)?(?P<mask>_viable|_whole)?$",
    re.IGNORECASE,
)


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
    for path in files_below(folder):
        suffix = path.suffix.casefold()
        found = _NAME.match(path.stem)
        if suffix == ".svs" and (found is None or found["mask"]):
            n_others += 1
        elif found is None:
            continue
        elif suffix == ".svs":
            slides.setdefault(found["case"].casefold(), path)
        elif suffix in (".tif", ".tiff") and (found["mask"] or "").casefold() == f"_{mask}":
            masks.setdefault(found["case"].casefold(), path)
        elif suffix == ".xml":
            n_xml += 1
    both = sorted(slides.keys() & masks.keys())
    if not both:
        raise SlideNotFoundError(
            f"{folder} holds no slide of PAIP2019 with its mask; looked in it and its subfolders "
            f"for 01_01_NNNN.svs (there are {len(slides)}) and 01_01_NNNN_{mask}.tif "
            f"({len(masks)}); unzip Training_phase_*.zip there"
        )
    notes = []
    if n_others:
        notes.append(
            f"{n_others} other .svs files are left out: by their names they are none of the "
            "annotated slides"
        )
    if n_xml < len(both):
        notes.append(f"{n_xml} XML files are there; they are not needed, the masks are read")
    return CohortFiles(
        name="PAIP2019",
        folder=folder,
        pairs={case: (slides[case], masks[case]) for case in both},
        expected=sum(map(len, PHASES.values())),
        missing=tuple(_missing(slides, masks, mask)),
        notes=tuple(notes),
    )


def with_right_mask(case: str, mask_path: Path, mask: Mask) -> tuple[Path, str]:
    """Return the file that holds a case's mask, and a note where it has the other one's name.

    Only `MAYBE_EXCHANGED` is looked at. Viable tumour lies within the whole, so the larger area is
    the whole; masks are sampled at every 64th pixel. AnnotationError where one cannot be read.
    """
    if case not in MAYBE_EXCHANGED:
        return mask_path, ""
    other: Mask = "whole" if mask == "viable" else "viable"
    name = re.sub(rf"_{mask}(?=\.)", f"_{other}", mask_path.name, flags=re.IGNORECASE)
    beside = mask_path.with_name(name)
    if not beside.is_file():
        return mask_path, ""
    smaller, larger = sorted((mask_path, beside), key=_area)
    right = smaller if mask == "viable" else larger
    if right == mask_path or _area(smaller) == _area(larger):
        return mask_path, ""
    return right, f"{case}: its two masks have each other's names; {right.name} is the {mask} one"


def _missing(slides: Mapping[str, Path], masks: Mapping[str, Path], mask: Mask) -> list[str]:
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
    n_published = sum(map(len, PHASES.values()))
    if len(expected) < n_published:  # named after their folders, whose numbers may be any
        lines.append(f"{n_published - len(expected)} of the {n_published} Training_phase_* slides")
    return lines


def _area(path: Path) -> int:
    annotation = read_mask_tiff(path)
    width, height = annotation.size_wh
    annotation = annotation.fitted((width, height))
    size = max(1, width // _COARSENING), max(1, height // _COARSENING)
    # An mpp in units of the mask's own pixels.
    sampled = annotation.mask(Region((0.0, 0.0), size, float(_COARSENING)), 1.0)
    return int(np.count_nonzero(sampled == 1))
