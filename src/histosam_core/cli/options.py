"""Options that several commands share, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DeviceOption",
    "EarlyFeaturesOption",
    "LabelOption",
    "ReadersOption",
    "SeedOption",
    "SlideMppOption",
    "SplitFileOption",
]

SplitFileOption = Annotated[
    Path | None, typer.Option(help="CSV with the columns slide,split; instead of --splits.")
]
LabelOption = Annotated[
    list[str] | None, typer.Option(help="A class that counts as tumour; may be repeated.")
]
SlideMppOption = Annotated[
    float | None, typer.Option(help="Micrometres per level-0 pixel, where slides state none.")
]
EarlyFeaturesOption = Annotated[
    bool | None,
    typer.Option(
        "--early-features/--no-early-features",
        help="Hand the encoder's early features to the refining decoder (default: in histosam, and "
        "where the model has them).",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Of every draw (default: 0).")]
ReadersOption = Annotated[
    int | None, typer.Option(help="Threads that read patches ahead (default: 0).")
]
DeviceOption = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps (default: auto).")
]
