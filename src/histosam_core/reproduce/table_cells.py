"""Cells of both tables: a method at a stage on a test set; which are wanted, how they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histosam_core.errors import ConfigError
from histosam_core.reproduce.kim2023 import METHODS, SETS, STAGES, STAGES_IN_FILE, Method, PatchSet

if TYPE_CHECKING:
    from histosam_core.evaluation import EvaluationResult

Status = Literal["done", "begun", "to do", "not run", "not chosen"]


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


ALL_CELLS: tuple[Cell, ...] = tuple(Cell(method, one) for method in METHODS for one in SETS)
"""In the order in which they are run: a method's test sets after each other."""


@dataclass(frozen=True, slots=True)
class CellState:
    """How a cell stands.

    "begun": some of its patches are done; "not run": it cannot be; "not chosen": not asked for.
    """

    cell: Cell
    status: Status
    reason: str = ""  # why it cannot be run
    n_done: int = 0  # patches that are finished
    n_patches: int | None = None  # of the whole set; None where that is not known yet
    result: EvaluationResult | None = None  # its records, where it is done
    seconds: float | None = None  # that it will take, where that is known

    def described(self) -> str:
        """Say in a few words how it stands."""
        if self.status == "not run":
            return f"not run ({self.reason})"
        if self.status == "begun":
            return f"begun, {self.n_done} of {self.n_patches or '?'} patches"
        return self.status


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cells are wanted, by their keys. An empty part means all of its kind."""

    methods: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Selection:
        """Read what `--only` was given: names of methods, sets and stages, divided by commas.

        Names of one kind add up; names of different kinds narrow each other down.

        Raises
        ------
        ConfigError
            A name is none of them.
        """
        kinds: dict[str, list[str]] = {
            "methods": list(dict.fromkeys(method.key for method in METHODS)),
            "sets": [one.key for one in SETS],
            "stages": list(STAGES),
        }
        chosen: dict[str, set[str]] = {kind: set() for kind in kinds}
        for text in texts:
            for part in filter(None, (name.strip() for name in text.split(","))):
                name = part.casefold().replace(" ", "_").replace("-", "_")
                name = STAGES_IN_FILE.get(name, name).removeprefix("sam_")
                kind = next((kind for kind, names in kinds.items() if name in names), None)
                if kind is None:
                    known = "; ".join(f"{k}: {', '.join(names)}" for k, names in kinds.items())
                    raise ConfigError(f"--only {part}: no such name; there are {known}")
                chosen[kind].add(name)
        return cls(**{kind: frozenset(names) for kind, names in chosen.items()})

    def __contains__(self, cell: Cell) -> bool:
        stage, patch_set, method = cell.key
        parts = (self.methods, method), (self.sets, patch_set), (self.stages, stage)
        return all(not wanted or key in wanted for wanted, key in parts)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that are wanted.

        Raises
        ------
        ConfigError
            There is none: SAM's scenarios have no zero-shot row, SAM itself no fine-tuned one.
        """
        cells = tuple(cell for cell in ALL_CELLS if cell in self)
        if not cells:
            raise ConfigError(
                "--only leaves no cell: sam has a zero-shot row alone; md, ie_md, whole and "
                "refining have a fine-tuned one alone"
            )
        return cells
