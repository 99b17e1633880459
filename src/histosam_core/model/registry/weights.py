"""How the weights of a model known by name come to this machine, and what must be accepted first.

Where no hash is published, the sha256 of the file that came first is noted in a small JSON file
beside it, and the file is refused when it changes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from histosam_core.atomic import new_file
from histosam_core.errors import CheckpointError, DownloadError, LicenceError, OutputWriteError
from histosam_core.model.checkpoint.weights_header import file_kind
from histosam_core.model.registry import registry
from histosam_core.model.registry.download import download
from histosam_core.model.registry.own_models import find_spec
from histosam_core.model.registry.registry import Digest, ModelSpec, weights_path
from histosam_core.paths import data_folder
from histosam_core.progress import ProgressCallback, silent

MIRROR_VARIABLE = "HISTOSAM_MIRROR"
"""A base URL that has the files of weights by their names, to be asked in place of their own."""
ACCEPT_VARIABLE = "HISTOSAM_ACCEPT_LICENCE"
"""Names of models, with commas between them, whose licences the user accepts."""


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
    UnknownModelError, LicenceError
        No such name; the licence forbids something that nobody has accepted.
    DownloadError, OutputWriteError
        See `download`; a person must fetch the file; or it is not the one that came at first.
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
    expected = spec.digest or _noted_hash(path)
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
        _note_hash(path, Digest.of(path).value, url)
    return path


def note_weights(spec: ModelSpec, sha256: str) -> None:
    """Note the hash of a file that a person put there, once it has served as a model.

    Nothing is noted where a hash is published, or noted already.
    """
    path = weights_path(spec)
    if not spec.is_bundled and spec.digest is None and _noted_hash(path) is None:
        _note_hash(path, sha256, "put there by hand")


def noted_digest(spec: ModelSpec) -> Digest | None:
    """Return the hash that a model's file had when it first came; None: nothing is noted."""
    return None if spec.is_bundled else _noted_hash(weights_path(spec))


def noted_hash_path(path: Path) -> Path:
    """Where the hash of the file at `path` is noted."""
    return path.with_name(f"{path.name}.sha256.json")


def _noted_hash(path: Path) -> Digest | None:
    note = noted_hash_path(path)
    try:
        return Digest("sha256", str(json.loads(note.read_text(encoding="utf-8"))["sha256"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"{note}, which notes the sha256 of {path.name}, cannot be read; delete it if you "
            "trust the file beside it"
        ) from error


def _note_hash(path: Path, sha256: str, source: str) -> None:
    """Note the sha256 of a file that came for the first time; not in a folder that is read-only."""
    facts = {
        "file": path.name,
        "sha256": sha256,
        "size_bytes": path.stat().st_size,
        "source": source,
        "noted": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with suppress(OutputWriteError), new_file(noted_hash_path(path)) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _is_usable(spec: ModelSpec, path: Path, expected: Digest | None) -> bool:
    """Whether the file that is there may be used; refuse what a person must see to."""
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


def licence_to_confirm(name: str) -> str | None:
    """Return what a person must accept before a model's first use, in a line with the address.

    None where there is nothing to accept, as for models that are not in `list_models`, or where it
    was accepted before.
    """
    spec = registry.MODELS.get(name)
    return None if spec is None or not spec.terms or _is_accepted(spec) else _text(spec)


def accept_licence(name: str) -> None:
    """Note that the user accepts a model's licence; once and for all."""
    spec = find_spec(name)
    facts = {
        "model": spec.name,
        "licence": spec.licence,
        "terms": spec.terms,
        "url": spec.terms_url,
        "accepted": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with new_file(_acceptance(spec)) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def require_licence(spec: ModelSpec, *, accept: bool = False) -> None:
    """Raise LicenceError unless a model's licence is accepted, or forbids nothing.

    With `accept` the caller accepts it for the user, which is noted.
    """
    if not spec.terms or _is_accepted(spec):
        return
    if accept:
        with suppress(OutputWriteError):  # it holds for this call all the same
            accept_licence(spec.name)
        return
    raise LicenceError(
        f"{_text(spec)}; to accept that: histosam models --accept {spec.name}, or "
        f"load_model({spec.name!r}, accept_licence=True), or {ACCEPT_VARIABLE}={spec.name}"
    )


def _text(spec: ModelSpec) -> str:
    return f"{spec.name}: {spec.terms} ({spec.terms_url})"


def _is_accepted(spec: ModelSpec) -> bool:
    names = os.environ.get(ACCEPT_VARIABLE, "").split(",")
    if spec.name in {name.strip() for name in names}:
        return True
    try:
        noted = json.loads(_acceptance(spec).read_text(encoding="utf-8"))
        return bool(noted["licence"] == spec.licence)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _acceptance(spec: ModelSpec) -> Path:
    return data_folder() / "licences" / f"{spec.name}.json"
