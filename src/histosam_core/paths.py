"""Where a user's own files, and what can be fetched or made again, are kept."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return the folder of a user's own files: $HISTOSAM_DATA, else the platform's data folder."""
    stated = os.environ.get("HISTOSAM_DATA")
    if stated:
        return Path(stated).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("histosam", appauthor=False))


def cache_folder() -> Path:
    """Return the folder of weights and embeddings: $HISTOSAM_CACHE, else the platform's cache."""
    stated = os.environ.get("HISTOSAM_CACHE")
    if stated:
        return Path(stated).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("histosam"))
