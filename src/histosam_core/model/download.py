"""Fetch a file by URL: resumed where it stopped, its hash checked before anyone uses it."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from histosam_core.errors import DownloadError, OutputWriteError
from histosam_core.progress import ProgressCallback, silent

__all__ = ["Digest", "download", "partial_path"]

CHUNK_BYTES = 2**20
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash a file must have.

    Parameters
    ----------
    algorithm
        "sha256", or "xxh128" where no sha256 is published.
    value
        In hexadecimal.
    """

    algorithm: Literal["sha256", "xxh128"]
    value: str

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` has this hash."""
        with path.open("rb") as file:
            if self.algorithm == "sha256":
                found = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                found = hashlib.file_digest(file, _xxh128).hexdigest()
        return found == self.value.lower()

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


def download(
    url: str,
    target: Path,
    *,
    digest: Digest,
    progress: ProgressCallback = silent,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Fetch `url` to `target`; nothing is at `target` until its hash is right.

    What has arrived waits in `partial_path(target)`, and the next call asks only for the rest
    (HTTP Range). When a resumed file has the wrong hash it is fetched once more from its start.

    Parameters
    ----------
    url
        http or https.
    target
        Where the file goes; a file there with the right hash is kept as it is.
    digest
        The hash it must have.
    progress
        Called with bytes done and in all.
    timeout_s
        Seconds without an answer after which the server counts as gone.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    DownloadError
        No connection, the server refused, the transfer broke off, or the hash is wrong. The
        message names the URL, where to put the file by hand, and its hash.
    OutputWriteError
        The disk is full or the folder read-only.
    """
    if target.is_file() and digest.matches(target):
        return target
    by_hand = f"download {url} by hand and put it at {target} ({digest})"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadError(f"{url} is not an http(s) address; {by_hand}")
    part = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.is_file() and part.stat().st_size > 0
        _fetch(url, part, by_hand, progress, timeout_s)
        if resumed and not digest.matches(part):
            part.unlink()
            _fetch(url, part, by_hand, progress, timeout_s)
        if not digest.matches(part):
            part.unlink()
            raise DownloadError(
                f"what {url} sent does not have the expected {digest} and was deleted; "
                f"try again, or {by_hand}"
            )
        part.replace(target)
    except DownloadError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputWriteError(
            f"cannot write {target}: {reason}; free space, or set HISTOSAM_CACHE to another folder"
        ) from error
    return target


def partial_path(target: Path) -> Path:
    """Where the bytes that have arrived wait."""
    return target.with_name(f"{target.name}.part")


def _fetch(
    url: str, part: Path, by_hand: str, progress: ProgressCallback, timeout_s: float
) -> None:
    """Append to `part` what it lacks of the file at `url`."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "histosam"})  # noqa: S310
        if have:
            request.add_header("Range", f"bytes={have}-")
        response = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return  # all of it is here already; the hash decides
        raise DownloadError(
            f"{url} answered {error.code} {error.reason}; try again later, or {by_hand}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"cannot reach {url} ({reason}); when offline, {by_hand}") from error
    with response:
        resumes = have > 0 and _resumes_at(response, have)
        done = have if resumes else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        with part.open("ab" if resumes else "wb") as file:
            while chunk := _receive(response, url, by_hand):
                file.write(chunk)
                done += len(chunk)
                progress(done, max(total or done, done), part.stem)
    if total is not None and done < total:
        raise _broke_off(url, by_hand, f"{done} of {total} bytes arrived")


def _receive(response: Any, url: str, by_hand: str) -> bytes:
    try:
        chunk: bytes = response.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _broke_off(url, by_hand, str(error) or type(error).__name__) from error
    return chunk


def _broke_off(url: str, by_hand: str, reason: str) -> DownloadError:
    return DownloadError(
        f"the transfer from {url} broke off ({reason}); call again to resume it, or {by_hand}"
    )


def _resumes_at(response: Any, have: int) -> bool:
    """Whether the server sends the rest only, from the byte that was asked for."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return (
        response.status == http.client.PARTIAL_CONTENT
        and found is not None
        and int(found.group(1)) == have
    )


def _xxh128() -> Any:
    try:
        import xxhash
    except ImportError as error:
        raise DownloadError(
            "checking this file needs the package xxhash; install it: pip install xxhash"
        ) from error
    return xxhash.xxh128()
