from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import xxhash

from histosam_core.errors import DownloadError, OutputWriteError
from histosam_core.model import download as module
from histosam_core.model.download import Digest, download, partial_path

CONTENT = bytes(range(256)) * 12_000
DIGEST = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())


@dataclass
class Server:
    """What the test's server does, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    status: int = 200
    supports_range: bool = True
    send_at_most: int | None = None
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    behaviour = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            behaviour.asked.append(asked)
            if behaviour.status != 200:
                self.send_error(behaviour.status)
                return
            body, start = behaviour.content, 0
            if asked and behaviour.supports_range:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            body = body[start:]
            self.wfile.write(body[: behaviour.send_at_most])

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        behaviour.url = f"http://127.0.0.1:{http.server_port}/weights.pth"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield behaviour
        http.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.pth"


def test_file_arrives_whole_and_nothing_else_stays(server: Server, target: Path) -> None:
    assert download(server.url, target, digest=DIGEST) == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["weights.pth"]


def test_xxh128_is_checked_where_no_sha256_is_published(server: Server, target: Path) -> None:
    right = Digest("xxh128", xxhash.xxh128(CONTENT).hexdigest())
    download(server.url, target, digest=right)
    target.unlink()
    with pytest.raises(DownloadError, match="xxh128 " + "0" * 32):
        download(server.url, target, digest=Digest("xxh128", "0" * 32))


def test_file_with_the_right_hash_is_not_fetched_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    download(server.url, target, digest=DIGEST)
    assert server.asked == []


def test_damaged_file_is_fetched_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    download(server.url, target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


def test_wrong_hash_leaves_nothing_and_names_the_expected_one(server: Server, target: Path) -> None:
    server.content = CONTENT + b"!"
    with pytest.raises(DownloadError, match=DIGEST.value):
        download(server.url, target, digest=DIGEST)
    assert list(target.parent.iterdir()) == []


def test_transfer_that_breaks_off_is_resumed_by_the_next_call(server: Server, target: Path) -> None:
    server.send_at_most = 1_000_000
    with pytest.raises(DownloadError, match=f"1000000 of {len(CONTENT)} bytes"):
        download(server.url, target, digest=DIGEST)
    assert not target.exists()
    assert partial_path(target).read_bytes() == CONTENT[:1_000_000]
    server.send_at_most = None
    download(server.url, target, digest=DIGEST)
    assert server.asked == [None, "bytes=1000000-"]
    assert target.read_bytes() == CONTENT


def test_server_without_ranges_sends_the_file_from_its_start(server: Server, target: Path) -> None:
    server.supports_range = False
    target.parent.mkdir()
    partial_path(target).write_bytes(CONTENT[:5000])
    download(server.url, target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


def test_partial_file_of_something_else_is_thrown_away(server: Server, target: Path) -> None:
    target.parent.mkdir()
    partial_path(target).write_bytes(b"an older release" * 100)
    download(server.url, target, digest=DIGEST)
    assert server.asked == ["bytes=1600-", None]
    assert target.read_bytes() == CONTENT


def test_partial_file_that_is_whole_needs_no_more_bytes(server: Server, target: Path) -> None:
    target.parent.mkdir()
    partial_path(target).write_bytes(CONTENT)
    download(server.url, target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


def test_missing_page_is_reported_with_its_status(server: Server, target: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match="answered 404 Not Found"):
        download(server.url, target, digest=DIGEST)


def test_offline_error_says_url_place_and_hash(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/weights.pth"
    with pytest.raises(DownloadError) as raised:
        download(url, target, digest=DIGEST)
    message = str(raised.value)
    assert "\n" not in message
    for part in (url, str(target), DIGEST.value):
        assert part in message


def test_other_schemes_are_refused(tmp_path: Path, target: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="not an http"):
        download(secret.as_uri(), target, digest=DIGEST)


def test_progress_never_falls_and_ends_at_the_size(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 500_000)
    target.parent.mkdir()
    partial_path(target).write_bytes(CONTENT[:700_000])
    seen: list[tuple[int, int]] = []
    download(
        server.url,
        target,
        digest=DIGEST,
        progress=lambda done, total, _: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[0][0] > 700_000
    assert {total for _, total in seen} == {len(CONTENT)}
    assert seen[-1][0] == len(CONTENT)


def test_cancelling_keeps_what_has_arrived(server: Server, target: Path) -> None:
    def cancel(done: int, total: int, message: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, target, digest=DIGEST, progress=cancel)
    assert not target.exists()
    assert 0 < partial_path(target).stat().st_size < len(CONTENT)
    download(server.url, target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


def test_folder_that_cannot_be_made_is_an_output_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(OutputWriteError, match="HISTOSAM_CACHE"):
        download(server.url, tmp_path / "taken" / "weights.pth", digest=DIGEST)
