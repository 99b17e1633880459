"""Make a synthetic cohort: slides with tumour, each beside its annotation, from one seed."""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from histosam_core.annotation import (
    AnnotatedRegion,
    mask_to_geometry,
    write_asap_xml,
    write_imagescope_xml,
    write_mask_tiff,
)
from histosam_core.atomic import new_folder
from histosam_core.errors import ConfigError, HistoSamError, OutputExistsError
from histosam_core.progress import ProgressCallback, silent
from histosam_core.slide.write import write_svs

from .render import DOMAINS, GENERATOR_VERSION, SyntheticSlide, render_slide

AnnotationFormat = Literal["asap", "imagescope", "mask", "mixed"]
ANNOTATION_FORMATS: tuple[AnnotationFormat, ...] = ("asap", "imagescope", "mask", "mixed")
COHORT_FILE = "cohort.json"

_MIN_UM, _MAX_PX = 400.0, 40_000
_TOLERANCE_PX = 0.75  # of the outlines: flattens the stairs of the pixels, no more
_COLOUR = (0, 160, 0)
_LICENCE = "CC0-1.0: made by a program from random numbers; no patient, no outside image"


@dataclass(frozen=True, slots=True)
class Cohort:
    """A folder of synthetic slides and their annotations."""

    folder: Path  # where they lie, with `COHORT_FILE`, which records how they were made
    domain: str  # "liver" or "lymph_node"
    slides: tuple[Path, ...]  # SVS files, in order of their number
    annotations: tuple[Path, ...]  # the annotation of each slide, in the same order
    seed: int  # the cohort's seed


@dataclass(frozen=True, slots=True)
class _Job:
    # One slide; all that a worker needs to know.
    folder: Path
    domain: str
    index: int
    size_wh: tuple[int, int]
    mpp: float
    magnification: float
    seed: int
    annotation_format: str

    @property
    def slide_name(self) -> str:
        return f"{self.domain}_{self.index:03d}.svs"

    @property
    def annotation_name(self) -> str:
        end = "_mask.tif" if self.annotation_format == "mask" else ".xml"
        return f"{self.domain}_{self.index:03d}{end}"


def make_cohort(
    out: str | Path,
    *,
    domain: str = "liver",
    n_slides: int = 8,
    slide_um: float | tuple[float, float] = 4096.0,
    mpp: float = 0.5,
    magnification: float = 20.0,
    seed: int = 0,
    annotation_format: AnnotationFormat = "asap",
    workers: int = 2,
    progress: ProgressCallback = silent,
    overwrite: bool = False,
) -> Cohort:
    """Render slides with known tumour and write them with their annotations.

    Slide ``k`` depends on the seed, the domain, ``k`` and its size, and on nothing else: not on the
    number of slides or of workers. With several workers this must be called, in a script, under
    ``if __name__ == "__main__":``, since they are started afresh.

    Parameters
    ----------
    out
        The new folder. It appears when all is written, or not at all.
    domain
        "liver" or "lymph_node".
    n_slides
        How many slides, 1 to 999.
    slide_um
        Side of the square slide, or (width, height), in micrometres.
    mpp
        Micrometres per level-0 pixel.
    magnification
        The objective's power, as the slides state it.
    seed
        Seed of the cohort, a whole number >= 0.
    annotation_format
        "asap" or "imagescope" (``<slide>.xml``), "mask" (``<slide>_mask.tif``), or "mixed": the
        three in turn.
    workers
        Processes; 1 renders in this one. Each takes about 1.2 GB for a slide of 8192 x 8192.
    progress
        Called after every slide.
    overwrite
        Replace `out` where it is a cohort.

    Raises
    ------
    ConfigError
        Settings are out of range; the message names all of them.
    OutputExistsError
        `out` exists and is not empty, and is not a cohort that may be overwritten.
    OutputWriteError
        The operating system refused (disk full, no permission).
    HistoSamError
        A worker died.
    """
    size_um = slide_um if isinstance(slide_um, tuple) else (slide_um, slide_um)
    can_draw, most_um = 0.2 <= mpp <= 1.1, _MAX_PX * mpp
    fits = len(size_um) == 2 and all(_MIN_UM <= side <= most_um for side in size_um)
    is_format, formats = annotation_format in ANNOTATION_FORMATS, ", ".join(ANNOTATION_FORMATS)
    rules = {
        f"domain {domain!r} must be one of {', '.join(DOMAINS)}": domain in DOMAINS,
        f"n_slides {n_slides} must be 1 to 999": _is_whole(n_slides, 1) and n_slides <= 999,
        f"mpp {mpp} must be 0.2 to 1.1 um per pixel": can_draw,
        f"slide_um {size_um} must be {_MIN_UM:g} to {most_um:g} um each way": fits or not can_draw,
        f"magnification {magnification} must be positive, e.g. 20": 0 < magnification < math.inf,
        f"seed {seed} must be a whole number >= 0": _is_whole(seed, 0),
        f"annotation_format {annotation_format!r} must be one of {formats}": is_format,
        f"workers {workers} must be at least 1": _is_whole(workers, 1),
    }
    if problems := [text for text, is_kept in rules.items() if not is_kept]:
        raise ConfigError("; ".join(problems))
    target = Path(out)
    is_cohort = (target / COHORT_FILE).is_file()
    if overwrite and target.is_dir() and any(target.iterdir()) and not is_cohort:
        raise OutputExistsError(
            f"{target} holds other files and no {COHORT_FILE}; choose another folder"
        )
    size_wh = round(size_um[0] / mpp), round(size_um[1] / mpp)
    turns = ANNOTATION_FORMATS[:3] if annotation_format == "mixed" else (annotation_format,)
    with new_folder(target, overwrite=overwrite) as folder:
        jobs = [
            _Job(folder, domain, index, size_wh, float(mpp), float(magnification), int(seed), turn)
            for index, turn in zip(range(1, n_slides + 1), cycle(turns), strict=False)
        ]
        progress(0, n_slides, f"rendering {domain} slides")
        fractions: dict[int, float] = {}
        for done, (index, fraction) in enumerate(_run(jobs, min(workers, n_slides)), start=1):
            fractions[index] = fraction
            progress(done, n_slides, f"rendered {domain}_{index:03d}")
        record = _record(jobs, fractions, annotation_format)
        (folder / COHORT_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Cohort(
        folder=target,
        domain=domain,
        slides=tuple(target / job.slide_name for job in jobs),
        annotations=tuple(target / job.annotation_name for job in jobs),
        seed=int(seed),
    )


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and int(value) >= least


def _run(jobs: list[_Job], workers: int) -> Iterator[tuple[int, float]]:
    if workers == 1:
        for job in jobs:
            yield job.index, _make_slide(job)
        return
    others = set(multiprocessing.active_children())
    # Started afresh ("spawn"): a fork would copy the locks of this process's threads.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _start_worker) as pool:
        futures = {pool.submit(_make_slide, job): job.index for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException as error:
            # Cancelled or failed: what is being rendered is of no use to anyone.
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise HistoSamError(
                    "a worker process died, perhaps for want of memory: use fewer workers; a "
                    'script that uses several must call this under if __name__ == "__main__":'
                ) from error
            raise


def _start_worker() -> None:
    # Ctrl-C in a terminal reaches the workers too: they end at once and say nothing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    cv2.setNumThreads(1)


def _make_slide(job: _Job) -> float:
    # Render, write, annotate; returns the tumour's share of the picture.
    key = DOMAINS.index(job.domain), job.index
    rng = np.random.default_rng(np.random.SeedSequence(job.seed, spawn_key=key))
    slide = render_slide(
        job.domain, job.size_wh, mpp=job.mpp, magnification=job.magnification, rng=rng
    )
    write_svs(
        job.folder / job.slide_name,
        slide.image,
        mpp=slide.mpp,
        magnification=slide.magnification,
        scanner=f"HistoSAM synthetic {GENERATOR_VERSION}",
    )
    path = job.folder / job.annotation_name
    if job.annotation_format == "mask":
        write_mask_tiff(path, slide.tumor_mask, mpp=slide.mpp)
    elif job.annotation_format == "imagescope":
        write_imagescope_xml(path, _regions(slide, rng), mpp=slide.mpp)
    else:
        write_asap_xml(path, _regions(slide, rng))
    return float(slide.tumor_mask.mean())


def _regions(slide: SyntheticSlide, rng: np.random.Generator) -> list[AnnotatedRegion]:
    traced = mask_to_geometry(slide.tumor_mask)
    simple = traced.simplify(_TOLERANCE_PX, preserve_topology=True)
    outline = simple if simple.is_valid else traced
    return [
        AnnotatedRegion(polygon, color=_COLOUR, id=str(uuid.UUID(bytes=rng.bytes(16), version=4)))
        for polygon in getattr(outline, "geoms", [outline])
        if not polygon.is_empty
    ]


def _record(
    jobs: list[_Job], fractions: dict[int, float], annotation_format: str
) -> dict[str, object]:
    own = {"folder", "index", "annotation_format"}
    settings = {name: value for name, value in asdict(jobs[0]).items() if name not in own}
    return {
        "kind": "HistoSAM synthetic cohort",
        "generator_version": GENERATOR_VERSION,
        "licence": _LICENCE,
        "settings": settings | {"n_slides": len(jobs), "annotation_format": annotation_format},
        "slides": [
            {
                "slide": job.slide_name,
                "annotation": job.annotation_name,
                "annotation_format": job.annotation_format,
                "tumor_fraction": round(fractions[job.index], 4),
            }
            for job in jobs
        ],
    }
