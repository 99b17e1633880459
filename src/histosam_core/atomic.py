"""Write beside, then rename: an output is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from histosam_core.errors import OutputExistsError, OutputWriteError


@contextmanager
def new_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` when the block succeeds.

    Parent folders are made. When the block raises, the temporary file is removed and `path` is
    as it was before.

    Raises
    ------
    OutputExistsError
        `path` exists and `overwrite` is False.
    OutputWriteError
        The operating system refused (disk full, read-only folder).
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists; choose another name or ask to overwrite it")
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}{target.suffix}")
    try:
        with _refusals(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(target)
    finally:
        with suppress(OSError):  # gone already, or its folder could not be made
            temporary.unlink()


@contextmanager
def new_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the block succeeds.

    With `overwrite` the old folder is replaced only after the block has succeeded.

    Raises
    ------
    OutputExistsError
        `path` exists, is not an empty folder, and `overwrite` is False.
    OutputWriteError
        The operating system refused (disk full, read-only folder).
    """
    target = Path(path)
    occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if occupied and not overwrite:
        raise OutputExistsError(f"{target} exists; choose another folder or pass --overwrite")
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        with _refusals(target):
            temporary.mkdir(parents=True)
            yield temporary
            if target.is_dir():
                shutil.rmtree(target)
            elif target.exists():
                target.unlink()
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _refusals(target: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an OutputWriteError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputExistsError | OutputWriteError) or error.errno is None:
            raise
        raise OutputWriteError(
            f"cannot write {target}: {error.strerror}; free space or choose another place"
        ) from error
