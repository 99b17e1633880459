"""CAMELYON16's slides as published: file names, official parts, slides not to be counted on.

The challenge's layout is ``training/tumor/tumor_001.tif``, ``training/normal``,
``training/lesion_annotations/tumor_001.xml``, ``testing/images/test_001.tif`` and
``testing/lesion_annotations/test_001.xml``; the public bucket has ``images`` and ``annotations``;
some copies hold everything in one folder. All of them are read. XML is ASAP's.

By the organisers' README annotations are exhaustive but for the slides in `NOT_EXHAUSTIVE`, and two
slides were taken back (`REMOVED`). 399 slides and 160 annotations are left. What the paper does not
state, as far as we know: which part it takes, and whether it leaves slides out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from histosam_core.errors import SlideNotFoundError
from histosam_core.reproduce.cohort_files import CohortFiles, files_below

__all__ = ["NOT_EXHAUSTIVE", "N_ANNOTATED", "REMOVED", "Part", "find_camelyon16"]

Part = Literal["testing", "training", "both"]

NOT_EXHAUSTIVE = frozenset(
    {
        "tumor_010", "tumor_015", "tumor_018", "tumor_020", "tumor_025", "tumor_029", "tumor_033",
        "tumor_034", "tumor_044", "tumor_046", "tumor_051", "tumor_054", "tumor_055", "tumor_056",
        "tumor_067", "tumor_079", "tumor_085", "tumor_092", "tumor_095", "tumor_110", "test_114",
    }
)  # fmt: skip
"""Slides in which some tumour is not outlined; clicks there could be right and count as wrong."""

REMOVED: Mapping[str, str] = MappingProxyType(
    {
        "test_049": "a duplicate, which the organisers removed",
        "normal_086": "misclassified; the organisers made it tumor_111",
    }
)
"""Slides of the first release that were taken back, and why; some copies still hold them."""

N_ANNOTATED: Mapping[str, int] = MappingProxyType({"tumor": 111, "test": 49})
"""Annotation files by the beginning of their names: slides of the training and the test part."""

_KINDS: Mapping[Part, tuple[str, ...]] = MappingProxyType(
    {"testing": ("test",), "training": ("tumor",), "both": ("tumor", "test")}
)
_NAME = re.compile(r"^(tumor|test|normal)[_-]?(\d{1,3})$", re.IGNORECASE)
_NO_SLIDES = re.compile(r"mask|tissue|evaluation|truth", re.IGNORECASE)


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
    kinds = _KINDS[part]
    images: dict[str, list[Path]] = {}
    annotations: dict[str, Path] = {}
    zipped = ""
    for path in files_below(folder):
        suffix = path.suffix.casefold()
        if suffix == ".zip" and "annotation" in path.stem.casefold():
            zipped = path.name
        found = _NAME.match(path.stem)
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
            f"{folder} holds no slide of CAMELYON16's {_called(part)} with its annotation; looked "
            f"in it and its subfolders for {wanted} (there are {len(slides)} slides and "
            f"{len(annotations)} annotations); {hint}"
        )
    expected = sum(
        N_ANNOTATED[kind] - sum(name.startswith(kind) for name in partial) for kind in kinds
    )
    return CohortFiles(
        name="CAMELYON16",
        folder=folder,
        pairs={name: (slides[name], annotations[name]) for name in names},
        expected=expected,
        missing=tuple(_missing(slides, annotations, kinds, excluded)),
        excluded=excluded,
        notes=("of two parts" if part == "both" else f"of the {_called(part)}",),
    )


def _slide_of(paths: list[Path], folder: Path) -> Path:
    """Of files with a slide's name, the one that is no mask; else the largest."""
    others = [p for p in paths if not _NO_SLIDES.search(str(p.parent.relative_to(folder)))]
    return max(others or paths, key=lambda path: path.stat().st_size)


def _missing(
    slides: Mapping[str, Path],
    annotations: Mapping[str, Path],
    kinds: tuple[str, ...],
    excluded: Mapping[str, str],
) -> list[str]:
    lines = []
    for kind in kinds:
        n_there = sum(name.startswith(kind) for name in annotations.keys() - REMOVED.keys())
        if n_there < N_ANNOTATED[kind]:
            lines.append(
                f"{N_ANNOTATED[kind] - n_there} of {N_ANNOTATED[kind]} annotations {kind}_NNN.xml"
            )
    absent = annotations.keys() - slides.keys() - excluded.keys()
    lines += [f"{name}.tif" for name in sorted(absent)]
    return lines


def _called(part: Part) -> str:
    return {"testing": "test part", "training": "training part"}.get(part, "two parts")
