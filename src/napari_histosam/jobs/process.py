"""A job's process: started apart from this one, so that it goes on when this one ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PROGRAM = ("-P", "-m", "histosam_core")
"""What Python runs; -P: a file in the working folder is not taken for one of our modules."""


def start_process(
    arguments: Sequence[str], *, events: Path, errors: Path, working_folder: str, name: str
) -> int:
    """Start the command in a session of its own; return the process's number.

    Its output is added to two files. It works in `working_folder`, or in this process's where that
    is gone; `name` is that of the thread that waits for its end. OSError where a file cannot be
    written or no process can be started.
    """
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        apart = {"creationflags": flags}
    with events.open("ab") as output, errors.open("ab") as complaints:
        process = subprocess.Popen(  # noqa: S603 - this Python, our own command
            [sys.executable, *PROGRAM, *arguments],
            cwd=working_folder if Path(working_folder).is_dir() else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            **apart,
        )
    # Its end is waited for, else it would stay in the process table as long as this process lives.
    threading.Thread(target=process.wait, name=f"waits for {name}", daemon=True).start()
    return process.pid


def is_alive(pid: int | None) -> bool:
    """Whether a process of that number runs."""
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it is another user's
        return True


def end_process(pid: int) -> None:
    """End a process, and those that it has started, at once; nothing where it has gone."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.Error):
                one.kill()
