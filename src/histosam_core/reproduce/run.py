"""Run what is wanted and not yet done: cut, click, fine-tune, click again; write both tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from histosam_core.dataset import open_patches
from histosam_core.errors import HistoSamError, OutputExistsError, OutputWriteError
from histosam_core.reproduce.kim2023 import METHODS, PAIP2019_TEST, SETS, STAGES, Method, PatchSet
from histosam_core.reproduce.method_models import (
    MissingWeightsError,
    Weights,
    find_weights,
    load_weights,
    read_tuned,
    train_config,
    tune,
)
from histosam_core.reproduce.patch_sets import Bars, cut_patch_set, no_bars, prepared
from histosam_core.reproduce.settings import SETTINGS_FILE, SYNTHETIC_MARK, ReproduceSettings
from histosam_core.reproduce.survey import (
    Cell,
    Selection,
    Survey,
    find_cohorts,
    run_folder,
    survey,
)
from histosam_core.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.model.interface import InteractiveModel

OnEvent = Callable[[Mapping[str, object]], None]


def look(settings: ReproduceSettings, selection: Selection | None = None) -> Survey:
    """Say what is there and what is missing, without doing or writing anything.

    Errors are those of `reproduce`.
    """
    check_folder(settings)
    return _Work(settings, selection).look()


def reproduce(
    settings: ReproduceSettings,
    selection: Selection | None = None,
    *,
    bars: Bars = no_bars,
    on_event: OnEvent | None = None,
) -> Survey:
    """Fill the cells of Kim et al.'s two tables; return how the work stands at the end.

    Cells that are done are kept; a fine-tuning or an evaluation that was stopped goes on where it
    was. What cannot be done (weights missing, slides missing, too little memory) says so in its
    cells, and the rest goes on. The tables are written after each method, see `write_tables`.

    Parameters
    ----------
    settings
        Data, weights, and everything that decides the numbers.
    selection
        Which cells are wanted; None: all.
    bars
        Opens a progress bar by its title.
    on_event
        Called with notices (``{"event": "notice", "text"}``), finished cells (``{"event": "cell",
        "stage", "set", "method", "status"}``), and the events of `finetune`.

    Raises
    ------
    SlideNotFoundError
        A data folder holds nothing of its data set.
    ConfigError
        Settings do not fit one another, or differ from those of the work in the folder.
    OutputExistsError
        The folder holds something else.
    OutputWriteError
        The operating system refused.
    KeyboardInterrupt
        Passed on, once the state is saved and the tables are written.
    """
    check_folder(settings)
    work = _Work(settings, selection, bars, on_event)
    settings.save(settings.out / SETTINGS_FILE)
    try:
        work.run()
    finally:
        done = work.write()
    return done


class _Work:
    """One attempt at a reproduction."""

    def __init__(
        self,
        settings: ReproduceSettings,
        selection: Selection | None,
        bars: Bars = no_bars,
        on_event: OnEvent | None = None,
    ) -> None:
        self.settings, self.selection = settings, selection or Selection()
        self.bars, self.on_event = bars, on_event or (lambda event: None)
        self.cells = self.selection.cells
        self.problems: dict[tuple[str, str], str] = {}
        self.notices: list[str] = []
        self.cohorts = find_cohorts(settings)
        # A wrong setting of the fine-tunings is told now, not after hours of clicking.
        for method in dict.fromkeys(c.method for c in self.cells if c.method.stage == "finetuned"):
            with suppress(MissingWeightsError):
                train_config(settings, method, self._weights(method))

    def run(self) -> None:
        for patch_set in self._wanted_sets():
            files = self.cohorts[patch_set.cohort]
            if files is not None:  # else it was cut before, or the cells say that it cannot be
                with self._noting(("set", patch_set.key), patch_set.title):
                    cut_patch_set(
                        self.settings, patch_set, files, bars=self.bars, notice=self.notice
                    )
        for method in METHODS:
            if self._open_cells(method):
                title = f"{method.title}, {STAGES[method.stage]}"
                with self._noting((method.stage, method.key), title):
                    self._run_method(method)
                self.write(curves=False)

    def look(self) -> Survey:
        return survey(self.settings, self.selection, self.cohorts, self.problems, self.notices)

    def write(self, *, curves: bool = True) -> Survey:
        from histosam_core.reproduce.outputs import write_tables

        view = self.look()
        write_tables(view, curves=curves)
        return view

    def notice(self, text: str) -> None:
        self.notices.append(text)
        self.on_event({"event": "notice", "text": text})

    @contextmanager
    def _noting(self, place: tuple[str, str], title: str) -> Iterator[None]:
        """Note what goes wrong in the block, so that the rest goes on."""
        try:
            yield
        except OutputWriteError:
            raise
        except HistoSamError as error:
            self.problems[place] = str(error).splitlines()[0]
            self.notice(f"{title}: {error}")

    def _weights(self, method: Method) -> Weights:
        return find_weights(self.settings.models[method.family], self.settings.weights)

    def _open_cells(self, method: Method | None = None) -> list[Cell]:
        """The wanted cells, of one method or all, that are neither done nor hopeless."""
        by_key = self.look().by_key
        wanted = [cell for cell in self.cells if method in (None, cell.method)]
        return [cell for cell in wanted if by_key[cell.key].is_open]

    def _wanted_sets(self) -> list[PatchSet]:
        """The sets of the cells that are not done, and the training patches where they are due."""
        open_cells = self._open_cells()
        wanted = {cell.patch_set for cell in open_cells}
        tunings = {cell.method for cell in open_cells if cell.method.stage == "finetuned"}
        if any(read_tuned(self.settings, method) is None for method in tunings):
            wanted.add(PAIP2019_TEST)
        return [one for one in SETS if one in wanted]

    def _run_method(self, method: Method) -> None:
        model = self._model(method)
        # Asked for only now: cells of an earlier fine-tuning are open again.
        for cell in self._open_cells(method):
            self._click(cell, model)
            place = dict(zip(("stage", "set", "method"), cell.key, strict=True))
            self.on_event({"event": "cell", **place, "status": "done"})

    def _model(self, method: Method) -> InteractiveModel:
        """What is clicked with, fine-tuned where it has to be."""
        from histosam_core.model import load_model

        family, device = method.family, self.settings.device
        if method.stage == "zero_shot":
            decoder = "sam" if family == "sam" else None
            return load_weights(self._weights(method), device, family=family, decoder=decoder)
        tuned = read_tuned(self.settings, method)
        if tuned is None:
            weights = self._weights(method)
            load_weights(weights, "cpu", family=family)  # wrong ones raise before the tuning
            tuned = tune(self.settings, method, weights, bars=self.bars, on_event=self.on_event)
        return load_model(tuned.checkpoint, device)

    def _click(self, cell: Cell, model: InteractiveModel) -> None:
        from histosam_core.evaluation import evaluate
        from histosam_core.evaluation.protocol.runners import describe_model

        settings, folder = self.settings, run_folder(self.settings, cell)
        cut = prepared(settings, cell.patch_set)
        if cut is None:
            return  # the cell's state has the reason
        title = f"{cell.title} on {cell.patch_set.title}"
        then = _checkpoint_of(folder)
        now = json.loads(json.dumps(describe_model(model), default=str))
        is_other = then is not None and then != now
        if is_other:
            self.notice(f"{title}: started again, since its model or the device has changed")
        with self.bars(title) as progress:
            evaluate(
                model,
                open_patches(cut.out, "test"),
                name=cell.method.title,
                out=folder,
                target_iou=settings.target_iou,
                max_clicks=settings.max_clicks,
                mask_threshold=settings.mask_threshold,
                limit=settings.limit,
                batch_size=settings.batch_size,
                progress=progress,
                overwrite=is_other,
                keep_finished=True,
            )


def _checkpoint_of(folder: Path) -> Any:
    """What an evaluation that was begun says of its model; None where there is none."""
    try:
        header = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return header.get("checkpoint") if isinstance(header, dict) else None


def check_folder(settings: ReproduceSettings) -> None:
    """Make sure that the folder of the work is free, or holds work with the same settings.

    ConfigError where it holds work with other settings, OutputExistsError where something else.
    """
    out = settings.out
    if not out.exists() or (out.is_dir() and {p.name for p in out.iterdir()} <= {SYNTHETIC_MARK}):
        return
    if not (out / SETTINGS_FILE).is_file():
        raise OutputExistsError(
            f"{out} exists and was not made by this command; choose another --out"
        )
    settings.check_same(read_settings(out / SETTINGS_FILE))
