"""Stands in for `histosam evaluate`: finished results appear patch by patch; loads no torch.

Copies the runs beside the patches to the results folder, 0.3 s a patch, and goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from itertools import groupby, pairwise
from pathlib import Path

from histosam_core.errors import ConfigError
from histosam_core.job_events import job_events

SECONDS = 0.3


def main(arguments: list[str]) -> None:
    """Let results grow."""
    given = dict(pairwise(arguments))
    settings = json.loads(Path(given["--config"]).read_text())
    out, control = Path(settings["out"]), Path(given["--control"])
    with job_events("--events" in arguments, control) as job:
        if settings["limit"] == 999:
            raise ConfigError("the stand-in has no 999 patches; ask for fewer")
        for source in sorted((Path(settings["patches"][0]).parent / "results").iterdir()):
            with job.progress_bar(source.name) as progress:
                copy(source, out / "runs" / source.name, progress)
        job.result(out=str(out))


def copy(source: Path, target: Path, progress: object) -> None:
    """Let one run grow to what it is in `source`."""
    head, *lines = (source / "rows.csv").read_text().splitlines(keepends=True)
    groups = [list(rows) for _, rows in groupby(lines, key=lambda line: line.split(",")[3])]
    if not target.exists():
        shutil.copytree(source, target)
        header = json.loads((source / "evaluation.json").read_text()) | {"is_complete": False}
        (target / "evaluation.json").write_text(json.dumps(header))
        (target / "rows.csv").write_text(head)
    there = (target / "rows.csv").read_text().splitlines()[1:]
    done = len(list(groupby(there, key=lambda line: line.split(",")[3])))
    for number, rows in enumerate(groups[done:], done):
        progress(number, len(groups))  # type: ignore[operator]
        time.sleep(SECONDS)
        with (target / "rows.csv").open("a") as file:
            file.writelines(rows)
    shutil.copy(source / "evaluation.json", target / "evaluation.json")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(1)
    except ConfigError as error:
        sys.exit(f"histosam: error: {error}")
