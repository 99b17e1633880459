"""The steps of `histosam demo`, each a few calls of the library with a progress bar."""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from histosam_core.console import progress_bar
from histosam_core.dataset import PatchStore, extract_patches, open_patches
from histosam_core.dataset.augment import AugmentSettings
from histosam_core.errors import OutputExistsError, OutputWriteError
from histosam_core.evaluation import EvaluationResult, evaluate
from histosam_core.model import load_model
from histosam_core.recipes.demo.outlined_slide import Outline, outline_slide
from histosam_core.recipes.synthetic.cohort import Cohort, make_cohort
from histosam_core.training import TrainConfig, finetune

if TYPE_CHECKING:
    from histosam_core.model.sam.network import Decoder

MARK = "summary.json"
SHIPPED = "as shipped"
SCENARIOS = ("md", "refining")

# Fine-tuning in minutes instead of thirty epochs: a lower rate and a short warm-up, few variants
# of a patch so that most steps find their embeddings ready, stains varied since slides are few,
# first clicks as an evaluation starts, the quality score kept in step, and half of the shipped
# weights kept, so that what is gained on these slides is not lost on others.
SHORT_TUNING: Mapping[str, Any] = {
    "learning_rate": 2e-4,
    "warmup_steps": 10,
    "augment_variants": 2,
    "single_click_share": 0.3,
    "quality_weight": 0.2,
    "keep_base": 0.5,
}
MOST_PAINTERS = 3  # processes that draw slides: each takes about a GiB
DOMAINS = ("liver", "lymph_node")  # trained on the first; the second is the shifted one


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """How much the demo does.

    On two cores a slide takes 0.8 core-seconds per square millimetre, a step of batch 8 at most a
    second, a click 10 to 40 ms.
    """

    slides: tuple[int, int, int] = (14, 2, 4)  # liver-like slides for train, validation and test
    shifted_slides: int = 4  # lymph-node-like slides, for test only
    slide_um: float = 3200.0  # edge of a slide in micrometres
    # Step of the patch grid in patch pixels; below the patch size, training sees more patches.
    stride_px: int = 200
    # Of each fine-tuning; the minutes are an upper bound, for slow machines.
    epochs: int = 4
    steps_per_epoch: int = 30
    batch_size: int = 8
    minutes: float = 2.5
    # At most so many patches in validation, and so many clicks on each.
    validation_limit: int = 16
    validation_clicks: int = 10
    test_limit: int = 48  # at most so many patches in each test


FULL = DemoPlan()
QUICK = DemoPlan(
    slides=(2, 1, 1),
    shifted_slides=1,
    slide_um=2000.0,
    epochs=1,
    steps_per_epoch=4,
    batch_size=2,
    minutes=0.3,
    validation_limit=2,
    validation_clicks=5,
    test_limit=3,
)


@dataclass(slots=True)
class Demo:
    """The demo: how it is run, its steps, and what they made."""

    out: Path  # its folder, which exists and is empty
    plan: DemoPlan
    seed: int
    model: str = "histosam-tiny"  # what is fine-tuned
    # The evaluations, in-domain first.
    results: list[EvaluationResult] = field(default_factory=list)
    outline: Outline = field(init=False)  # the outlined slide
    seconds: dict[str, float] = field(default_factory=dict)  # step -> seconds
    # Peak resident memory of this process and of its largest child; None where the system does not
    # tell.
    peak_mib: tuple[float, float] | None = None

    @property
    def total_s(self) -> float:
        """Seconds of all steps together."""
        return sum(self.seconds.values())

    def memory_text(self) -> str:
        """Peak memory in words."""
        if self.peak_mib is None:
            return "not known on this system"
        own, child = (value / 1024 for value in self.peak_mib)
        workers = f", {child:.1f} GiB in its largest worker" if child > 0.05 else ""
        return f"{own:.1f} GiB{workers}"

    def open_next(self) -> Sequence[tuple[Path, str]]:
        """Files worth a look, and what they are."""
        return [
            (self.out / "report.html", "the report, in a browser"),
            (self.outline.preview, "the slide with the outline and the clicks"),
            (self.outline.geojson, f"the outline; drop it on {self.outline.slide}"),
            (self.out / "runs" / "refining", "the fine-tuned model and its log"),
        ]

    def run(self, *, keep_cohort: bool) -> None:
        """Run every step; the report is not written here."""
        if "OMP_NUM_THREADS" not in os.environ:  # torch's own guess knows no limits of a container
            torch.set_num_threads(n_cores())
        with self._timed("slides"):
            cohorts = self._make_slides()
        with self._timed("patches"):
            stores = self._cut_patches(cohorts)
        with self._timed("evaluate as shipped"):
            for decoder in load_model(self.model).info.decoders:
                # md goes on from SAM's decoder, refining from the other: each has its own "before".
                name = SHIPPED if decoder == "refining" else f"{decoder} {SHIPPED}"
                self._evaluate(self.model, name, stores, decoder)
        for scenario in SCENARIOS:
            with self._timed(f"fine-tune {scenario}"):
                checkpoint = self._tune(scenario)
            with self._timed(f"evaluate {scenario}"):
                self._evaluate(str(checkpoint), scenario, stores)
        first = DOMAINS[0]
        self.results.sort(key=lambda result: result.dataset != stores[first].name)
        with self._timed("outline a slide"):
            self.outline = outline_slide(
                cohorts[first], stores[first], checkpoint, self.out / "annotations"
            )
        if not keep_cohort:
            shutil.rmtree(self.out / "cohort")
        self.peak_mib = peak_memory_mib()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start

    def _make_slides(self) -> Mapping[str, Cohort]:
        """Draw the slides of both domains; annotations in all formats in turn."""
        cohorts = {}
        wanted = (sum(self.plan.slides), self.plan.shifted_slides)
        for i, (domain, n_slides) in enumerate(zip(DOMAINS, wanted, strict=True)):
            with progress_bar(f"Slides, {_like(domain)}") as progress:
                cohorts[domain] = make_cohort(
                    self.out / "cohort" / domain,
                    domain=domain,
                    n_slides=n_slides,
                    slide_um=self.plan.slide_um,
                    seed=self.seed + 1000 * i,
                    annotation_format="mixed",
                    workers=min(n_cores(), MOST_PAINTERS),
                    progress=progress,
                )
        return cohorts

    def _cut_patches(self, cohorts: Mapping[str, Cohort]) -> dict[str, PatchStore]:
        """Cut the patches, split by slide; return the test store of each domain."""
        out = self.out / "patches"
        for domain, cohort in cohorts.items():
            names = [slide.stem for slide in cohort.slides]
            splits = dict.fromkeys(names, "test")
            if domain == DOMAINS[0]:
                shares = np.repeat(["train", "validation", "test"], self.plan.slides)
                splits = dict(zip(names, shares.tolist(), strict=True))
            with progress_bar(f"Patches, {_like(domain)}") as progress:
                extract_patches(
                    list(zip(cohort.slides, cohort.annotations, strict=True)),
                    out / domain,
                    stride_px=self.plan.stride_px,
                    splits=splits,
                    seed=self.seed,
                    workers=n_cores(),
                    progress=progress,
                )
        return {domain: open_patches(out / domain, "test") for domain in cohorts}

    def _evaluate(
        self, model: str, name: str, stores: Mapping[str, PatchStore], decoder: str | None = None
    ) -> None:
        """Count the clicks that a model needs in-domain and on the shifted domain."""
        loaded = load_model(model, decoder=cast("Decoder | None", decoder))
        for domain, store in stores.items():
            out = self.out / "evaluation" / f"{name.replace(' ', '-')}-{domain}"
            limit = self.plan.test_limit
            with progress_bar(f"Evaluate {name}, {_like(domain)}") as progress:
                self.results.append(
                    evaluate(loaded, store, name=name, out=out, limit=limit, progress=progress)
                )

    def _tune(self, scenario: str) -> Path:
        """Fine-tune on the in-domain patches; return the best checkpoint."""
        config = TrainConfig(
            out=self.out / "runs" / scenario,
            model=self.model,
            patches=self.out / "patches" / DOMAINS[0],
            scenario=scenario,
            epochs=self.plan.epochs,
            max_steps_per_epoch=self.plan.steps_per_epoch,
            batch_size=self.plan.batch_size,
            max_minutes=self.plan.minutes,
            validation_limit=self.plan.validation_limit,
            validation_clicks=self.plan.validation_clicks,
            augment=AugmentSettings(stain=True),
            seed=self.seed,
            **SHORT_TUNING,
        )
        with progress_bar(f"Fine-tune {scenario}") as progress:
            return finetune(config, progress=progress).best_checkpoint


def _like(domain: str) -> str:
    return f"{domain.replace('_', ' ')}-like"


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def demo_folder(out: Path, *, overwrite: bool) -> Iterator[None]:
    """Make `out`; if the block fails or is stopped, remove it and put back what was there.

    The files of the demo name each other, so it works in its final place, not beside it.

    Raises
    ------
    OutputExistsError
        `out` exists and `overwrite` is False, or it does not look like an earlier demo.
    OutputWriteError
        The operating system refused.
    """
    occupied = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if occupied and not overwrite:
        raise OutputExistsError(f"{out} exists; choose another folder or pass --overwrite")
    if occupied and not (out / MARK).is_file():
        raise OutputExistsError(f"{out} exists and is no earlier demo; choose another folder")
    before = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}")
    try:
        if occupied:
            out.rename(before)
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputWriteError(
            f"cannot make {out}: {error.strerror}; choose another place"
        ) from error
    try:
        yield
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        if occupied:
            before.rename(out)
        raise
    shutil.rmtree(before, ignore_errors=True)


def peak_memory_mib() -> tuple[float, float] | None:
    """Peak resident memory of this process, and of its largest finished child at most, MiB."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage passes a parent's peak on to the process that replaces its copy.
        own = float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return own, children
