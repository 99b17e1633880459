"""The table of results as files for other programs: CSV, and LaTeX for a paper."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from histosam_core.evaluation.report.comparison import compare
from histosam_core.evaluation.report.plots import group_by_dataset
from histosam_core.evaluation.report.summary import (
    FAILURE_THRESHOLDS,
    NOC_THRESHOLDS,
    Estimate,
    RunSummary,
    summarise,
)

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult

__all__ = ["csv_table", "latex_table"]

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
FACTS = ("model", "dataset", "user", "patches", "slides", "clicks", "is_complete", "spc_s")
SPREAD = ("mean_of_slides", "repeats_std", "repeats_min", "repeats_max", "worst_of_repeats")


def csv_table(results: Sequence[EvaluationResult]) -> str:
    """Return a row per run; an estimate has three columns: value, low, high.

    Behind them, for each NoC: the mean over slides, and the spread over the user's repeats.
    """
    names = [*_columns("noc", NOC_THRESHOLDS), *_columns("nof", FAILURE_THRESHOLDS)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            *FACTS,
            *(name + part for name in names for part in ("", "_low", "_high")),
            *(f"{n}_{part}" for n in _columns("noc", NOC_THRESHOLDS) for part in SPREAD),
        ]
    )
    for s in map(summarise, results):
        facts = (s.name, s.dataset, s.user, s.n_patches, s.n_slides, s.n_clicks)
        row: list[object] = [*facts, int(s.is_complete), _plain(s.spc_s)]
        for estimates, thresholds in ((s.noc, NOC_THRESHOLDS), (s.failures, FAILURE_THRESHOLDS)):
            for threshold in thresholds:
                one = estimates.get(threshold)
                row += ["", "", ""] if one is None else map(_plain, (one.value, one.low, one.high))
        for threshold in NOC_THRESHOLDS:
            row.append(_plain(s.noc_by_slide.get(threshold, math.nan)))
            spread = s.repeats.get(threshold)
            told = () if spread is None else (spread.std, spread.low, spread.high, spread.worst)
            row += map(_plain, told or (math.nan,) * 4)
        writer.writerow(row)
    return buffer.getvalue()


def latex_table(results: Sequence[EvaluationResult]) -> str:
    """Return a booktabs table, a block per data set.

    The best value of a block is bold; intervals are small, in brackets; below stand the paired
    tests against the first model.
    """
    headings = [
        *(f"NoC@{round(100 * t)}" for t in NOC_THRESHOLDS),
        *(f"NoF@{round(100 * t)}" for t in FAILURE_THRESHOLDS),
        "SPC (s)",
    ]
    lines = [
        "% 95 % bootstrap intervals in brackets; needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * len(headings)}}}",
        "\\toprule",
        f"Data & Model & {' & '.join(headings)} \\\\",
    ]
    for runs in group_by_dataset(results).values():
        summaries = [summarise(run) for run in runs]
        lines += ["\\midrule", *_block(summaries)]
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*lines, *_tests(results), ""])


def _block(summaries: Sequence[RunSummary]) -> Iterator[str]:
    for i, s in enumerate(summaries):
        values = [
            *(_bracketed([o.noc for o in summaries], i, t, 2) for t in NOC_THRESHOLDS),
            *(_bracketed([o.failures for o in summaries], i, t, 3) for t in FAILURE_THRESHOLDS),
            f"{s.spc_s:.3f}" if math.isfinite(s.spc_s) else "--",
        ]
        star = "" if s.is_complete else f"\\textsuperscript{{*}} ({s.n_patches} patches)"
        data = "" if i else _escaped(s.dataset)
        yield f"{data} & {_escaped(s.name)}{star} & {' & '.join(values)} \\\\"


def _tests(results: Sequence[EvaluationResult]) -> Iterator[str]:
    """A comment per comparison: what a caption would say."""
    for runs in group_by_dataset(results).values():
        for d in compare(runs):
            corrected = f", Holm {d.p_holm:.3g}" if d.p_holm != d.p else ""
            yield " ".join(
                f"% {d.dataset}, NoC@{round(100 * d.threshold)}: {d.name} against {d.reference} "
                f"{d.noc.value:+.2f} [{d.noc.low:.2f}, {d.noc.high:.2f}], p = {d.p:.3g}{corrected} "
                f"(sign flips of {d.tested}), Wilcoxon p = {d.p_wilcoxon:.3g}".split()
            )


def _bracketed(
    columns: Sequence[Mapping[float, Estimate]], i: int, threshold: float, digits: int
) -> str:
    one = columns[i].get(threshold)
    if one is None or not math.isfinite(one.value):
        return "--"
    values = [column[threshold].value for column in columns if threshold in column]
    text = f"{one.value:.{digits}f}"
    if len(set(values)) > 1 and one.value == min(values):
        text = f"\\textbf{{{text}}}"
    return f"{text} {{\\scriptsize [{one.low:.{digits}f}, {one.high:.{digits}f}]}}"


def _columns(name: str, thresholds: Sequence[float]) -> list[str]:
    return [f"{name}{round(100 * t)}" for t in thresholds]


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def _escaped(text: str) -> str:
    return re.sub(r"[&%$#_{}~^\\<>]", lambda found: _LATEX[found.group()], text)
