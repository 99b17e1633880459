"""Fetch a file by URL: resumed where it stopped, checked before anyone uses it."""

from __future__ import annotations

import errno
import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from histosam_core.errors import DownloadError, OutputWriteError
from histosam_core.file_lock import lock_file
from histosam_core.model.checkpoint.file_kind import HEAD_BYTES, file_kind, kind_of_head
from histosam_core.model.registry.digest import Digest
from histosam_core.progress import ProgressCallback, silent

__all__ = ["Digest", "download", "partial_path"]

CHUNK_BYTES = 2**20
TIMEOUT_S = 30.0

_ADVICE = {
    401: "it asks for a login",
    403: "it refuses this file, or asks for a login",
    404: "the file is not there",
    407: "the proxy asks for a login: set HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    429: "it has had too many requests; wait a few minutes",
}


@dataclass(frozen=True, slots=True)
class _Source:
    """What is fetched, and how a person does it where this program cannot."""

    url: str
    by_hand: str


@dataclass(frozen=True, slots=True)
class _Version:
    """Which version of a file has begun to arrive; its rest must be of the same."""

    url: str
    etag: str | None
    size_bytes: int | None


def download(
    url: str,
    target: Path,
    *,
    digest: Digest | None = None,
    by_hand: str | None = None,
    progress: ProgressCallback = silent,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Fetch `url` to `target`; nothing is at `target` until all of it has come and its hash fits.

    What has arrived waits in `partial_path(target)`, and the next call asks only for the rest
    (HTTP Range). When a resumed file has the wrong hash it is fetched once more from its start.
    Proxies are those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

    Parameters
    ----------
    url
        http or https.
    target
        Where the file goes; a file there with the right hash is kept as it is, as is any file but
        a web page where there is no hash.
    digest
        The hash it must have. None: no hash is known, and only a web page in the file's place is
        told.
    by_hand
        How a person gets the file where this fails, for messages. None: from `url`.
    progress
        Called with bytes done and in all; raising from it stops, and what has arrived stays.
    timeout_s
        Seconds without an answer after which the server counts as gone.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    DownloadError
        No connection, the server or a proxy refused, a web page came instead (a login page), the
        transfer broke off, the hash is wrong, or another process fetches the same file. The
        message names the URL, where to put the file by hand, and its hash.
    OutputWriteError
        The disk is full or the folder read-only.
    """
    if target.is_file() and _is_kept(target, digest):
        return target
    hash_text = f" ({digest})" if digest else ""
    source = _Source(
        url, by_hand or f"download {url} in a browser and put it at {target}{hash_text}"
    )
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadError(f"{url} is not an http(s) address; {source.by_hand}")
    part = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part, source):
            if target.is_file() and _is_kept(target, digest):
                return target  # another process has just fetched it
            _fetch_whole(source, part, digest, progress, timeout_s)
        part.replace(target)
        _version_path(part).unlink(missing_ok=True)
    except DownloadError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        kept = f"; {part.name} keeps what has come" if error.errno == errno.ENOSPC else ""
        raise OutputWriteError(
            f"cannot write {target}: {reason}{kept}; free space, or set HISTOSAM_CACHE to another "
            "folder"
        ) from error
    return target


def partial_path(target: Path) -> Path:
    """Where the bytes that have arrived wait."""
    return target.with_name(f"{target.name}.part")


def _is_kept(target: Path, digest: Digest | None) -> bool:
    return file_kind(target) != "web page" if digest is None else digest.matches(target)


@contextmanager
def _alone(part: Path, source: _Source) -> Iterator[None]:
    """Keep other processes from the same file; leave no empty one behind."""
    part.touch()
    try:
        lock = lock_file(part)
    except BlockingIOError as error:
        raise DownloadError(
            f"another process is fetching {source.url} to {part.parent}; wait until it is done"
        ) from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
        with suppress(OSError):
            if part.stat().st_size == 0:
                _version_path(part).unlink(missing_ok=True)
                part.unlink()


def _fetch_whole(
    source: _Source,
    part: Path,
    digest: Digest | None,
    progress: ProgressCallback,
    timeout_s: float,
) -> None:
    """Make `part` the whole file, with the right hash."""
    if digest is None and _version_of(part).url != source.url:
        _clear(part)  # nothing says that what is there is of this file
    resumed = part.stat().st_size > 0
    _fetch(source, part, progress, timeout_s)
    if part.stat().st_size == 0:
        raise DownloadError(f"{source.url} sent an empty file; try again, or {source.by_hand}")
    if digest is None:
        return
    if resumed and not digest.matches(part):
        _clear(part)
        _fetch(source, part, progress, timeout_s)
    if not digest.matches(part):
        _clear(part)
        raise DownloadError(
            f"what {source.url} sent does not have the expected {digest} and was deleted; "
            f"try again, or {source.by_hand}"
        )


def _fetch(source: _Source, part: Path, progress: ProgressCallback, timeout_s: float) -> None:
    """Append to `part` what it lacks of the file."""
    have = part.stat().st_size
    begun = _version_of(part)
    request = urllib.request.Request(source.url, headers={"User-Agent": "histosam"})  # noqa: S310
    if have:
        request.add_header("Range", f"bytes={have}-")
        if begun.etag and begun.url == source.url:
            request.add_header("If-Range", begun.etag)
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                if begun.size_bytes in (None, have):
                    return  # all of it is here already; the hash decides
                _clear(part)  # what was there is of another version
                _fetch(source, part, progress, timeout_s)
                return
        advice = f": {_ADVICE[error.code]}" if error.code in _ADVICE else ""
        raise DownloadError(
            f"{source.url} answered {error.code} {error.reason}{advice}; try again later, or "
            f"{source.by_hand}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(source, error) from error
    with response:
        _refuse_plain_redirect(response, source)
        is_part = response.status == http.client.PARTIAL_CONTENT
        if is_part and not have:
            raise _broke_off(source, "the server sent a part that nobody asked for")
        if is_part and not _resumes_at(response, have, begun):
            _clear(part)  # the rest of another version, or not what was asked for
            _fetch(source, part, progress, timeout_s)
            return
        resumes = is_part
        done = have if resumes else 0
        chunk = _receive(response, source)
        _refuse_pages(response, b"" if resumes else chunk, source)
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        if not resumes:
            _note_version(part, _Version(source.url, _strong_etag(response), total))
        with part.open("ab" if resumes else "wb") as file:
            while chunk:
                file.write(chunk)
                done += len(chunk)
                progress(done, max(total or done, done), part.stem)
                chunk = _receive(response, source)
    if total is not None and done < total:
        raise _broke_off(source, f"{done} of {total} bytes arrived")


def _receive(response: Any, source: _Source) -> bytes:
    try:
        chunk: bytes = response.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _broke_off(source, str(error) or type(error).__name__) from error
    return chunk


def _broke_off(source: _Source, reason: str) -> DownloadError:
    return DownloadError(
        f"the transfer from {source.url} broke off ({reason}); call again to resume it, or "
        f"{source.by_hand}"
    )


def _unreachable(source: _Source, error: Exception) -> DownloadError:
    reason = getattr(error, "reason", error)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(urlsplit(source.url).scheme)
    if isinstance(reason, ssl.SSLCertVerificationError):
        fix = (
            "behind a proxy that reads traffic, set SSL_CERT_FILE to the certificates of your "
            f"organisation, or {source.by_hand}"
        )
    elif proxy:
        fix = f"check the proxy ({_without_password(proxy)}), or {source.by_hand}"
    else:
        fix = f"when offline, {source.by_hand}; behind a proxy, set HTTPS_PROXY"
    return DownloadError(f"cannot reach {source.url} ({reason}); {fix}")


def _without_password(proxy: str) -> str:
    return re.sub(r"//[^@/]*@", "//", proxy)


def _refuse_plain_redirect(response: Any, source: _Source) -> None:
    """Refuse to go from https to http, where anybody on the way could change the file.

    Raises
    ------
    DownloadError
        The server redirected so.
    """
    if urlsplit(source.url).scheme == "https" and urlsplit(response.url).scheme != "https":
        raise DownloadError(
            f"{source.url} was redirected to {response.url}, which is not encrypted, and nothing "
            f"was kept; {source.by_hand}"
        )


def _refuse_pages(response: Any, beginning: bytes, source: _Source) -> None:
    """Refuse what is no file of weights before any of it is kept.

    Raises
    ------
    DownloadError
        It is a web page, or the pointer to a file in Git LFS.
    """
    kind = kind_of_head(beginning[:HEAD_BYTES])
    if kind in {"torch", "safetensors"}:
        return  # whatever type a server thinks it has
    is_html = response.headers.get_content_type() in {"text/html", "application/xhtml+xml"}
    if kind == "pointer":
        raise DownloadError(
            f"{source.url} only points to a file in Git LFS, and nothing was kept; {source.by_hand}"
        )
    if kind == "web page" or is_html:
        host = urlsplit(response.url).hostname
        elsewhere = "" if host == urlsplit(source.url).hostname else f" from {host}"
        raise DownloadError(
            f"{source.url} sent a web page{elsewhere}, probably a login page, and nothing was "
            f"kept; {source.by_hand}"
        )


def _resumes_at(response: Any, have: int, begun: _Version) -> bool:
    """Whether a part that the server sends begins at the byte asked for, in the same file."""
    sent = re.match(r"bytes (\d+)-\d*/(\d+|\*)", response.headers.get("Content-Range", ""))
    if sent is None or int(sent[1]) != have:
        return False
    return begun.size_bytes is None or sent[2] in ("*", str(begun.size_bytes))


def _strong_etag(response: Any) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else None


def _version_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _version_of(part: Path) -> _Version:
    """What was noted of the file that `part` began with; all empty where nothing was."""
    try:
        facts = json.loads(_version_path(part).read_text(encoding="utf-8"))
        return _Version(facts["url"], facts["etag"], facts["size_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return _Version("", None, None)


def _note_version(part: Path, version: _Version) -> None:
    facts = {"url": version.url, "etag": version.etag, "size_bytes": version.size_bytes}
    _version_path(part).write_text(json.dumps(facts), encoding="utf-8")


def _clear(part: Path) -> None:
    """Start `part` anew; the file stays there, since it is locked."""
    part.open("wb").close()
    _version_path(part).unlink(missing_ok=True)
