"""Where a user's own files are kept."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_folder"]


def data_folder() -> Path:
    """Return the folder of a user's own files: $HISTOSAM_DATA, else the platform's data folder."""
    stated = os.environ.get("HISTOSAM_DATA")
    if stated:
        return Path(stated).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("histosam", appauthor=False))
