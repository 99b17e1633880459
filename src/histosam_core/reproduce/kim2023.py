"""The set-up of Kim et al. (2023) as data: methods, patch sets, stages, and the paper's two tables.

Kim, Oh, Min, Jeong: "Evaluation and improvement of Segment Anything Model for interactive
histopathology image segmentation", MICCAI 2023 Workshops, arXiv:2310.10493.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal

Stage = Literal["zero_shot", "finetuned"]
Cohort = Literal["paip2019", "camelyon16"]
Family = Literal["ritm", "focalclick", "simpleclick", "sam"]

STAGES: Mapping[Stage, str] = {
    "zero_shot": "Zero-shot",
    "finetuned": "After fine-tuning on PAIP2019",
}
"""The paper's two tables, and what they are called."""

STAGES_IN_FILE: Mapping[str, Stage] = {"zero_shot": "zero_shot", "finetuned_paip2019": "finetuned"}
"""What the stages are called in the file of the tables."""

METRICS: Mapping[str, str] = {
    **{f"noc{percent}": f"NoC@{percent}" for percent in (80, 85, 90)},
    "spc_s": "SPC (s)",
    **{f"nof{percent}": f"NoF@{percent}" for percent in (85, 90)},
}
"""The tables' columns, and what they are called. Less is better in all of them."""

TRAINING_PATCHES: Mapping[str, int] = {"train": 5190, "validation": 576}
"""The paper's numbers of PAIP2019 patches that are not its test patches."""

PATCH_SIZE_PX = 400
TUMOR_FRACTION = (0.2, 0.8)
TARGET_IOU = 0.90
MAX_CLICKS = 20
EPOCHS = 30
MILESTONES = (20 / 30, 25 / 30)
"""Where the learning rate is divided by 10: epochs 20 and 25."""
LEARNING_RATE = 5e-4
BATCH_SIZE = 32
"""RITM's, to which the paper points for what it does not state."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the paper's tables."""

    key: str  # as options and folders name it
    title: str  # as the paper names it
    family: Family  # whose published weights it starts from
    stage: Stage  # which table it stands in
    scenario: str | None = None  # what `finetune` trains, where the family has a choice


@dataclass(frozen=True, slots=True)
class PatchSet:
    """A test set of the paper."""

    key: str  # as options and folders name it
    title: str  # as the paper names it
    cohort: Cohort  # the slides it is cut from
    magnification: float
    n_patches: int  # in the paper


METHODS: tuple[Method, ...] = (
    Method("ritm", "RITM", "ritm", "zero_shot"),
    Method("focalclick", "FocalClick", "focalclick", "zero_shot"),
    Method("simpleclick", "SimpleClick", "simpleclick", "zero_shot"),
    Method("sam", "SAM", "sam", "zero_shot"),
    Method("ritm", "RITM", "ritm", "finetuned"),
    Method("focalclick", "FocalClick", "focalclick", "finetuned"),
    Method("simpleclick", "SimpleClick", "simpleclick", "finetuned"),
    Method("md", "SAM md", "sam", "finetuned", "md"),
    Method("ie_md", "SAM ie_md", "sam", "finetuned", "ie_md"),
    Method("whole", "SAM whole", "sam", "finetuned", "whole"),
    Method("refining", "refining", "sam", "finetuned", "refining"),
)
"""Every row of both tables. "refining" is the paper's own method, its "Ours"."""

SETS: tuple[PatchSet, ...] = (
    PatchSet("paip2019_x5", "PAIP2019 x5", "paip2019", 5.0, 654),
    PatchSet("camelyon16_x5", "CAMELYON16 x5", "camelyon16", 5.0, 318),
    PatchSet("camelyon16_x10", "CAMELYON16 x10", "camelyon16", 10.0, 397),
)
"""The three test sets; training and validation patches are PAIP2019's at the same scale."""

PAIP2019_TEST = SETS[0]


def methods_of(stage: Stage) -> tuple[Method, ...]:
    """Return the rows of one table, in the paper's order."""
    return tuple(method for method in METHODS if method.stage == stage)


@cache
def paper_figures() -> Mapping[tuple[Stage, str, str], Mapping[str, float]]:
    """Return the paper's tables: (stage, key of the set, key of the method) to its figures.

    Figures are named as in `METRICS`: clicks, seconds per click (on an RTX A6000), shares.
    """
    sets = {one.title: one.key for one in SETS}
    keys = {(method.stage, method.title): method.key for method in METHODS}
    text = (resources.files(__package__) / "kim2023_tables.csv").read_text(encoding="utf-8")
    tables: dict[tuple[Stage, str, str], Mapping[str, float]] = {}
    for row in csv.DictReader(text.splitlines()):
        stage = STAGES_IN_FILE[row["stage"]]
        place = (stage, sets[row["dataset"]], keys[stage, row["method"]])
        tables[place] = MappingProxyType({name: float(row[name]) for name in METRICS})
    return MappingProxyType(tables)
