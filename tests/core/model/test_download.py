"""Downloads: resumed, checked, refused; what people are told when they fail."""

from __future__ import annotations

import errno
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import xxhash

from histosam_core.errors import DownloadError, OutputWriteError
from histosam_core.file_lock import lock_file
from histosam_core.model.registry import download as module
from histosam_core.model.registry.download import download, partial_path
from histosam_core.model.registry.registry import Digest

from .weights_server import CONTENT, LOGIN, Server

DIGEST = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())


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


def test_without_a_known_hash_a_file_comes_whole_and_is_kept(server: Server, target: Path) -> None:
    download(server.url, target)
    assert target.read_bytes() == CONTENT
    server.content = b"another"
    download(server.url, target)
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize("etag", [None, '"v1"'])
def test_without_a_known_hash_a_transfer_is_resumed_too(
    server: Server, target: Path, etag: str | None
) -> None:
    server.etag, server.send_at_most = etag, 1_000_000
    with pytest.raises(DownloadError, match="call again to resume it"):
        download(server.url, target)
    server.send_at_most = None
    download(server.url, target)
    assert server.asked == [None, "bytes=1000000-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("etags", [(None, None), ('"v1"', '"v2"')])
def test_the_rest_of_another_version_is_never_appended(
    server: Server, target: Path, etags: tuple[str | None, str | None]
) -> None:
    server.etag, server.send_at_most = etags[0], 1_000_000
    with pytest.raises(DownloadError):
        download(server.url, target)
    server.etag, server.send_at_most = etags[1], None
    server.content = CONTENT[::-1] + b"longer"
    download(server.url, target)
    assert target.read_bytes() == server.content


def test_a_shorter_version_than_what_has_come_starts_anew(server: Server, target: Path) -> None:
    server.send_at_most = 1_000_000
    with pytest.raises(DownloadError):
        download(server.url, target)
    server.send_at_most, server.content = None, CONTENT[:500]
    download(server.url, target)
    assert server.asked == [None, "bytes=1000000-", None]
    assert target.read_bytes() == CONTENT[:500]


def test_what_has_come_from_elsewhere_is_not_gone_on_with(server: Server, target: Path) -> None:
    server.send_at_most = 1_000_000
    with pytest.raises(DownloadError):
        download(server.url, target)
    server.send_at_most = None
    download(server.url.replace("weights", "other"), target)
    assert server.asked == [None, None]
    assert target.read_bytes() == CONTENT


def test_a_file_of_unstated_size_arrives(server: Server, target: Path) -> None:
    server.states_length = False
    download(server.url, target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("digest", [None, DIGEST])
@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_web_page_is_refused_and_nothing_is_kept(
    server: Server, target: Path, digest: Digest | None, kind: str
) -> None:
    target.parent.mkdir()
    target.write_bytes(b"what was there before")
    if digest is None:
        target.unlink()
    server.content, server.content_type = LOGIN, kind
    with pytest.raises(DownloadError, match="sent a web page, probably a login page") as raised:
        download(server.url, target, digest=digest)
    assert str(target) in str(raised.value)
    assert not partial_path(target).exists()
    if digest is not None:
        assert target.read_bytes() == b"what was there before"


@pytest.mark.parametrize("digest", [None, Digest("sha256", "0" * 64)])
def test_an_empty_file_is_refused_and_nothing_is_kept(
    server: Server, target: Path, digest: Digest | None
) -> None:
    server.content = b""
    with pytest.raises(DownloadError, match="sent an empty file; try again"):
        download(server.url, target, digest=digest)
    assert list(target.parent.iterdir()) == []


def test_a_redirect_to_a_login_page_is_told_with_its_host(server: Server, target: Path) -> None:
    port = server.url.split(":")[2].split("/")[0]
    server.redirect = f"http://localhost:{port}/login"
    server.pages["/login"] = LOGIN
    with pytest.raises(DownloadError, match="sent a web page from localhost, probably a login"):
        download(server.url, target)
    assert list(target.parent.iterdir()) == []


def test_a_login_page_in_the_middle_keeps_what_has_come(server: Server, target: Path) -> None:
    server.send_at_most = 1_000_000
    with pytest.raises(DownloadError):
        download(server.url, target, digest=DIGEST)
    server.send_at_most, server.redirect = None, "/login"
    server.pages["/login"] = LOGIN
    with pytest.raises(DownloadError, match="login page"):
        download(server.url, target, digest=DIGEST)
    assert partial_path(target).read_bytes() == CONTENT[:1_000_000]
    server.redirect = None
    download(server.url, target, digest=DIGEST)
    assert server.asked[-1] == "bytes=1000000-"
    assert target.read_bytes() == CONTENT


def test_weights_that_a_server_takes_for_a_page_are_weights(server: Server, target: Path) -> None:
    server.content, server.content_type = b"PK\x03\x04" + CONTENT, "text/html"
    download(server.url, target)
    assert target.read_bytes() == server.content


def test_a_pointer_to_large_file_storage_is_refused(server: Server, target: Path) -> None:
    server.content = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    with pytest.raises(DownloadError, match="Git LFS"):
        download(server.url, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "asks for a login"), (403, "refuses"), (407, "HTTPS_PROXY="),
                           (429, "too many"), (503, "try again later")]
)  # fmt: skip
def test_refusals_come_with_advice(server: Server, target: Path, status: int, advice: str) -> None:
    server.status = status
    with pytest.raises(DownloadError, match=advice) as raised:
        download(server.url, target, by_hand="ask Ann for it")
    assert "ask Ann for it" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(target.parent.iterdir()) == []


def test_an_unreachable_proxy_is_named_without_its_password(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", f"http://ann:secret@{proxy}")
    with pytest.raises(DownloadError, match=f"check the proxy \\(http://{proxy}\\)") as raised:
        download("http://weights.invalid/w.pth", target)
    assert "secret" not in str(raised.value)


def test_a_full_disk_is_told_and_what_has_come_stays(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 500_000)
    room = [1_200_000]
    real_open = Path.open

    def open_on_a_small_disk(self: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
        file = real_open(self, mode, *args, **more)
        if "b" not in mode or mode == "rb":
            return file
        real_write = file.write

        class Small:
            def __enter__(self) -> Small:
                return self

            def __exit__(self, *error: object) -> None:
                file.close()

            def close(self) -> None:
                file.close()

            def write(self, data: bytes) -> int:
                room[0] -= len(data)
                if room[0] < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return real_write(data)

        return Small()

    with monkeypatch.context() as patched:
        patched.setattr("histosam_core.model.registry.download.lock_file", lambda _: None)
        patched.setattr(Path, "open", open_on_a_small_disk)
        with pytest.raises(OutputWriteError, match=r"No space left.*HISTOSAM_CACHE"):
            download(server.url, target, digest=DIGEST)
    assert not target.exists()
    assert partial_path(target).read_bytes() == CONTENT[:1_000_000]
    download(server.url, target, digest=DIGEST)
    assert server.asked == [None, "bytes=1000000-"]


def test_two_processes_do_not_fetch_one_file_at_once(server: Server, target: Path) -> None:
    target.parent.mkdir()
    partial_path(target).touch()
    lock = lock_file(partial_path(target))
    assert lock is not None
    with pytest.raises(DownloadError, match="another process is fetching"):
        download(server.url, target, digest=DIGEST)
    lock.release()
    download(server.url, target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


def test_a_note_that_cannot_be_read_costs_no_more_than_a_new_start(
    server: Server, target: Path
) -> None:
    target.parent.mkdir()
    partial_path(target).write_bytes(CONTENT[:5000])
    Path(f"{partial_path(target)}.json").write_text(json.dumps(["not", "ours"]))
    download(server.url, target)
    assert server.asked == [None]
    assert target.read_bytes() == CONTENT
