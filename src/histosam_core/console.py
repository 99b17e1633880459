"""What every command shares: the consoles, progress bars, and JSON output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from histosam_core.progress import ProgressCallback

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str, *, of_bytes: bool = False) -> Iterator[ProgressCallback]:
    """Show a progress bar on standard error and yield the callback that moves it.

    Parameters
    ----------
    title
        What is being done.
    of_bytes
        Count bytes, and show their speed; nothing is shown where all is there already.
    """
    count = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(),)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20 if of_bytes else 28),
        *count,
        *(() if of_bytes else (TimeElapsedColumn(),)),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[message]}"),
    )
    with Progress(*columns, console=err) as bar:
        tasks = [] if of_bytes else [bar.add_task(title, total=None, message="")]

        def report(done: int, total: int, message: str = "") -> None:
            if not tasks:
                # What came before counts as there, not as speed.
                tasks.append(bar.add_task(title, total=total, completed=done, message=""))
            bar.update(tasks[0], completed=done, total=total, message=message)

        yield report


def note(text: str) -> None:
    """Print on standard error what the user should know and what ends nothing."""
    err.print(f"note: {text}", style="yellow", markup=False)


def fact_table(rows: Mapping[str, str], title: str | None = None) -> Table:
    """Return a table of names and values, a line each; values are folded, not cut."""
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def print_json(value: Any) -> None:
    """Write `value` as JSON to standard output, nothing else beside it."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
