"""Run what is wanted and not yet done: cut, click, fine-tune, click again; write both tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from histosam_core.errors import HistoSamError, OutputExistsError, OutputWriteError
from histosam_core.reproduce.kim2023 import METHODS, PAIP2019_TEST, SETS, STAGES, Method, PatchSet
from histosam_core.reproduce.method_models import (
    MissingWeightsError,
    find_weights,
    load_weights,
    read_tuned,
    train_config,
    tune,
)
from histosam_core.reproduce.patch_sets import Bars, cut_patch_set, no_bars, prepared
from histosam_core.reproduce.settings import SETTINGS_FILE, SYNTHETIC_MARK, ReproduceSettings
from histosam_core.reproduce.survey import (
    Survey,
    find_cohorts,
    header_of,
    reason_of,
    run_folder,
    survey,
)
from histosam_core.reproduce.table_cells import Cell, Selection
from histosam_core.settings import read_settings

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel

OnEvent = Callable[[Mapping[str, object]], None]


def look(settings: ReproduceSettings, selection: Selection | None = None) -> Survey:
    """Say what is there and what is missing, without doing or writing anything.

    Errors are those of `reproduce`.
    """
    check_folder(settings)
    return _Work(settings, selection or Selection(), no_bars, _ignore).look()


def reproduce(
    settings: ReproduceSettings,
    selection: Selection | None = None,
    *,
    bars: Bars = no_bars,
    on_event: OnEvent | None = None,
) -> Survey:
    """Fill the cells of Kim et al.'s two tables.

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

    Returns
    -------
    Survey
        How the work stands at the end.

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
    work = _Work(settings, selection or Selection(), bars, on_event or _ignore)
    settings.save(settings.out / SETTINGS_FILE)
    try:
        work.run()
    finally:
        done = work.write()
    return done


class _Work:
    """One attempt at a reproduction."""

    def __init__(
        self, settings: ReproduceSettings, selection: Selection, bars: Bars, on_event: OnEvent
    ) -> None:
        self.settings, self.selection = settings, selection
        self.bars, self.on_event = bars, on_event
        self.cells = selection.cells
        self.problems: dict[tuple[str, str], str] = {}
        self.notices: list[str] = []
        self.cohorts = find_cohorts(settings)
        self._check_tuning_settings()

    def run(self) -> None:
        for patch_set in self._wanted_sets():
            self._cut(patch_set)
        for method in METHODS:
            if not self._open_cells(method):
                continue
            try:
                self._run_method(method)
            except OutputWriteError:
                raise
            except HistoSamError as error:
                self.problems[method.stage, method.key] = reason_of(error)
                self.notice(f"{method.title}, {STAGES[method.stage]}: {error}")
            self.write(curves=False)

    def look(self) -> Survey:
        return survey(
            self.settings,
            self.selection,
            self.cohorts,
            problems=self.problems,
            notices=tuple(self.notices),
        )

    def write(self, *, curves: bool = True) -> Survey:
        from histosam_core.reproduce.outputs import write_tables

        view = self.look()
        write_tables(view, curves=curves)
        return view

    def notice(self, text: str) -> None:
        self.notices.append(text)
        self.on_event({"event": "notice", "text": text})

    def _check_tuning_settings(self) -> None:
        """Raise for a wrong setting now, not after hours of clicking."""
        for method in dict.fromkeys(c.method for c in self.cells if c.method.stage == "finetuned"):
            try:
                weights = find_weights(self.settings.models[method.family], self.settings.weights)
            except MissingWeightsError:
                continue
            train_config(self.settings, method, weights)

    def _open_cells(self, method: Method | None = None) -> list[Cell]:
        """The wanted cells, of one method or all, that are neither done nor hopeless."""
        by_key = self.look().by_key
        wanted = [cell for cell in self.cells if method in (None, cell.method)]
        return [cell for cell in wanted if by_key[cell.key].status in ("to do", "begun")]

    def _wanted_sets(self) -> list[PatchSet]:
        """The sets of the cells that are not done, and the training patches where they are due."""
        open_cells = self._open_cells()
        wanted = {cell.patch_set.key for cell in open_cells}
        tunings = {cell.method for cell in open_cells if cell.method.stage == "finetuned"}
        if any(read_tuned(self.settings, method) is None for method in tunings):
            wanted.add(PAIP2019_TEST.key)
        return [one for one in SETS if one.key in wanted]

    def _cut(self, patch_set: PatchSet) -> None:
        files = self.cohorts[patch_set.cohort]
        if files is None:
            return  # cut before, or the cells say that it cannot be
        try:
            cut_patch_set(self.settings, patch_set, files, bars=self.bars, notice=self.notice)
        except OutputWriteError:
            raise
        except HistoSamError as error:
            self.problems["set", patch_set.key] = reason_of(error)
            self.notice(f"{patch_set.title}: {error}")

    def _run_method(self, method: Method) -> None:
        model = self._tuned_model(method) if method.stage == "finetuned" else self._model(method)
        # Asked for only now: cells of an earlier fine-tuning are open again.
        for cell in self._open_cells(method):
            self._click(cell, model)
            place = dict(zip(("stage", "set", "method"), cell.key, strict=True))
            self.on_event({"event": "cell", **place, "status": "done"})

    def _model(self, method: Method) -> InteractiveModel:
        weights = find_weights(self.settings.models[method.family], self.settings.weights)
        decoder = "sam" if method.family == "sam" else None
        return load_weights(weights, self.settings.device, family=method.family, decoder=decoder)

    def _tuned_model(self, method: Method) -> InteractiveModel:
        from histosam_core.model import load_model

        tuned = read_tuned(self.settings, method)
        if tuned is None:
            weights = find_weights(self.settings.models[method.family], self.settings.weights)
            load_weights(weights, "cpu", family=method.family)  # wrong ones raise before the tuning
            tuned = tune(self.settings, method, weights, bars=self.bars, on_event=self.on_event)
        return load_model(tuned.checkpoint, self.settings.device)

    def _click(self, cell: Cell, model: InteractiveModel) -> None:
        from histosam_core.evaluation import evaluate
        from histosam_core.evaluation.protocol.runners import describe_model

        settings = self.settings
        folder = run_folder(settings, cell)
        cut = prepared(settings, cell.patch_set)
        if cut is None:
            return  # the cell's state has the reason
        then = header_of(folder).get("checkpoint")
        now = json.loads(json.dumps(describe_model(model), default=str))
        if then is not None and then != now:
            self.notice(
                f"{cell.title} on {cell.patch_set.title}: started again, since its model or the "
                "device has changed"
            )
        with self.bars(f"{cell.title} on {cell.patch_set.title}") as progress:
            evaluate(
                model,
                cut.test,
                name=cell.method.title,
                out=folder,
                target_iou=settings.target_iou,
                max_clicks=settings.max_clicks,
                mask_threshold=settings.mask_threshold,
                limit=settings.limit,
                batch_size=settings.batch_size,
                progress=progress,
                overwrite=then is not None and then != now,
                keep_finished=True,
            )


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


def _ignore(event: Mapping[str, object]) -> None:
    """Do nothing with an event: the default."""
