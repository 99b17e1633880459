"""The `histosam` command's root: registers the verbs, turns errors into a line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer
from rich.markup import escape

from histosam_core.console import err
from histosam_core.errors import (
    ConfigError,
    HistoSamError,
    OutputExistsError,
    SlideNotFoundError,
    UnknownModelError,
)
from histosam_core.version import __version__

__all__ = ["app", "main"]

CALL_WAS_WRONG = (ConfigError, OutputExistsError, SlideNotFoundError, UnknownModelError)
TYPER_STOPPED = 130  # typer ends so, and silently, on Ctrl-C
VERBS = (
    "demo", "info", "prepare", "finetune", "evaluate", "improve", "segment", "replay", "models",
    "reproduce",
)  # fmt: skip

app = typer.Typer(
    name="histosam",
    help="Outline tumour regions on whole slides with a few clicks; fine-tune and compare models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"histosam {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Hold the options that stand before the verb."""


for _verb in VERBS:
    app.command(name=_verb)(getattr(import_module(f"histosam_core.cli.{_verb}"), _verb))


def main() -> None:
    """Run the command line; exit 0 (done), 1 (the run failed) or 2 (the call was wrong)."""
    try:
        app()
    except HistoSamError as error:
        if os.environ.get("HISTOSAM_DEBUG"):
            raise
        err.print(f"[bold red]histosam: error:[/] {escape(str(error))}", markup=True)
        sys.exit(2 if isinstance(error, CALL_WAS_WRONG) else 1)
    except SystemExit as stop:
        if stop.code != TYPER_STOPPED:
            raise
        err.print("histosam: stopped; no half-written file is left")
        sys.exit(1)
