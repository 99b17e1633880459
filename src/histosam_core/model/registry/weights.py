"""How the weights of a model known by name come to this machine."""

from __future__ import annotations

import os
from pathlib import Path

from histosam_core.errors import CheckpointError, DownloadError
from histosam_core.model.checkpoint.header import file_kind
from histosam_core.model.registry.digest import Digest, note_hash, noted_hash, noted_hash_path
from histosam_core.model.registry.download import download
from histosam_core.model.registry.licence import require_licence
from histosam_core.model.registry.own_models import find_spec
from histosam_core.model.registry.registry import ModelSpec, weights_path
from histosam_core.progress import ProgressCallback, silent

__all__ = ["MIRROR_VARIABLE", "fetch_weights", "note_weights", "noted_digest"]

MIRROR_VARIABLE = "HISTOSAM_MIRROR"
"""A base URL that has the files of weights by their names, to be asked in place of their own."""


def fetch_weights(
    name: str,
    *,
    mirror: str | None = None,
    accept_licence: bool = False,
    progress: ProgressCallback = silent,
) -> Path:
    """Return the path of a named model's weights, downloading them where they are not here yet.

    Parameters
    ----------
    name
        From `list_models`.
    mirror
        A base URL that has the files by their names. None: $HISTOSAM_MIRROR, else their own.
    accept_licence
        The user accepts what the licence forbids; noted for the next time.
    progress
        Called with bytes done and in all while downloading.

    Raises
    ------
    UnknownModelError
        No such name.
    LicenceError
        The licence forbids something that nobody has accepted.
    DownloadError
        See `download`; a person must fetch the file; or it is not the one that came at first.
    OutputWriteError
        The disk is full or the folder read-only.
    CheckpointError
        The bundled weights are not in this installation.
    """
    spec = find_spec(name)
    path = weights_path(spec)
    if spec.is_bundled:
        if not path.is_file():
            raise CheckpointError(
                f"the bundled weights are not at {path}; reinstall napari-histosam"
            )
        return path
    require_licence(spec, accept=accept_licence)
    expected = spec.digest or noted_hash(path)
    if path.is_file() and _is_usable(spec, path, expected):
        return path
    mirror = mirror or os.environ.get(MIRROR_VARIABLE) or None
    url = f"{mirror.rstrip('/')}/{spec.file_name}" if mirror else spec.url
    by_hand = _by_hand(spec)
    if url is None:
        raise DownloadError(
            f"{name} cannot be fetched by this program; {by_hand}, or name a mirror that "
            f"has it ({MIRROR_VARIABLE})"
        )
    if path.is_file():
        by_hand += "; the file that is there now is not the published one"
    download(url, path, digest=expected, by_hand=by_hand, progress=progress)
    if expected is None:
        note_hash(path, Digest.of(path).value, url)
    return path


def note_weights(spec: ModelSpec, sha256: str) -> None:
    """Note the hash of a file that a person put there, once it has served as a model.

    Nothing is noted where a hash is published, or noted already.
    """
    path = weights_path(spec)
    if not spec.is_bundled and spec.digest is None and noted_hash(path) is None:
        note_hash(path, sha256, "put there by hand")


def noted_digest(spec: ModelSpec) -> Digest | None:
    """Return the hash that a model's file had when it first came; None: nothing is noted."""
    return None if spec.is_bundled else noted_hash(weights_path(spec))


def _is_usable(spec: ModelSpec, path: Path, expected: Digest | None) -> bool:
    """Whether the file that is there may be used; what can be downloaded again need not be.

    Raises
    ------
    DownloadError
        It may not, and a person must see to it.
    """
    if expected is not None and expected.matches(path):
        return True
    if file_kind(path) == "web page":
        if spec.url is not None:
            return False
        raise DownloadError(
            f"{path} is a web page, probably a login page, not the weights of {spec.name}; "
            f"{_by_hand(spec)}"
        )
    if expected is None or spec.digest is not None:
        return expected is None
    raise DownloadError(
        f"{path} has changed: it had {expected} when it first came; delete it and fetch it again, "
        f"or, where you trust the new file, delete {noted_hash_path(path).name} beside it"
    )


def _by_hand(spec: ModelSpec) -> str:
    """How a person gets the file, as the end of a message."""
    path = weights_path(spec)
    if spec.url is not None:
        digest = f" ({spec.digest})" if spec.digest else ""
        return f"download {spec.url} in a browser and put it at {path}{digest}"
    return f"in a browser, download {spec.page_item} from {spec.page} and put it at {path}"
