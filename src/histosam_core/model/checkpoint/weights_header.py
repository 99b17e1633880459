"""What a file of weights says of itself before it is loaded; nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from histosam_core.errors import CheckpointError

FileKind = Literal["empty", "safetensors", "torch", "web page", "pointer", "other"]

HEAD_BYTES = 512
"""How much of a file's beginning `kind_of_head` looks at."""

_ZIP = b"PK\x03\x04"
_PICKLE_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_POINTER = b"version https://git-lfs"
_MOST_HEADER_BYTES = 16 * 2**20
_NO_WEIGHTS = {
    "empty": "is empty; copy or download it again",
    "web page": "is a web page, not a checkpoint, probably a login page; download the file itself "
    "in a browser and put it there",
    "pointer": "only points to a file in Git LFS, it is not a checkpoint; fetch the file itself "
    "(git lfs pull)",
}


def kind_of_head(head: bytes) -> FileKind:
    """Tell what a file is by its beginning: the first `HEAD_BYTES`, or all of a shorter file.

    "torch" is what ``torch.save`` writes or wrote before version 1.6; "web page" any HTML or XML,
    such as a login page or a store's error; "pointer" what stands for a large file in a Git
    repository; "other" anything else, a damaged file of weights included.
    """
    if not head:
        return "empty"
    # A safetensors file starts with the length of its JSON header, then the header.
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith((_ZIP, *_PICKLE_PROTOCOLS)):
        return "torch"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return "web page"
    return "pointer" if text.startswith(_POINTER) else "other"


def file_kind(path: Path) -> FileKind:
    """Tell what the file at `path` is."""
    with path.open("rb") as file:
        return kind_of_head(file.read(HEAD_BYTES))


def check_weights_file(path: Path) -> FileKind:
    """Return what the file at `path` is; CheckpointError where it plainly holds no weights."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint file at {path}; check the path")
    try:
        kind = file_kind(path)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path} ({error.strerror}); check the path and its permissions"
        ) from error
    if kind in _NO_WEIGHTS:
        raise CheckpointError(f"{path} {_NO_WEIGHTS[kind]}")
    return kind


def checkpoint_facts(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return what a checkpoint of this program says of itself, by its header alone.

    ``name``, ``architecture``, ``decoders``, ``scenario``, ``geometry`` and the rest of
    `CheckpointInfo`'s fields as JSON values; empty for a file that has no such header.
    """
    with suppress(OSError, ValueError, AttributeError, TypeError), Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 0 < length <= _MOST_HEADER_BYTES:
            metadata = json.loads(file.read(length)).get("__metadata__", {})
            if "histosam_format" in metadata:
                return {key: json.loads(value) for key, value in metadata.items()}
    return {}


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
