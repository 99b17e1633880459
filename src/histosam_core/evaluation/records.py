"""What an evaluation leaves behind: one row per click, and what was run, in a folder of its own.

A run folder holds

    evaluation.json    model, checkpoint and its sha256, data set, settings, software, state
    rows.csv           a row per click; a patch's rows are appended when it is finished
    masks/             the mask after each patch's last click, one-bit PNG
    examples/          image and truth of a few patches, for the report

Everything a report says is made from these files alone.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from histosam_core.atomic import new_file
from histosam_core.clicks import Click, User
from histosam_core.clicks.users import IDEAL
from histosam_core.errors import EvaluationRecordsError, OutputExistsError, OutputWriteError
from histosam_core.evaluation.pictures import save_mask
from histosam_core.evaluation.protocol.trial import ClickRun, ProtocolSettings, is_finished

HEADER_NAME, ROWS_NAME = "evaluation.json", "rows.csv"
OWN_NAMES = (HEADER_NAME, ROWS_NAME, "masks", "examples")
SCHEMA = 1
USUAL = {"user": asdict(IDEAL)}
"""What a header means that does not say."""

COLUMNS = (
    "run", "model", "dataset", "patch_index", "patch_id", "repeat", "slide", "location_x",
    "location_y", "tumor_fraction", "click", "x", "y", "is_positive", "iou", "encode_s",
    "decode_s", "wall_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """The rows of one finished patch, or region of a slide.

    Parameters
    ----------
    index, patch_id, slide
        Its place in the patch store, which names its pictures, and its names there.
    location_xy
        Its upper-left corner, level-0 pixels (x, y), where known.
    tumor_fraction
        Share of tumour in it, where known.
    clicks
        The n clicks, patch pixels (x, y).
    ious, encode_s, decode_s, wall_s, repeat
        See `ClickRun`.
    """

    index: int
    patch_id: str
    slide: str
    location_xy: tuple[float, float] | None
    tumor_fraction: float | None
    clicks: tuple[Click, ...]
    ious: NDArray[np.float32]
    encode_s: float
    decode_s: NDArray[np.float64]
    wall_s: NDArray[np.float64]
    repeat: int = 0

    @classmethod
    def of_run(cls, run: ClickRun, **place: Any) -> PatchRecord:
        """Return what is kept of a run; `place` says on which patch or region."""
        facts = {field.name: getattr(run, field.name) for field in fields(run)}
        del facts["mask"]
        return cls(**place, **facts | {"clicks": tuple(run.clicks)})


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """One model on one data set.

    Parameters
    ----------
    name, dataset
        The model's name in tables and legends, and the data set's.
    settings
        The protocol as it was run.
    patches
        Finished patches in the order of the store; one that a user clicks on several times is there
        as often, its repeats after each other.
    header
        The contents of evaluation.json: checkpoint, data set, user, software, times.
    folder
        The run folder; None for a run that was kept in memory only.
    """

    name: str
    dataset: str
    settings: ProtocolSettings
    patches: tuple[PatchRecord, ...]
    header: Mapping[str, Any]
    folder: Path | None = None

    @property
    def iou_curves(self) -> list[NDArray[np.float32]]:
        """One IoU curve per patch, as the metrics take them."""
        return [patch.ious for patch in self.patches]

    @property
    def slides(self) -> list[str]:
        """The slide of each patch."""
        return [patch.slide for patch in self.patches]

    @property
    def is_complete(self) -> bool:
        """Whether every patch that was asked for is there."""
        return bool(self.header.get("is_complete", False))

    @property
    def user(self) -> User:
        """Who clicked."""
        return User(**self.header.get("user", {}))

    def of_repeat(self, repeat: int) -> EvaluationResult:
        """Return the part of the run that is one of the user's repeats."""
        return replace(self, patches=tuple(p for p in self.patches if p.repeat == repeat))


class RunWriter:
    """Keeps a run folder up to date, so that a run that is cut off can be taken up again.

    Parameters
    ----------
    folder
        The run folder; None: nothing is written.
    header
        What is run; must be the same for an earlier run to resume.
    overwrite, resume, keep_finished
        What becomes of an earlier run there: see `evaluate`.

    Attributes
    ----------
    finished : tuple of PatchRecord
        What an earlier run has finished.

    Raises
    ------
    OutputExistsError
        The folder holds something else, or a run that can neither be resumed nor overwritten.
    OutputWriteError
        The operating system refused.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        header: Mapping[str, Any],
        *,
        overwrite: bool = False,
        resume: bool = True,
        keep_finished: bool = False,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.header: dict[str, Any] = {"schema": SCHEMA, **header, "is_complete": False}
        self.finished: tuple[PatchRecord, ...] = ()
        self._rows: IO[str] | None = None
        self._keep_finished = keep_finished
        if self.folder is not None:
            self._prepare(self.folder, overwrite=overwrite, resume=resume)

    def _prepare(self, folder: Path, *, overwrite: bool, resume: bool) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            if folder.is_file() or not (folder / HEADER_NAME).is_file():
                raise OutputExistsError(
                    f"{folder} exists and holds no evaluation; choose another folder"
                )
            if overwrite:
                for name in OWN_NAMES:
                    path = folder / name
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            else:
                self.finished = self._take_up(folder, resume=resume)
        try:
            (folder / "masks").mkdir(parents=True, exist_ok=True)
            self.write_header()
            with new_file(folder / ROWS_NAME) as path, path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                for record in self.finished:
                    writer.writerows(self._rows_of(record))
            self._rows = (folder / ROWS_NAME).open("a", newline="")
        except OSError as error:
            raise _write_error(folder, error) from error

    def _take_up(self, folder: Path, *, resume: bool) -> tuple[PatchRecord, ...]:
        earlier = _read_run(folder)
        if earlier.is_complete and not self._keep_finished:
            raise OutputExistsError(
                f"{folder} holds a finished evaluation; choose another folder or overwrite it"
            )
        now = json.loads(json.dumps(self.header, default=str))
        differing = [
            key
            for key in ("name", "settings", "checkpoint", "dataset", "user")
            if _deciding(earlier.header, key) != _deciding(now, key)
        ]
        if differing or not resume:
            why = f"its {', '.join(differing)} differ" if differing else "resuming is off"
            raise OutputExistsError(
                f"{folder} holds an evaluation and {why}; choose another folder or overwrite it"
            )
        return earlier.patches

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._rows is not None:
            self._rows.close()

    def append(self, record: PatchRecord, mask: NDArray[np.bool_]) -> None:
        """Write rows and last mask of a finished patch; they are on disk when this returns."""
        if self.folder is None or self._rows is None:
            return
        try:
            # The mask goes first: rows say that a patch is finished.
            save_mask(self.folder, record.index, mask, record.repeat)
            csv.writer(self._rows).writerows(self._rows_of(record))
            self._rows.flush()
        except OSError as error:
            raise _write_error(self.folder, error) from error

    def write_header(self, **changes: Any) -> None:
        """Change entries of evaluation.json and write it."""
        self.header.update(changes)
        if self.folder is not None:
            with new_file(self.folder / HEADER_NAME) as path:
                path.write_text(json.dumps(self.header, indent=2, default=str) + "\n")

    def _rows_of(self, record: PatchRecord) -> Iterable[Sequence[object]]:
        model, dataset = self.header["name"], self.header["dataset"]["name"]
        x0, y0 = record.location_xy or ("", "")
        fraction = "" if record.tumor_fraction is None else f"{record.tumor_fraction:.4f}"
        for i, click in enumerate(record.clicks):
            yield (
                f"{model}@{dataset}",
                *(model, dataset, record.index, record.patch_id, record.repeat, record.slide),
                *(x0, y0, fraction, i + 1),
                *(f"{click.xy[0]:g}", f"{click.xy[1]:g}", int(click.is_positive)),
                # The shortest text that reads back as the same float32.
                str(record.ious[i]),
                f"{record.encode_s if i == 0 else 0:.6f}",
                f"{record.decode_s[i]:.6f}",
                f"{record.wall_s[i]:.6f}",
            )


def read_records(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[EvaluationResult]:
    """Read runs back from their folders.

    Parameters
    ----------
    paths
        Run folders, or folders that hold run folders at any depth; a path or several.

    Returns
    -------
    list of EvaluationResult
        In the order given, below one folder by the time they were started. Of a run that was cut
        off, the patches that were finished.

    Raises
    ------
    EvaluationRecordsError
        No run there, or its files cannot be read.
    """
    folders = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    results = []
    for folder in map(Path, folders):
        headers = sorted(folder.rglob(HEADER_NAME)) if folder.is_dir() else []
        if not headers:
            raise EvaluationRecordsError(
                f"no evaluation in {folder}; give a folder that `histosam evaluate` wrote"
            )
        found = [_read_run(header.parent) for header in headers]
        results += sorted(found, key=lambda run: str(run.header.get("started", "")))
    return results


def _read_run(folder: Path) -> EvaluationResult:
    try:
        header = json.loads((folder / HEADER_NAME).read_text())
        settings = ProtocolSettings(**header["settings"])
        name, dataset = header["name"], header["dataset"]["name"]
        with (folder / ROWS_NAME).open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("wall_s")]
        by_patch: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row in rows:
            # Runs of before there were repeats have no such column.
            by_patch.setdefault((row["patch_index"], row.get("repeat") or "0"), []).append(row)
        patches = [_patch_record(group) for group in by_patch.values()]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EvaluationRecordsError(
            f"{folder} is not a readable evaluation ({type(error).__name__}: {error}); run it again"
        ) from error
    # A run may be cut off within a patch's rows.
    whole = [patch for patch in patches if is_finished(patch.ious, settings)]
    whole.sort(key=lambda patch: (patch.index, patch.repeat))
    return EvaluationResult(name, dataset, settings, tuple(whole), header, folder)


def _patch_record(rows: Sequence[Mapping[str, str]]) -> PatchRecord:
    first = rows[0]
    location = (first["location_x"], first["location_y"])
    return PatchRecord(
        index=int(first["patch_index"]),
        patch_id=first["patch_id"],
        slide=first["slide"],
        location_xy=(float(location[0]), float(location[1])) if all(location) else None,
        tumor_fraction=float(first["tumor_fraction"]) if first["tumor_fraction"] else None,
        clicks=tuple(
            Click((float(r["x"]), float(r["y"])), is_positive=r["is_positive"] == "1") for r in rows
        ),
        ious=np.array([float(r["iou"]) for r in rows], dtype=np.float32),
        encode_s=float(first["encode_s"]),
        decode_s=np.array([float(r["decode_s"]) for r in rows]),
        wall_s=np.array([float(r["wall_s"]) for r in rows]),
        repeat=int(first.get("repeat") or 0),
    )


def _deciding(header: Mapping[str, Any], key: str) -> Any:
    """Return what of a header's entry two runs must share for one to go on with the other."""
    value = header.get(key, USUAL.get(key))
    if key == "settings" and isinstance(value, Mapping):
        return asdict(ProtocolSettings(**value))
    if key == "checkpoint" and isinstance(value, Mapping):
        # The same weights may come with a licence that was not stated, or not so worded, before.
        return {name: fact for name, fact in value.items() if name != "licence"}
    return value


def _write_error(folder: Path, error: OSError) -> OSError:
    if isinstance(error, OutputWriteError):
        return error
    return OutputWriteError(
        f"cannot write to {folder}: {error.strerror}; free space or choose another place"
    )
