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

from histosam_core.console import progress_bar
from histosam_core.errors import OutputExistsError, OutputWriteError
from histosam_core.recipes.demo.outlined_slide import Outline, outline_slide

if TYPE_CHECKING:
    from histosam_core.dataset import PatchStore
    from histosam_core.evaluation import EvaluationResult
    from histosam_core.model.sam.network import Decoder
    from histosam_core.recipes.synthetic.cohort import Cohort

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
    """How much the demo does."""

    slides: tuple[int, int, int]  # liver-like slides for train, validation and test
    shifted_slides: int  # lymph-node-like slides, for test only
    slide_um: float  # edge of a slide in micrometres
    # Step of the patch grid in patch pixels; below the patch size, training sees more patches.
    stride_px: int
    # Of each fine-tuning.
    epochs: int
    steps_per_epoch: int
    batch_size: int
    minutes: float  # upper bound of each fine-tuning, for slow machines
    # At most so many patches in validation, and so many clicks on each.
    validation_limit: int
    validation_clicks: int
    test_limit: int  # at most so many patches in each test


# On two cores: a slide takes 0.8 core-seconds per square millimetre, a step of batch 8 at most
# a second, a click 10 to 40 ms.
FULL = DemoPlan(
    slides=(14, 2, 4),
    shifted_slides=4,
    slide_um=3200.0,
    stride_px=200,
    epochs=4,
    steps_per_epoch=30,
    batch_size=8,
    minutes=2.5,
    validation_limit=16,
    validation_clicks=10,
    test_limit=48,
)
QUICK = DemoPlan(
    slides=(2, 1, 1),
    shifted_slides=1,
    slide_um=2000.0,
    stride_px=200,
    epochs=1,
    steps_per_epoch=4,
    batch_size=2,
    minutes=0.3,
    validation_limit=2,
    validation_clicks=5,
    test_limit=3,
)


@dataclass(slots=True)
class DemoOutcome:
    """What the demo made."""

    out: Path  # its folder
    # How it was run.
    plan: DemoPlan
    seed: int
    # The evaluations, in-domain first.
    results: list[EvaluationResult] = field(default_factory=list)
    outline: Outline | None = None  # the outlined slide
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
        shown = [(self.out / "report.html", "the report, in a browser")]
        if self.outline is not None:
            shown.append((self.outline.preview, "the slide with the outline and the clicks"))
            shown.append((self.outline.geojson, f"the outline; drop it on {self.outline.slide}"))
        shown.append((self.out / "runs" / "refining", "the fine-tuned model and its log"))
        return shown


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


def run_demo(out: Path, plan: DemoPlan, *, model: str, seed: int, keep_cohort: bool) -> DemoOutcome:
    """Run every step in `out`, which exists and is empty; the report is not written here."""
    from histosam_core.model import load_model

    outcome = DemoOutcome(out, plan, seed)
    use_all_cores()
    with timed(outcome, "slides"):
        cohorts = make_slides(out / "cohort", plan, seed)
    with timed(outcome, "patches"):
        stores = cut_patches(cohorts, out / "patches", plan, seed)
    with timed(outcome, "evaluate as shipped"):
        for decoder in load_model(model).info.decoders:
            # md goes on from SAM's decoder, refining from the other: each has its own "before".
            name = SHIPPED if decoder == "refining" else f"{decoder} {SHIPPED}"
            outcome.results += evaluate_on_all(
                model, name, stores, out, plan, decoder=cast("Decoder", decoder)
            )
    for scenario in SCENARIOS:
        with timed(outcome, f"fine-tune {scenario}"):
            checkpoint = tune(scenario, model, out, plan, seed)
        with timed(outcome, f"evaluate {scenario}"):
            outcome.results += evaluate_on_all(str(checkpoint), scenario, stores, out, plan)
    outcome.results.sort(key=lambda r: r.dataset != stores[DOMAINS[0]].name)
    with timed(outcome, "outline a slide"):
        outcome.outline = outline_slide(
            cohorts[DOMAINS[0]], stores[DOMAINS[0]], checkpoint, out / "annotations"
        )
    if not keep_cohort:
        shutil.rmtree(out / "cohort")
    outcome.peak_mib = peak_memory_mib()
    return outcome


@contextmanager
def timed(outcome: DemoOutcome, step: str) -> Iterator[None]:
    """Keep the seconds that the block takes as those of `step`."""
    start = time.perf_counter()
    yield
    outcome.seconds[step] = time.perf_counter() - start


def use_all_cores() -> None:
    """Give torch the cores this process may use; its own guess knows no limits of a container."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(n_cores())


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def make_slides(out: Path, plan: DemoPlan, seed: int) -> Mapping[str, Cohort]:
    """Draw the slides of both domains; annotations in all formats in turn."""
    from histosam_core.recipes.synthetic.cohort import make_cohort

    cohorts = {}
    wanted = {DOMAINS[0]: sum(plan.slides), DOMAINS[1]: plan.shifted_slides}
    for i, (domain, n_slides) in enumerate(wanted.items()):
        with progress_bar(f"Slides, {domain.replace('_', ' ')}-like") as progress:
            cohorts[domain] = make_cohort(
                out / domain,
                domain=domain,
                n_slides=n_slides,
                slide_um=plan.slide_um,
                seed=seed + 1000 * i,
                annotation_format="mixed",
                workers=min(n_cores(), MOST_PAINTERS),
                progress=progress,
            )
    return cohorts


def cut_patches(
    cohorts: Mapping[str, Cohort], out: Path, plan: DemoPlan, seed: int
) -> dict[str, PatchStore]:
    """Cut the patches, split by slide; return the test store of each domain."""
    from histosam_core.dataset import extract_patches, open_patches

    for domain, cohort in cohorts.items():
        names = [slide.stem for slide in cohort.slides]
        shares = dict.fromkeys(names, "test")
        if domain == DOMAINS[0]:
            splits = np.repeat(["train", "validation", "test"], plan.slides)
            shares = dict(zip(names, splits.tolist(), strict=True))
        with progress_bar(f"Patches, {domain.replace('_', ' ')}-like") as progress:
            extract_patches(
                list(zip(cohort.slides, cohort.annotations, strict=True)),
                out / domain,
                stride_px=plan.stride_px,
                splits=shares,
                seed=seed,
                workers=n_cores(),
                progress=progress,
            )
    return {domain: open_patches(out / domain, "test") for domain in cohorts}


def evaluate_on_all(
    model: str,
    name: str,
    stores: Mapping[str, PatchStore],
    out: Path,
    plan: DemoPlan,
    decoder: Decoder | None = None,
) -> list[EvaluationResult]:
    """Count the clicks that a model needs in-domain and on the shifted domain."""
    from histosam_core.evaluation import evaluate
    from histosam_core.model import load_model

    loaded = load_model(model, decoder=decoder)
    results = []
    for domain, store in stores.items():
        with progress_bar(f"Evaluate {name}, {domain.replace('_', ' ')}-like") as progress:
            folder = out / "evaluation" / f"{name.replace(' ', '-')}-{domain}"
            results.append(
                evaluate(
                    loaded, store, name=name, out=folder, limit=plan.test_limit, progress=progress
                )
            )
    return results


def tune(scenario: str, model: str, out: Path, plan: DemoPlan, seed: int) -> Path:
    """Fine-tune on the in-domain patches; return the best checkpoint."""
    from histosam_core.dataset.augment import AugmentSettings
    from histosam_core.training import TrainConfig, finetune

    config = TrainConfig(
        out=out / "runs" / scenario,
        model=model,
        patches=out / "patches" / DOMAINS[0],
        scenario=scenario,
        epochs=plan.epochs,
        max_steps_per_epoch=plan.steps_per_epoch,
        batch_size=plan.batch_size,
        max_minutes=plan.minutes,
        validation_limit=plan.validation_limit,
        validation_clicks=plan.validation_clicks,
        augment=AugmentSettings(stain=True),
        seed=seed,
        **SHORT_TUNING,
    )
    with progress_bar(f"Fine-tune {scenario}") as progress:
        return finetune(config, progress=progress).best_checkpoint


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
        lines = (line.split() for line in status.read_text().splitlines())
        own = next(float(line[1]) / 1024 for line in lines if line and line[0] == "VmHWM:")
    return own, children
