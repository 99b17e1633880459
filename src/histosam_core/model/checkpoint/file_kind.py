"""What a file that should hold weights is, told by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["HEAD_BYTES", "FileKind", "file_kind", "kind_of_head"]

FileKind = Literal["empty", "safetensors", "torch", "web page", "pointer", "other"]

HEAD_BYTES = 512
"""How much of a file's beginning `kind_of_head` looks at."""

_ZIP = b"PK\x03\x04"
_PICKLE_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_POINTER = b"version https://git-lfs"


def kind_of_head(head: bytes) -> FileKind:
    """Tell what a file is by its beginning.

    Parameters
    ----------
    head
        The first `HEAD_BYTES`, or all of a shorter file.

    Returns
    -------
    str
        "torch" is what ``torch.save`` writes or wrote before version 1.6; "web page" any HTML or
        XML, such as a login page or a store's error; "pointer" what stands for a large file in a
        Git repository; "other" anything else, a damaged file of weights included.
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
