"""The cells of both tables: which are wanted, which are done, which cannot be, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histosam_core.errors import ConfigError, EvaluationRecordsError
from histosam_core.evaluation import EvaluationResult, read_records
from histosam_core.reproduce.cohorts import find_camelyon16, find_paip2019
from histosam_core.reproduce.kim2023 import (
    METHODS,
    PAIP2019_TEST,
    SETS,
    STAGES,
    STAGES_IN_FILE,
    Cohort,
    Method,
    PatchSet,
    methods_of,
    paper_figures,
)
from histosam_core.reproduce.method_models import (
    MissingWeightsError,
    Tuned,
    epochs_done,
    find_weights,
    read_tuned,
)
from histosam_core.reproduce.patch_sets import prepared

if TYPE_CHECKING:
    from histosam_core.dataset import ExtractionSummary
    from histosam_core.reproduce.cohorts import CohortFiles
    from histosam_core.reproduce.settings import ReproduceSettings

Status = Literal["done", "begun", "to do", "not run", "not chosen"]
"""Of a cell. "begun": some of its patches are done; "not run": it cannot be; "not chosen": not
asked for."""

Problems = Mapping[tuple[str, str], str]
"""What went wrong in this attempt: (stage, method) or ("set", key of the set) to a reason."""

FOLDER_OPTIONS: Mapping[Cohort, str] = {"paip2019": "--paip", "camelyon16": "--camelyon"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A method at its stage on a test set: a row of a table and a block of it."""

    method: Method
    patch_set: PatchSet

    @property
    def key(self) -> tuple[str, str, str]:
        """Stage, key of the set, key of the method: its place in `paper_figures`."""
        return self.method.stage, self.patch_set.key, self.method.key

    @property
    def folder_name(self) -> str:
        """Of its evaluation, below the folder ``runs``."""
        return f"{self.method.stage}/{self.method.key}@{self.patch_set.key}"

    @property
    def title(self) -> str:
        """What is clicked with, for progress bars and messages."""
        tuned = "tuned " if self.method.stage == "finetuned" else ""
        return tuned + self.method.title

    def paper_seconds(self, n_patches: int) -> float:
        """Return what the clicks took the paper's GPU: patches x NoC@90 x seconds per click."""
        figures = paper_figures()[self.key]  # type: ignore[index]
        return n_patches * figures["noc90"] * figures["spc_s"]


ALL_CELLS: tuple[Cell, ...] = tuple(Cell(method, one) for method in METHODS for one in SETS)
"""In the order in which they are run: a method's test sets after each other."""


@dataclass(frozen=True, slots=True)
class CellState:
    """How a cell stands."""

    cell: Cell
    status: Status
    reason: str = ""  # why it cannot be run
    n_done: int = 0  # patches that are finished
    n_patches: int | None = None  # of the whole set; None where that is not known yet
    result: EvaluationResult | None = None  # its records, where it is done
    seconds: float | None = None  # that it will take, where that is known

    @property
    def is_open(self) -> bool:
        """Whether there is something to click."""
        return self.status in ("to do", "begun")

    @property
    def n_left(self) -> int:
        """Patches still to click; those of the paper where ours are not known yet."""
        return (self.n_patches or self.cell.patch_set.n_patches) - self.n_done

    def described(self) -> str:
        """Say in a few words how it stands."""
        if self.status == "not run":
            return f"not run ({self.reason})"
        if self.status == "begun":
            return f"begun, {self.n_done} of {self.n_patches or '?'} patches"
        return self.status


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cells are wanted."""

    cells: tuple[Cell, ...] = ALL_CELLS

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Selection:
        """Read what `--only` was given: names of methods, sets and stages, divided by commas.

        Names of one kind add up; names of different kinds narrow each other down.

        Raises
        ------
        ConfigError
            A name is none of them, or no cell is left: SAM's scenarios have no zero-shot row, SAM
            itself no fine-tuned one.
        """
        kinds: dict[str, list[str]] = {
            "methods": list(dict.fromkeys(method.key for method in METHODS)),
            "sets": [one.key for one in SETS],
            "stages": list(STAGES),
        }
        chosen: dict[str, set[str]] = {kind: set() for kind in kinds}
        for part in filter(None, (name.strip() for text in texts for name in text.split(","))):
            name = part.casefold().replace(" ", "_").replace("-", "_")
            name = STAGES_IN_FILE.get(name, name).removeprefix("sam_")
            kind = next((kind for kind, names in kinds.items() if name in names), None)
            if kind is None:
                known = "; ".join(f"{k}: {', '.join(names)}" for k, names in kinds.items())
                raise ConfigError(f"--only {part}: no such name; there are {known}")
            chosen[kind].add(name)
        # In the order of a cell's key. No name of a kind: all of it.
        wanted = [chosen[kind] for kind in ("stages", "sets", "methods")]
        cells = tuple(
            cell
            for cell in ALL_CELLS
            if all(not names or key in names for names, key in zip(wanted, cell.key, strict=True))
        )
        if not cells:
            raise ConfigError(
                "--only leaves no cell: sam has a zero-shot row alone; md, ie_md, whole and "
                "refining have a fine-tuned one alone"
            )
        return cls(cells)


@dataclass(frozen=True)
class Survey:
    """How the work in a folder stands."""

    settings: ReproduceSettings
    states: tuple[CellState, ...]  # of every cell, in the order of `ALL_CELLS`
    cohorts: Mapping[Cohort, CohortFiles | None]  # None where no folder is named
    patches: Mapping[str, ExtractionSummary]  # by the key of a test set, where they are cut
    tuned: Mapping[str, Tuned]  # method to its finished fine-tuning
    begun: Mapping[str, tuple[int, float]]  # method to epochs done and seconds, if unfinished
    notices: tuple[str, ...] = ()  # what was assumed, left out or went wrong in this attempt

    @cached_property
    def by_key(self) -> Mapping[tuple[str, str, str], CellState]:
        """Every cell's state by `Cell.key`."""
        return {state.cell.key: state for state in self.states}

    def count(self, status: str) -> int:
        """Return how many cells have that status."""
        return sum(state.status == status for state in self.states)

    def seconds_of_tuning(self, method: Method) -> float | None:
        """Return what a method's fine-tuning still takes, judging by its own epochs; else None."""
        if method.key in self.tuned:
            return 0.0
        n_done, seconds = self.begun.get(method.key, (0, 0.0))
        if not n_done:
            return None
        left = seconds / n_done * max(0, self.settings.epochs - n_done)
        budget = self.settings.max_minutes
        return left if budget is None else min(left, max(0.0, 60 * budget - seconds))


def find_cohorts(settings: ReproduceSettings) -> dict[Cohort, CohortFiles | None]:
    """Look into the data folders that are named; SlideNotFoundError where one holds no slide."""
    paip, camelyon = settings.paip, settings.camelyon
    part, keep_partial = settings.camelyon_part, settings.keep_partial
    return {
        "paip2019": None if paip is None else find_paip2019(paip, mask=settings.paip_mask),
        "camelyon16": None
        if camelyon is None
        else find_camelyon16(camelyon, part=part, keep_partial=keep_partial),
    }


def run_folder(settings: ReproduceSettings, cell: Cell) -> Path:
    """Return the folder of a cell's evaluation."""
    return settings.out / "runs" / cell.folder_name


def survey(
    settings: ReproduceSettings,
    selection: Selection,
    cohorts: Mapping[Cohort, CohortFiles | None],
    problems: Problems,
    notices: Iterable[str],
) -> Survey:
    """Say how every cell stands; nothing is computed and nothing written.

    `cohorts` comes from `find_cohorts`; `problems` and `notices` are those of this attempt.
    """
    finetuned = methods_of("finetuned")
    tuned = {m.key: one for m in finetuned if (one := read_tuned(settings, m)) is not None}
    view = Survey(
        settings,
        (),
        cohorts,
        {one.key: cut for one in SETS if (cut := prepared(settings, one)) is not None},
        tuned,
        {m.key: epochs_done(settings, m) for m in finetuned if m.key not in tuned},
        tuple(notices),
    )
    missing = _missing_weights(settings)
    states = [_state(view, cell, cell in selection.cells, missing, problems) for cell in ALL_CELLS]
    return replace(view, states=tuple(_with_times(states)))


def _missing_weights(settings: ReproduceSettings) -> dict[str, str]:
    """Family to why its weights cannot be used."""
    missing = {}
    for family, model in settings.models.items():
        try:
            find_weights(model, settings.weights)
        except MissingWeightsError as error:
            missing[family] = str(error)
    return missing


def _state(
    view: Survey, cell: Cell, is_wanted: bool, missing: Mapping[str, str], problems: Problems
) -> CellState:
    n_patches, limit = None, view.settings.limit
    if (cut := view.patches.get(cell.patch_set.key)) is not None:
        n_patches = cut.n_patches.get("test", 0)
        n_patches = n_patches if limit is None else min(n_patches, limit)
    result = _result(view, cell)
    if result is not None and result.is_complete:
        return CellState(cell, "done", "", len(result.patches), n_patches, result)
    if not is_wanted:
        return CellState(cell, "not chosen", n_patches=n_patches)
    reason = _why_not(view, cell, missing, problems)
    n_done = 0 if result is None else len(result.patches)
    status: Status = "not run" if reason else "begun" if n_done else "to do"
    return CellState(cell, status, reason, n_done, n_patches)


def _why_not(view: Survey, cell: Cell, missing: Mapping[str, str], problems: Problems) -> str:
    """Why a cell cannot be run; empty where it can."""
    method, patch_set = cell.method, cell.patch_set
    is_tuned = method.stage == "finetuned" and method.key in view.tuned
    reasons = [
        problems.get(("set", patch_set.key)),
        problems.get((method.stage, method.key)),
        None if is_tuned else missing.get(method.family),
    ]
    if patch_set.key not in view.patches and view.cohorts[patch_set.cohort] is None:
        reasons.append(_no_folder(patch_set.cohort))
    if method.stage == "finetuned" and not is_tuned and PAIP2019_TEST.key not in view.patches:
        if problem := problems.get(("set", PAIP2019_TEST.key)):
            reasons.append(f"no training patches: {problem}")
        elif view.cohorts["paip2019"] is None:
            reasons.append(f"fine-tuning needs PAIP2019: {_no_folder('paip2019')}")
    return next(filter(None, reasons), "")


def _no_folder(cohort: Cohort) -> str:
    return f"no folder of {cohort.upper()} was given, {FOLDER_OPTIONS[cohort]}"


def _result(view: Survey, cell: Cell) -> EvaluationResult | None:
    """The rows of a cell; None where there are none, or they are of another checkpoint."""
    folder = run_folder(view.settings, cell)
    try:
        stamps = [(folder / name).stat().st_mtime_ns for name in ("evaluation.json", "rows.csv")]
        result = _read(folder, *stamps)
    except (EvaluationRecordsError, OSError):
        return None
    tuned = view.tuned.get(cell.method.key) if cell.method.stage == "finetuned" else None
    sha256 = result.header.get("checkpoint", {}).get("sha256")
    return None if tuned is not None and sha256 not in (None, "", tuned.sha256) else result


@lru_cache(maxsize=2 * len(ALL_CELLS))
def _read(folder: Path, *stamps: int) -> EvaluationResult:
    """Read a run; again only when its files have changed, by their times."""
    (result,) = read_records(folder)
    return result


def _with_times(states: list[CellState]) -> list[CellState]:
    """Add what is to be expected, by cells of the same method or else family that are done."""

    def seconds(state: CellState) -> float | None:
        method = state.cell.method
        for kind in ("key", "family"):
            done = [
                patch
                for other in states
                if getattr(other.cell.method, kind) == getattr(method, kind)
                for patch in (other.result.patches if other.result is not None else ())
            ]
            if done:
                return state.n_left * sum(float(p.wall_s.sum()) for p in done) / len(done)
        return None

    return [replace(state, seconds=seconds(state)) if state.is_open else state for state in states]
