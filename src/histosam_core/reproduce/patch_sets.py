"""Cutting the paper's five patch sets: PAIP2019 in three splits, CAMELYON16 at two scales."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.annotation import read_annotations
from histosam_core.annotation.files import slide_stem
from histosam_core.atomic import new_file
from histosam_core.dataset import ExtractionSummary, extract_patches
from histosam_core.dataset.settings import mpp_of_magnification
from histosam_core.dataset.splits import read_split_file
from histosam_core.errors import ConfigError, EmptyDatasetError, HistoSamError, PatchStoreError
from histosam_core.progress import ProgressCallback, silent
from histosam_core.reproduce.cohorts import with_right_mask
from histosam_core.reproduce.kim2023 import PAIP2019_TEST, TRAINING_PATCHES, Cohort, PatchSet
from histosam_core.slide import open_slide

if TYPE_CHECKING:
    from histosam_core.reproduce.cohorts import CohortFiles
    from histosam_core.reproduce.settings import ReproduceSettings

Bars = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens a progress bar by its title."""

SOURCE_FILE = "source.json"
"""In a folder of patches: the files that they were cut from, and how."""


def no_bars(title: str) -> AbstractContextManager[ProgressCallback]:
    """Show no progress: the default."""
    return nullcontext(silent)


def patch_folder(settings: ReproduceSettings, patch_set: PatchSet) -> Path:
    """Return the folder of a test set's patches; PAIP2019's others lie beside its test patches."""
    return settings.out / "patches" / patch_set.key


def prepared(settings: ReproduceSettings, patch_set: PatchSet) -> ExtractionSummary | None:
    """Return a patch set that was cut before, or None."""
    try:
        return ExtractionSummary.load(patch_folder(settings, patch_set))
    except PatchStoreError:
        return None


def cut_patch_set(
    settings: ReproduceSettings,
    patch_set: PatchSet,
    files: CohortFiles,
    *,
    bars: Bars = no_bars,
    notice: Callable[[str], None] = lambda text: None,
) -> ExtractionSummary:
    """Cut a patch set, or take the one that is there if it is from the same files.

    PAIP2019's set brings its training and validation patches along. `bars` opens a progress bar;
    `notice` gets a line on everything that was assumed or left out, such as a slide that cannot be
    read.

    Raises
    ------
    EmptyDatasetError
        No slide can be read, or none has such a patch.
    ConfigError
        There are too few slides for the splits, or the patches that are there were cut from others.
    """
    folder = patch_folder(settings, patch_set)
    # By name: the data may have moved to another disk.
    source = {name: [path.name for path in pair] for name, pair in files.pairs.items()}
    earlier = prepared(settings, patch_set)
    if earlier is not None and (folder / SOURCE_FILE).is_file():
        _check_same_slides(patch_set, source, json.loads((folder / SOURCE_FILE).read_text("utf-8")))
        return earlier
    pairs = _readable(patch_set.cohort, settings, files, notice)
    with bars(f"Patches, {patch_set.title}") as progress:
        summary = extract_patches(
            list(pairs.values()),
            folder,
            mpp=mpp_of_magnification(patch_set.magnification),
            patch_size_px=settings.patch_size_px,
            stride_px=settings.stride_px,
            tumor_fraction=settings.tumor_fraction,
            min_tissue=settings.min_tissue,
            splits=_splits(patch_set.cohort, settings, pairs),
            seed=settings.seed,
            workers=settings.workers,
            overwrite=folder.exists(),
            progress=progress,
        )
    for note in summary.notes:
        notice(f"{patch_set.title}: {note}")
    # Last, so that patches without it are cut again.
    with new_file(folder / SOURCE_FILE) as path:
        path.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    return summary


def _readable(
    cohort: Cohort,
    settings: ReproduceSettings,
    files: CohortFiles,
    notice: Callable[[str], None],
) -> dict[str, tuple[Path, Path]]:
    """The pairs whose slide opens and whose annotation fits it; masks under their right names."""
    pairs: dict[str, tuple[Path, Path]] = {}
    for name, (slide_path, annotation_path) in files.pairs.items():
        right, note = annotation_path, ""
        try:
            if cohort == "paip2019":
                right, note = with_right_mask(name, annotation_path, settings.paip_mask)
            with open_slide(slide_path) as slide:
                read_annotations(right).fitted(slide.size_wh, slide.path)
        except HistoSamError as error:
            notice(f"{files.name}, {name} is left out: {error}")
            continue
        if note:
            notice(f"{files.name}, {note}")
        pairs[name] = slide_path, right
    if not pairs:
        raise EmptyDatasetError(
            f"none of the {len(files.pairs)} slides of {files.name} can be read; see the notices"
        )
    return pairs


def _splits(
    cohort: Cohort, settings: ReproduceSettings, pairs: Mapping[str, tuple[Path, Path]]
) -> Mapping[str, float] | Mapping[str, str]:
    if cohort == "camelyon16":
        return {"test": 1.0}
    if settings.paip_split_file is None:
        return {**TRAINING_PATCHES, "test": float(PAIP2019_TEST.n_patches)}
    given = read_split_file(settings.paip_split_file)
    by_name = {slide_stem(Path(slide)).casefold(): split for slide, split in given.items()}
    # A file may name the published case, the slide's file, or both.
    return {
        slide_stem(slide): by_name.get(name) or by_name.get(slide_stem(slide).casefold(), "none")
        for name, (slide, _) in pairs.items()
    }


def _check_same_slides(
    patch_set: PatchSet, now: Mapping[str, Any], then: Mapping[str, Any]
) -> None:
    """Refuse to mix results from different slides, and to throw away what took long to make."""
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        shown = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise ConfigError(
            f"the patches of {patch_set.title} were cut from other slides ({shown}); put those "
            "back, or choose another --out"
        )
