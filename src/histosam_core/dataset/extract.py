"""Slides and annotations to patches, split by slide."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histosam_core.annotation.files import find_pairs
from histosam_core.atomic import new_folder
from histosam_core.dataset.contact_sheet import write_preview
from histosam_core.dataset.patches import PatchGeometry, PatchStoreWriter
from histosam_core.dataset.place_split import PatchSplit, SplitBy
from histosam_core.dataset.plan import REASONS, SlidePlan, gt_mask_of, open_for, plan_slides
from histosam_core.dataset.settings import ExtractionSettings
from histosam_core.dataset.splits import DEFAULT_SPLITS, assign_splits, check_shares
from histosam_core.errors import EmptyDatasetError, OutputExistsError, PatchStoreError
from histosam_core.geometry import Region
from histosam_core.progress import ProgressCallback, silent
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.slide import Slide

PathLike = str | os.PathLike[str]
Splits = Mapping[str, float] | Mapping[str, str] | Callable[[Sequence[SlidePlan]], PatchSplit]
Pixels = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]


@dataclass(frozen=True, slots=True)
class ExtractionSummary:
    """What `extract_patches` made.

    Parameters
    ----------
    out
        The data set's folder.
    n_patches
        Split to number of patches.
    slides
        Split to slide to number of patches.
    n_candidates
        Cells of the grids of all slides.
    rejected
        Reason to number of cells.
    notes
        What was assumed, repaired or left out.
    split_by
        How far the splits are apart: "slides" unless a function split the patches.
    """

    out: Path
    n_patches: Mapping[str, int]
    slides: Mapping[str, Mapping[str, int]]
    n_candidates: int
    rejected: Mapping[str, int]
    notes: tuple[str, ...]
    split_by: SplitBy = "slides"

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON types."""
        return asdict(self) | {"out": str(self.out), "notes": list(self.notes)}

    @classmethod
    def load(cls, folder: PathLike) -> ExtractionSummary:
        """Read back what `extract_patches` wrote into a data set's folder.

        Raises
        ------
        PatchStoreError
            The folder holds no data set, or an older program made it.
        """
        path = Path(folder) / "dataset.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            slides: dict[str, dict[str, int]] = {split: {} for split in record["n_patches"]}
            for slide in record["slides"]:
                for split, n in slide["splits"].items():
                    slides[split][slide["name"]] = n
            return cls(
                out=Path(folder),
                n_patches=record["n_patches"],
                slides=slides,
                n_candidates=record["n_candidates"],
                rejected=record["rejected"],
                notes=tuple(record["notes"]),
                split_by=record["split_by"],
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise PatchStoreError(
                f"{path} does not describe a data set ({type(error).__name__}); prepare it again"
            ) from error


def extract_patches(
    slides: PathLike | Iterable[tuple[PathLike, PathLike]],
    out: PathLike,
    *,
    annotations: PathLike | None = None,
    mpp: float = 2.0,
    patch_size_px: int = 400,
    stride_px: int | None = None,
    tumor_fraction: tuple[float, float] = (0.2, 0.8),
    min_tissue: float = 0.5,
    splits: Splits = DEFAULT_SPLITS,
    seed: int = 0,
    slide_mpp: float | None = None,
    labels: Sequence[str] | None = None,
    known_within_um: float | None = None,
    min_known: float = 0.0,
    skip_unannotated: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    progress: ProgressCallback = silent,
) -> ExtractionSummary:
    """Cut annotated slides into patches, one store per split.

    A grid is laid over each slide from its upper-left corner; a cell is kept when it lies wholly
    on the slide, its tumour share is within `tumor_fraction` (ends included, ignored pixels not
    counted) and enough of it is tissue. A pixel of the truth takes the label at its centre.

    Parameters
    ----------
    slides
        A folder of slides, one slide, or (slide, annotation) pairs.
    out
        Folder to make: ``<split>.zarr`` each, ``dataset.json``, ``preview.png``.
    annotations
        Folder of the annotations; None: beside the slides, see `find_annotation`.
    mpp, patch_size_px, stride_px, tumor_fraction, min_tissue, seed, slide_mpp, labels, \
known_within_um, min_known
        See `ExtractionSettings`; stride None is the patch size, so that patches do not overlap.
    splits
        Split to share, or slide name to split, see `assign_splits`; or a function of the
        slides' plans, such as `split_patches` with its settings.
    skip_unannotated
        Leave slides without an annotation out instead of raising.
    workers
        Threads that read; None: one per core, 8 at most.
    overwrite
        Replace `out`; the old one stays until the new one is complete.
    progress
        Called per slide planned and per patch written, and now and then while a slide is planned.

    Returns
    -------
    ExtractionSummary

    Raises
    ------
    AnnotationError
        A slide has no annotation, or one that matches no part of it.
    ConfigError
        A setting is wrong, or there are too few slides for the splits.
    EmptyDatasetError
        No patch, or none for a split, passes the filters.
    MissingMppError
        A slide's mpp is unknown.
    OutputExistsError
        `out` exists and `overwrite` is False.
    SlideError
        A slide is missing or cannot be read.
    """
    settings = ExtractionSettings(
        mpp=mpp,
        patch_size_px=patch_size_px,
        stride_px=patch_size_px if stride_px is None else stride_px,
        tumor_fraction=tumor_fraction,
        min_tissue=min_tissue,
        slide_mpp=slide_mpp,
        labels=None if labels is None else tuple(labels),
        seed=seed,
        known_within_um=known_within_um,
        min_known=min_known,
    )
    if not callable(splits) and not _is_by_name(splits):
        check_shares({split: float(share) for split, share in splits.items()})
    out = Path(out)
    if not overwrite and out.exists() and (not out.is_dir() or any(out.iterdir())):
        # Now, not after minutes of planning.
        raise OutputExistsError(f"{out} exists; choose another folder or pass --overwrite")
    n_workers = min(8, os.cpu_count() or 1) if workers is None else max(1, int(workers))
    pairs, notes = find_pairs(slides, annotations, skip_unannotated=skip_unannotated)

    plans = plan_slides(pairs, settings, n_workers, progress)
    split = _split(plans, splits, settings)
    summary = _summary(out, plans, split, notes)
    done, total = len(pairs), len(pairs) + sum(summary.n_patches.values())
    progress(done, total, "")
    with new_folder(out, overwrite=overwrite) as folder:
        for name, members in split.parts.items():
            for slide in _write_split(folder, name, members, settings, n_workers):
                done += 1
                progress(done, total, f"{name}: {slide}")
        _write_record(folder / "dataset.json", plans, settings, summary)
        write_preview(folder / "preview.png", folder, tuple(summary.n_patches))
    return summary


def _is_by_name(splits: Mapping[str, Any]) -> bool:
    """Whether splits are slide name to split, not split to share."""
    return all(isinstance(v, str) for v in splits.values())


def _split(plans: Sequence[SlidePlan], splits: Splits, settings: ExtractionSettings) -> PatchSplit:
    """Assign the slides that have patches; raise where a split stays empty."""
    names = [p.record.name for p in plans]
    filled = [p.record.name for p in plans if p.record.n_patches]
    if not filled:
        raise EmptyDatasetError(_why_empty(plans, settings))
    if callable(splits):
        return splits(plans)
    is_by_name = _is_by_name(splits)
    split_of = assign_splits(names if is_by_name else filled, splits, seed=settings.seed)
    if not split_of:
        raise EmptyDatasetError("every slide is left out by its split; give some a split")
    parts = {}
    for split in dict.fromkeys(split_of.values()):
        members = tuple(p for p in plans if split_of.get(p.record.name) == split)
        parts[split] = tuple(p for p in members if p.record.n_patches)
        if not parts[split]:
            raise EmptyDatasetError(f"split {split!r}: {_why_empty(members, settings)}")
    return PatchSplit(parts, "slides")


def _why_empty(plans: Sequence[SlidePlan], settings: ExtractionSettings) -> str:
    n = sum(p.n_candidates for p in plans)
    if n == 0:
        edge_um = settings.patch_size_px * settings.mpp
        return (
            f"no patch is left: no slide is as large as one patch ({settings.patch_size_px} px at "
            f"{settings.mpp:g} um = {edge_um:g} um); use a smaller --patch-size or --mpp"
        )
    low, high = settings.tumor_fraction
    limits = {
        "too_little_tumor": f" (below {low:.0%})",
        "too_much_tumor": f" (above {high:.0%})",
        "too_little_tissue": f" (below {settings.min_tissue:.0%})",
    }
    failed = "; ".join(
        f"{count} {text}{limits.get(reason, '')}"
        for reason, text in REASONS.items()
        if (count := sum(p.rejected[reason] for p in plans))
    )
    return (
        f"no patch is left of {n} candidates: {failed}; "
        "widen --tumor or lower --min-tissue, use a smaller --stride, or check the annotation"
    )


def _summary(
    out: Path, plans: Sequence[SlidePlan], split: PatchSplit, notes: Sequence[str]
) -> ExtractionSummary:
    slides = {
        name: {plan.record.name: plan.record.n_patches for plan in members}
        for name, members in split.parts.items()
    }
    return ExtractionSummary(
        out=out,
        n_patches={name: sum(counts.values()) for name, counts in slides.items()},
        slides=slides,
        n_candidates=sum(p.n_candidates for p in plans),
        rejected={reason: sum(p.rejected[reason] for p in plans) for reason in REASONS},
        notes=(*notes, *(note for p in plans for note in p.notes), *split.notes),
        split_by=split.by,
    )


def _write_split(
    folder: Path,
    split: str,
    plans: Sequence[SlidePlan],
    settings: ExtractionSettings,
    n_workers: int,
) -> Iterator[str]:
    """Cut and store the patches of one split; yield the slide's name after each."""
    writer = PatchStoreWriter(
        folder / f"{split}.zarr",
        split=split,
        geometry=PatchGeometry(settings.mpp, settings.patch_size_px),
        slides=[p.record for p in plans],
        slide_index=np.repeat(np.arange(len(plans)), [p.record.n_patches for p in plans]),
        location_xy=np.concatenate([p.locations_xy for p in plans]),
        tumor_fraction=np.concatenate([p.tumor_fraction for p in plans]),
        tissue_fraction=np.concatenate([p.tissue_fraction for p in plans]),
        settings=settings.as_dict(),
    )
    index = 0
    for plan in plans:
        with (
            open_for(Path(plan.record.path), settings) as slide,
            # Left before the slide closes: no thread may still read from it.
            ThreadPoolExecutor(n_workers, thread_name_prefix="extract") as pool,
        ):
            for image, mask in _cut(slide, plan, settings, pool, n_workers):
                writer.write(index, image, mask)
                index += 1
                yield plan.record.name


def _cut(
    slide: Slide,
    plan: SlidePlan,
    settings: ExtractionSettings,
    pool: ThreadPoolExecutor,
    n_workers: int,
) -> Iterator[Pixels]:
    """Read patches on the pool, in order, a few ahead of the writer."""
    size, mpp = settings.patch_size_px, settings.mpp

    def read(location_xy: tuple[float, float]) -> Pixels:
        image = slide.read_region(Region(location_xy, (size, size), mpp))
        return image, gt_mask_of(plan.annotation, location_xy, size, mpp, slide)

    ahead: deque[Future[Pixels]] = deque()
    for x, y in plan.locations_xy.tolist():
        ahead.append(pool.submit(read, (x, y)))
        if len(ahead) > 2 * n_workers:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _write_record(
    path: Path,
    plans: Sequence[SlidePlan],
    settings: ExtractionSettings,
    summary: ExtractionSummary,
) -> None:
    slides = []
    for plan in plans:
        name = plan.record.name
        splits = {split: held[name] for split, held in summary.slides.items() if name in held}
        counts = {"n_candidates": plan.n_candidates, "rejected": plan.rejected}
        slides.append({"name": name, "splits": splits, **counts, **asdict(plan.record)})
    record = {
        "tool": f"napari-histosam {__version__}",
        "settings": settings.as_dict(),
        **{k: v for k, v in summary.to_dict().items() if k != "out"},
        "slides": slides,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
