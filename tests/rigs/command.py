"""Calls the `histosam` command in this process, as a user would in a shell."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from histosam_core.cli.app import CALL_WAS_WRONG, main
from histosam_core.errors import HistoSamError


@dataclass(frozen=True)
class Done:
    """What came of a call.

    `exception` is the error behind a one-line message; None where there was none.
    """

    exit_code: int
    stdout: str
    stderr: str
    exception: HistoSamError | None

    @property
    def output(self) -> str:
        """What stands in the terminal."""
        return self.stdout + self.stderr

    @property
    def words(self) -> str:
        """The same without frames and line breaks."""
        return " ".join(self.output.replace("│", " ").split())


def histosam(*arguments: object, stdin: str = "", columns: int = 200) -> Done:
    """Run ``histosam ARGUMENTS``; errors that are no mistake of the user's are raised."""
    code, error = 0, None
    out, err = io.StringIO(), io.StringIO()
    env = {"HISTOSAM_DEBUG": "1", "COLUMNS": str(columns), "TERM": "dumb"}
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.dict(os.environ, env),
        patch("sys.stdin", io.StringIO(stdin)),
    ):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except HistoSamError as raised:
            error, code = raised, 2 if isinstance(raised, CALL_WAS_WRONG) else 1
    return Done(code, out.getvalue(), err.getvalue(), error)
