"""The results as files for other programs: CSV, JSON, and LaTeX for a paper."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from histosam_core.evaluation.report.comparison import compare
from histosam_core.evaluation.report.summary import RepeatSpread, RunSummary, summarise
from histosam_core.evaluation.report.tables import COLUMNS, NOC_COLUMNS, Block, Column, blocks_of

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
NO_REPEATS = RepeatSpread((), math.nan, math.nan)


def csv_table(results: Sequence[EvaluationResult]) -> str:
    """Return a row per run; an estimate has three columns: value, low, high.

    Behind them, for each NoC: the mean over slides, and the spread over the user's repeats.
    """
    if not results:
        return ""
    rows = []
    for s in map(summarise, results):
        row: dict[str, Any] = {
            "model": s.name, "dataset": s.dataset, "user": s.user, "patches": s.n_patches,
            "slides": s.n_slides, "clicks": s.n_clicks, "is_complete": int(s.is_complete),
            "spc_s": s.spc_s,
        }  # fmt: skip
        for column in COLUMNS:
            one = column.of(s)
            for part in ("value", "low", "high"):
                name = column.key + ("" if part == "value" else f"_{part}")
                row[name] = math.nan if one is None else getattr(one, part)
        for column in NOC_COLUMNS:
            spread = s.repeats.get(column.threshold, NO_REPEATS)
            row |= {
                f"{column.key}_mean_of_slides": s.noc_by_slide.get(column.threshold, math.nan),
                f"{column.key}_repeats_std": spread.std,
                f"{column.key}_repeats_min": spread.low,
                f"{column.key}_repeats_max": spread.high,
                f"{column.key}_worst_of_repeats": spread.worst,
            }
        rows.append({name: "" if _is_nothing(value) else value for name, value in row.items()})
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def latex_table(results: Sequence[EvaluationResult]) -> str:
    """Return a booktabs table, a block per data set.

    The best value of a block is bold; intervals are small, in brackets; below stand the paired
    tests of all pairs of models.
    """
    headings = [*(column.heading for column in COLUMNS), "SPC (s)"]
    blocks = blocks_of(results)
    lines = [
        "% 95 % bootstrap intervals in brackets; needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * len(headings)}}}",
        "\\toprule",
        f"Data & Model & {' & '.join(headings)} \\\\",
    ]
    for block in blocks:
        lines += ["\\midrule", *_latex_rows(block)]
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*lines, *(test for block in blocks for test in _latex_tests(block)), ""])


def summary_json(results: Sequence[EvaluationResult]) -> dict[str, Any]:
    """Return all numbers of several runs as JSON has them (nan and infinity become null).

    Thresholds become keys in per cent: ``["runs"][0]["noc"]["85"]["value"]``.
    """
    runs = []
    for result in results:
        s = summarise(result)
        run = {
            "model": s.name,
            "dataset": s.dataset,
            "n_patches": s.n_patches,
            "n_slides": s.n_slides,
            "n_clicks": s.n_clicks,
            "is_complete": s.is_complete,
            "user": result.user,
            "noc": s.noc,
            "noc_mean_of_slides": s.noc_by_slide,
            "noc_repeats": {
                t: {
                    "means": spread.means,
                    "std": spread.std,
                    "min": spread.low,
                    "max": spread.high,
                    "worst_of_repeats": spread.worst,
                }
                for t, spread in s.repeats.items()
            },
            "nof": s.failures,
            "nof_ritm": s.failures_ritm,
            "spc_s": s.spc_s,
            "encode_s_per_patch": s.encode_s,
            "decode_s_per_click": s.decode_s,
            "miou_per_click": s.miou,
            "interval": {"level": 0.95, "resampled": s.resampled},
            "slides": [
                {
                    "slide": one.slide,
                    "n_patches": one.n_patches,
                    "noc": one.noc,
                    "nof": one.failures,
                    "last_iou": one.last_iou,
                }
                for one in s.slides
            ],
            "settings": result.header.get("settings", {}),
            "checkpoint": result.header.get("checkpoint", {}),
            "folder": None if result.folder is None else str(result.folder),
        }
        runs.append(plain_json(run))
    differences = [
        {
            "dataset": d.dataset,
            "model": d.name,
            "reference": d.reference,
            "iou_percent": round(100 * d.threshold),
            "n_patches": d.n_patches,
            "noc": d.noc,
            "p": d.p,
            "p_holm": d.p_holm,
            "p_wilcoxon": d.p_wilcoxon,
            "tested": d.tested,
        }
        for d in compare(results)
    ]
    return {"schema": 1, "runs": runs, "differences": plain_json(differences)}


def plain_json(value: Any) -> Any:
    """Return values as JSON has them: no nan and infinity, per cent for thresholds as keys."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {
            f"{round(100 * k)}" if isinstance(k, float) else k: plain_json(v)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain_json(one) for one in value]
    return None if _is_nothing(value) else value


def _is_nothing(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _latex_rows(block: Block) -> Iterator[str]:
    for i, s in enumerate(block.lines):
        values = [_latex_cell(column, s, block) for column in COLUMNS]
        values.append(f"{s.spc_s:.3f}" if math.isfinite(s.spc_s) else "--")
        star = "" if s.is_complete else f"\\textsuperscript{{*}} ({s.n_patches} patches)"
        data = "" if i else latex_text(s.dataset)
        yield f"{data} & {latex_text(s.name)}{star} & {' & '.join(values)} \\\\"


def _latex_cell(column: Column, line: RunSummary, block: Block) -> str:
    one, digits = column.of(line), 2 if column.kind == "noc" else 3
    if one is None or not math.isfinite(one.value):
        return "--"
    text = f"{one.value:.{digits}f}"
    if column.is_best(line, block.lines):
        text = f"\\textbf{{{text}}}"
    return f"{text} {{\\scriptsize [{one.low:.{digits}f}, {one.high:.{digits}f}]}}"


def _latex_tests(block: Block) -> Iterator[str]:
    """A comment per comparison: what a caption would say."""
    for d in block.differences:
        corrected = f", Holm {d.p_holm:.3g}" if d.p_holm != d.p else ""
        yield " ".join(
            f"% {d.dataset}, NoC@{round(100 * d.threshold)}: {d.name} against {d.reference} "
            f"{d.noc.value:+.2f} [{d.noc.low:.2f}, {d.noc.high:.2f}], p = {d.p:.3g}{corrected} "
            f"(sign flips of {d.tested}), Wilcoxon p = {d.p_wilcoxon:.3g}".split()
        )


def latex_text(text: str) -> str:
    """Return a text as LaTeX has it."""
    return re.sub(r"[&%$#_{}~^\\<>]", lambda found: _LATEX[found.group()], text)
