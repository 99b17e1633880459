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
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from histosam_core.errors import DownloadError, OutputWriteError
from histosam_core.file_lock import lock_file
from histosam_core.model.checkpoint.weights_header import HEAD_BYTES, file_kind, kind_of_head
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.model.registry.registry import Digest

CHUNK_BYTES = 2**20
TIMEOUT_S = 30.0

_ADVICE = {
    401: "it asks for a login",
    403: "it refuses this file, or asks for a login",
    404: "the file is not there",
    407: "the proxy asks for a login: set HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    429: "it has had too many requests; wait a few minutes",
}


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
        Where the file goes, and what is returned; a file there with the right hash is kept as it
        is, as is any file but a web page where there is no hash.
    digest
        The hash it must have. None: no hash is known, and only a web page in the file's place is
        refused.
    by_hand
        How a person gets the file where this fails, for messages. None: from `url`.
    progress
        Called with bytes done and in all; raising from it stops, and what has arrived stays.
    timeout_s
        Seconds without an answer after which the server counts as gone.

    Raises
    ------
    DownloadError
        No connection, the server or a proxy refused, a web page came instead (a login page), the
        transfer broke off, the hash is wrong, or another process fetches the same file. The
        message names the URL, where to put the file by hand, and its hash.
    OutputWriteError
        The disk is full or the folder read-only.
    """

    def is_kept() -> bool:
        if not target.is_file():
            return False
        return file_kind(target) != "web page" if digest is None else digest.matches(target)

    if is_kept():
        return target
    hash_text = f" ({digest})" if digest else ""
    by_hand = by_hand or f"download {url} in a browser and put it at {target}{hash_text}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadError(f"{url} is not an http(s) address; {by_hand}")
    transfer = _Transfer(url, partial_path(target), by_hand, progress, timeout_s)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with transfer.alone():
            if is_kept():
                return target  # another process has just fetched it
            transfer.fetch_whole(digest)
        transfer.part.replace(target)
        transfer.note.unlink(missing_ok=True)
    except DownloadError:
        raise
    except OSError as error:
        kept = f"; {transfer.part.name} keeps what has come" if error.errno == errno.ENOSPC else ""
        raise OutputWriteError(
            f"cannot write {target}: {error.strerror or error}{kept}; free space, or set "
            "HISTOSAM_CACHE to another folder"
        ) from error
    return target


def partial_path(target: Path) -> Path:
    """Where the bytes that have arrived wait."""
    return target.with_name(f"{target.name}.part")


class _Transfer:
    """One file on its way; a note beside it says which version of the file has begun to arrive."""

    def __init__(
        self, url: str, part: Path, by_hand: str, progress: ProgressCallback, timeout_s: float
    ) -> None:
        self.url, self.part, self.by_hand = url, part, by_hand
        self.note = part.with_name(f"{part.name}.json")
        self._progress, self._timeout_s = progress, timeout_s

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the same file; leave no empty one behind."""
        self.part.touch()
        try:
            lock = lock_file(self.part)
        except BlockingIOError as error:
            raise DownloadError(
                f"another process is fetching {self.url} to {self.part.parent}; wait until it is "
                "done"
            ) from error
        try:
            yield
        finally:
            if lock is not None:
                lock.release()
            with suppress(OSError):
                if self.part.stat().st_size == 0:
                    self.note.unlink(missing_ok=True)
                    self.part.unlink()

    def fetch_whole(self, digest: Digest | None) -> None:
        """Make `part` the whole file, with the right hash."""
        if digest is None and self._begun()["url"] != self.url:
            self._clear()  # nothing says that what is there is of this file
        is_resumed = self._have() > 0
        self._fetch()
        if not self._have():
            raise self._error("sent an empty file; try again, or")
        if digest is None or digest.matches(self.part):
            return
        self._clear()
        if is_resumed:
            self._fetch()
            if digest.matches(self.part):
                return
            self._clear()
        raise DownloadError(
            f"what {self.url} sent does not have the expected {digest} and was deleted; try "
            f"again, or {self.by_hand}"
        )

    def _fetch(self) -> None:
        """Append to `part` what it lacks of the file."""
        have, begun = self._have(), self._begun()
        request = urllib.request.Request(self.url, headers={"User-Agent": "histosam"})  # noqa: S310
        if have:
            request.add_header("Range", f"bytes={have}-")
            if begun["etag"] and begun["url"] == self.url:
                request.add_header("If-Range", begun["etag"])
        try:
            response = urllib.request.urlopen(request, timeout=self._timeout_s)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                is_beyond = error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have
                if is_beyond and begun["size_bytes"] in (None, have):
                    return  # all of it is here already; the hash decides
                if is_beyond:
                    self._fetch_anew()
                    return
            advice = f": {_ADVICE[error.code]}" if error.code in _ADVICE else ""
            raise self._error(
                f"answered {error.code} {error.reason}{advice}; try again later, or"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        with response:
            self._refuse_plain_redirect(response)
            if response.status != http.client.PARTIAL_CONTENT:
                have = 0
            elif not have:
                raise self._broke_off("the server sent a part that nobody asked for")
            elif not _resumes_at(response, have, begun["size_bytes"]):
                self._fetch_anew()
                return
            self._receive_all(response, have)

    def _receive_all(self, response: Any, have: int) -> None:
        chunk = self._receive(response)
        self._refuse_pages(response, b"" if have else chunk)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if not have:
            etag = response.headers.get("ETag", "")
            facts = {
                "url": self.url,
                "etag": etag if etag.startswith('"') else None,  # a weak one is no proof
                "size_bytes": total,
            }
            self.note.write_text(json.dumps(facts), encoding="utf-8")
        done = have
        with self.part.open("ab" if have else "wb") as file:
            while chunk:
                file.write(chunk)
                done += len(chunk)
                self._progress(done, max(total or done, done), self.part.stem)
                chunk = self._receive(response)
        if total is not None and done < total:
            raise self._broke_off(f"{done} of {total} bytes arrived")

    def _receive(self, response: Any) -> bytes:
        try:
            chunk: bytes = response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._broke_off(str(error) or type(error).__name__) from error
        return chunk

    def _have(self) -> int:
        return self.part.stat().st_size

    def _begun(self) -> dict[str, Any]:
        """What was noted of the file that `part` began with."""
        try:
            facts = json.loads(self.note.read_text(encoding="utf-8"))
            return {name: facts[name] for name in ("url", "etag", "size_bytes")}
        except (OSError, ValueError, KeyError, TypeError):
            return {"url": "", "etag": None, "size_bytes": None}

    def _clear(self) -> None:
        """Start `part` anew; the file stays there, since it is locked."""
        self.part.open("wb").close()
        self.note.unlink(missing_ok=True)

    def _fetch_anew(self) -> None:
        """What is there is of another version, or the server does not send what was asked for."""
        self._clear()
        self._fetch()

    def _refuse_plain_redirect(self, response: Any) -> None:
        """Refuse to go from https to http, where anybody on the way could change the file."""
        if urlsplit(self.url).scheme == "https" and urlsplit(response.url).scheme != "https":
            raise self._error(
                f"was redirected to {response.url}, which is not encrypted, and nothing was kept;"
            )

    def _refuse_pages(self, response: Any, beginning: bytes) -> None:
        """Refuse what is no file of weights before any of it is kept."""
        kind = kind_of_head(beginning[:HEAD_BYTES])
        if kind in {"torch", "safetensors"}:
            return  # whatever type a server thinks it has
        if kind == "pointer":
            raise self._error("only points to a file in Git LFS, and nothing was kept;")
        is_html = response.headers.get_content_type() in {"text/html", "application/xhtml+xml"}
        if kind == "web page" or is_html:
            host = urlsplit(response.url).hostname
            elsewhere = "" if host == urlsplit(self.url).hostname else f" from {host}"
            raise self._error(
                f"sent a web page{elsewhere}, probably a login page, and nothing was kept;"
            )

    def _error(self, what: str) -> DownloadError:
        return DownloadError(f"{self.url} {what} {self.by_hand}")

    def _broke_off(self, reason: str) -> DownloadError:
        return DownloadError(
            f"the transfer from {self.url} broke off ({reason}); call again to resume it, or "
            f"{self.by_hand}"
        )

    def _unreachable(self, error: Exception) -> DownloadError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        proxy = urllib.request.getproxies().get(urlsplit(self.url).scheme)
        if isinstance(reason, ssl.SSLCertVerificationError):
            fix = (
                "behind a proxy that reads traffic, set SSL_CERT_FILE to the certificates of your "
                f"organisation, or {self.by_hand}"
            )
        elif proxy:
            without_password = re.sub(r"//[^@/]*@", "//", proxy)
            fix = f"check the proxy ({without_password}), or {self.by_hand}"
        else:
            fix = f"when offline, {self.by_hand}; behind a proxy, set HTTPS_PROXY"
        return DownloadError(f"cannot reach {self.url} ({reason}); {fix}")


def _resumes_at(response: Any, have: int, size_bytes: int | None) -> bool:
    """Whether a part that the server sends begins at the byte asked for, in the same file."""
    sent = re.match(r"bytes (\d+)-\d*/(\d+|\*)", response.headers.get("Content-Range", ""))
    if sent is None or int(sent[1]) != have:
        return False
    return size_bytes is None or sent[2] in ("*", str(size_bytes))
