"""How a reproduction stands: what is done, what is still to do, what cannot be, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import EvaluationRecordsError, HistoSamError
from histosam_core.evaluation import EvaluationResult, read_records
from histosam_core.reproduce.cohorts import find_camelyon16, find_paip2019
from histosam_core.reproduce.kim2023 import (
    PAIP2019_TEST,
    SETS,
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
from histosam_core.reproduce.patch_sets import CutSet, prepared
from histosam_core.reproduce.table_cells import ALL_CELLS, Cell, CellState, Selection

if TYPE_CHECKING:
    from histosam_core.reproduce.cohorts import CohortFiles
    from histosam_core.reproduce.settings import ReproduceSettings

__all__ = ["Problems", "Survey", "find_cohorts", "run_folder", "survey"]

Problems = Mapping[tuple[str, str], str]
"""What went wrong in this attempt: (stage, method) or ("set", key of the set) to a reason."""

FOLDER_OPTIONS: Mapping[Cohort, str] = {"paip2019": "--paip", "camelyon16": "--camelyon"}
RUN_FILES = ("evaluation.json", "rows.csv")
TITLES: Mapping[Cohort, str] = {"paip2019": "PAIP2019", "camelyon16": "CAMELYON16"}


@dataclass(frozen=True)
class Survey:
    """How the work in a folder stands."""

    settings: ReproduceSettings
    states: tuple[CellState, ...]  # of every cell, in the order of `ALL_CELLS`
    cohorts: Mapping[Cohort, CohortFiles | None]  # None where no folder is named
    patches: Mapping[str, CutSet]  # by the key of a test set, where they are cut
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
    paip = camelyon = None
    if settings.paip is not None:
        paip = find_paip2019(settings.paip, mask=settings.paip_mask)
    if settings.camelyon is not None:
        camelyon = find_camelyon16(
            settings.camelyon, part=settings.camelyon_part, keep_partial=settings.keep_partial
        )
    return {"paip2019": paip, "camelyon16": camelyon}


def run_folder(settings: ReproduceSettings, cell: Cell) -> Path:
    """Return the folder of a cell's evaluation."""
    return settings.out / "runs" / cell.folder_name


def survey(
    settings: ReproduceSettings,
    selection: Selection,
    cohorts: Mapping[Cohort, CohortFiles | None],
    *,
    problems: Problems | None = None,
    notices: tuple[str, ...] = (),
) -> Survey:
    """Say how every cell stands; nothing is computed and nothing written.

    `cohorts` comes from `find_cohorts`; `problems` and `notices` are those of this attempt.
    """
    patches = {one.key: cut for one in SETS if (cut := prepared(settings, one)) is not None}
    finetuned = methods_of("finetuned")
    tuned = {m.key: one for m in finetuned if (one := read_tuned(settings, m)) is not None}
    view = Survey(
        settings,
        (),
        cohorts,
        patches,
        tuned,
        {m.key: epochs_done(settings, m) for m in finetuned if m.key not in tuned},
        notices,
    )
    missing = _missing_weights(settings)
    states = [_state(view, cell, cell in selection, missing, problems or {}) for cell in ALL_CELLS]
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
    n_patches = _n_patches(view, cell.patch_set)
    result = _result(view, cell)
    if result is not None and result.is_complete:
        return CellState(cell, "done", "", len(result.patches), n_patches, result)
    if not is_wanted:
        return CellState(cell, "not chosen", n_patches=n_patches)
    reason = _why_not(view, cell, missing, problems)
    n_done = 0 if result is None else len(result.patches)
    status = "not run" if reason else "begun" if n_done else "to do"
    return CellState(cell, status, reason, n_done, n_patches)  # type: ignore[arg-type]


def _why_not(view: Survey, cell: Cell, missing: Mapping[str, str], problems: Problems) -> str:
    """Why a cell cannot be run; empty where it can."""
    method, patch_set = cell.method, cell.patch_set
    problem = problems.get(("set", patch_set.key)) or problems.get((method.stage, method.key))
    if problem:
        return problem
    is_tuned = method.stage == "finetuned" and method.key in view.tuned
    if method.family in missing and not is_tuned:
        return missing[method.family]
    if patch_set.key not in view.patches and view.cohorts[patch_set.cohort] is None:
        return _no_folder(patch_set.cohort)
    needs_training = method.stage == "finetuned" and not is_tuned
    if needs_training and PAIP2019_TEST.key not in view.patches:
        if ("set", PAIP2019_TEST.key) in problems:
            return f"no training patches: {problems['set', PAIP2019_TEST.key]}"
        if view.cohorts["paip2019"] is None:
            return f"fine-tuning needs PAIP2019: {_no_folder('paip2019')}"
    return ""


def _no_folder(cohort: Cohort) -> str:
    return f"no folder of {TITLES[cohort]} was given, {FOLDER_OPTIONS[cohort]}"


def _n_patches(view: Survey, patch_set: PatchSet) -> int | None:
    cut = view.patches.get(patch_set.key)
    if cut is None:
        return None
    n = int(cut.summary.n_patches.get("test", 0))
    return n if view.settings.limit is None else min(n, view.settings.limit)


def _result(view: Survey, cell: Cell) -> EvaluationResult | None:
    """The rows of a cell; None where there are none, or they are of another checkpoint."""
    folder = run_folder(view.settings, cell)
    if not (folder / "evaluation.json").is_file():
        return None
    try:
        stamps = tuple((folder / name).stat().st_mtime_ns for name in RUN_FILES)
        result = _read(folder, stamps)
    except (EvaluationRecordsError, OSError):
        return None
    tuned = view.tuned.get(cell.method.key) if cell.method.stage == "finetuned" else None
    sha256 = result.header.get("checkpoint", {}).get("sha256")
    return None if tuned is not None and sha256 not in (None, "", tuned.sha256) else result


@lru_cache(maxsize=2 * len(ALL_CELLS))
def _read(folder: Path, stamps: tuple[int, ...]) -> EvaluationResult:
    """Read a run; again only when its files have changed, by their times."""
    (result,) = read_records(folder)
    return result


def _with_times(states: list[CellState]) -> list[CellState]:
    """Add what is to be expected, by cells of the same method or family that are done."""
    rates: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for state in states:
        if state.result is None:
            continue
        seconds = sum(float(patch.wall_s.sum()) for patch in state.result.patches)
        method = state.cell.method
        for name in (("method", method.key), ("family", method.family)):
            rates.setdefault(name, []).append((seconds, len(state.result.patches)))
    timed = []
    for state in states:
        method = state.cell.method
        known = rates.get(("method", method.key)) or rates.get(("family", method.family))
        if known and state.status in ("to do", "begun"):
            n_left = (state.n_patches or state.cell.patch_set.n_patches) - state.n_done
            rate = sum(s for s, _ in known) / max(1, sum(n for _, n in known))
            state = replace(state, seconds=n_left * rate)
        timed.append(state)
    return timed


def paper_seconds(cell: Cell, n_patches: int) -> float:
    """Return what a cell's clicks took the paper's GPU: patches x NoC@90 x seconds per click."""
    figures = paper_figures()[cell.key]  # type: ignore[index]
    return n_patches * figures["noc90"] * figures["spc_s"]


def header_of(folder: Path) -> Mapping[str, Any]:
    """Return the header of an evaluation; empty where there is none to read."""
    try:
        header = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def reason_of(error: HistoSamError) -> str:
    """Return an error's message for a table's cell."""
    return str(error).splitlines()[0]
