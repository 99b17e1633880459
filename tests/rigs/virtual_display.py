"""A virtual screen for benchmarks and pictures of the window."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["rerun_on_virtual_display", "start_screen", "virtual_display"]

SCREEN = "1600x1000x24"
CHILD = "HISTOSAM_ON_VIRTUAL_DISPLAY"


def start_screen(*options: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start Xvfb on a display that is free; return its process and the display's name.

    Parameters
    ----------
    options
        More of Xvfb's.

    Raises
    ------
    RuntimeError
        There is no Xvfb, or it does not start.
    """
    program = shutil.which("Xvfb")
    if program is None:
        raise RuntimeError("Xvfb is not installed; run scripts/system_libraries.sh")
    told, tell = os.pipe()
    server = subprocess.Popen(
        [program, "-displayfd", str(tell), "-screen", "0", SCREEN, "-nolisten", "tcp", *options],
        pass_fds=(tell,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(tell)
    with os.fdopen(told) as answer:
        number = answer.readline().strip()  # empty when the server ended instead
    if not number:
        raise RuntimeError(f"Xvfb did not start (exit {server.wait(10)})")
    return server, f":{number}"


@contextmanager
def virtual_display() -> Iterator[str]:
    """Give this process and its children a screen of their own; yield its name.

    Raises
    ------
    RuntimeError
        As for `start_screen`.
    """
    server, display = start_screen()
    before = {name: os.environ.get(name) for name in ("DISPLAY", "QT_QPA_PLATFORM")}
    try:
        os.environ["DISPLAY"], os.environ["QT_QPA_PLATFORM"] = display, "xcb"
        yield display
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        server.terminate()
        server.wait(10)


def rerun_on_virtual_display() -> None:
    """Run the script that calls this again, in a child on a virtual screen, and exit as it does.

    In that child it returns at once. The screen must outlive Qt, which aborts without one; a child
    has ended before the screen goes.
    """
    if os.environ.get(CHILD):
        return
    with virtual_display():
        environment = os.environ | {CHILD: "1"}
        code = subprocess.call([sys.executable, *sys.argv], env=environment)
    raise SystemExit(code)
