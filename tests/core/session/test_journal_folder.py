"""Where journals go, who may write them, and which are offered."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import shapely

from histosam_core import file_lock
from histosam_core.annotation import AnnotatedRegion
from histosam_core.errors import JournalError
from histosam_core.session import AcceptedObject
from histosam_core.session.journal import (
    JournalWriter,
    find_journals,
    journal_folder,
    new_journal,
    read_journal,
    resume_journal,
)
from histosam_core.session.operations import Accept, to_json


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("HISTOSAM_DATA", str(folder))
    return folder


@pytest.fixture
def slide(tmp_path: Path) -> Any:
    """What is used of a slide: its path and its fingerprints."""
    path = tmp_path / "slides" / "scan.svs"
    path.parent.mkdir()
    path.write_bytes(b"II")
    return SimpleNamespace(path=path, fingerprint="ab" * 16, content_fingerprint="12" * 16)


def begin(writer: JournalWriter, slide: Any, model: str = "tiny") -> JournalWriter:
    writer.write(
        "begin",
        slide={
            "path": str(slide.path.absolute()),
            "fingerprint": slide.fingerprint,
            "content": slide.content_fingerprint,
        },
        model={"name": model},
        geometry={"mpp": 1.0, "patch_size_px": 128},
        threshold=0.5,
        objects=[],
    )
    return writer


def click(writer: JournalWriter) -> JournalWriter:
    writer.write("click", xy=[1.0, 2.0], is_positive=True)
    return writer


def accept(writer: JournalWriter, x: float) -> JournalWriter:
    accepted = AcceptedObject.imported(AnnotatedRegion(shapely.box(x, 0, x + 9, 9)), 0.5)
    writer.write(**to_json(Accept(object=accepted)))
    return writer


def test_journals_lie_beside_the_slide(slide: Any) -> None:
    assert journal_folder(slide.path) == slide.path.parent / "scan.svs.histosam"
    with new_journal(slide) as writer:
        assert writer.path.parent == journal_folder(slide.path)
        assert writer.path.suffix == ".jsonl"


def test_a_folder_that_cannot_be_written_sends_them_to_the_users_data(
    slide: Any, data: Path, monkeypatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with new_journal(slide) as writer:
        assert writer.path.is_relative_to(data)
        assert slide.fingerprint[:16] in writer.path.parent.name
        click(begin(writer, slide))
    assert list(slide.path.parent.iterdir()) == [slide.path]
    (found,) = find_journals(slide)
    assert found.path == writer.path


def test_a_file_in_the_folders_place_sends_them_to_the_users_data(slide: Any, data: Path) -> None:
    slide.path.with_name("scan.svs.histosam").write_text("in the way")
    with new_journal(slide) as writer:
        assert writer.path.is_relative_to(data)


def test_a_folder_that_turns_out_to_be_read_only_sends_them_there_too(
    slide: Any, data: Path, monkeypatch
) -> None:
    mkdir = Path.mkdir

    def refused(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.name == "scan.svs.histosam":
            raise OSError(30, "Read-only file system")
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refused)
    with new_journal(slide) as writer:
        assert writer.path.is_relative_to(data)


def test_a_full_disk_sends_them_there_too_and_keeps_no_empty_file(
    slide: Any, data: Path, monkeypatch
) -> None:
    fsync = os.fsync

    def full(fd: int) -> None:
        if "scan.svs.histosam" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(28, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full)
    with new_journal(slide) as writer:
        assert writer.path.is_relative_to(data)
        assert writer.path.stat().st_size == 0
    assert list(journal_folder(slide.path).iterdir()) == []


def test_with_no_place_at_all_the_message_says_what_to_set(
    slide: Any, tmp_path, monkeypatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("HISTOSAM_DATA", str(blocked))
    slide.path.with_name("scan.svs.histosam").write_text("in the way")
    with pytest.raises(JournalError, match="HISTOSAM_DATA"):
        new_journal(slide)


def test_an_image_without_a_file_has_its_journals_in_the_users_data(data: Path) -> None:
    image = SimpleNamespace(
        path=Path("Image [0]/x"), fingerprint="cd" * 16, content_fingerprint="cd" * 16
    )
    other = SimpleNamespace(
        path=Path("Image [0]/x"), fingerprint="ef" * 16, content_fingerprint="ef" * 16
    )
    with new_journal(image) as writer:
        click(begin(writer, image))
        assert writer.path.parent.parent == data / "journals"
    assert [one.path for one in find_journals(image)] == [writer.path]
    assert find_journals(other) == []


def test_two_sessions_on_a_slide_write_two_files(slide: Any) -> None:
    with new_journal(slide) as one, new_journal(slide) as two:
        assert one.path != two.path
        click(begin(one, slide))
        click(click(begin(two, slide)))
        assert {(f.path, f.n_clicks, f.is_locked) for f in find_journals(slide)} == {
            (one.path, 1, True),
            (two.path, 2, True),
        }


def test_nothing_but_the_journal_is_left_behind(slide: Any) -> None:
    with new_journal(slide) as writer:
        click(begin(writer, slide))
        find_journals(slide)
    assert list(journal_folder(slide.path).iterdir()) == [writer.path]


def test_a_new_journal_is_in_its_folder_after_a_power_cut(slide: Any, monkeypatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    with new_journal(slide) as writer:
        folder = writer.path.parent
        assert {str(folder), str(folder.parent)} <= set(synced)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_that_knows_no_locks_keeps_journals_all_the_same(
    slide: Any, monkeypatch, code: int
) -> None:
    def refused(file: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(file_lock, "_lock", refused)
    with new_journal(slide) as writer:
        click(begin(writer, slide))
        assert writer.path.parent == journal_folder(slide.path)
        with resume_journal(writer.path) as other:
            assert click(other).n_events == 3
        with pytest.raises(JournalError, match="another window has written"):
            click(writer)
    (found,) = find_journals(slide)
    assert (found.n_clicks, found.is_locked) == (2, False)


def test_of_two_processes_that_continue_a_journal_at_once_one_does(slide: Any) -> None:
    with new_journal(slide) as writer:
        click(begin(writer, slide))
    program = (
        "import sys\n"
        "from histosam_core.session.journal import resume_journal\n"
        "from histosam_core.errors import JournalError\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    writer = resume_journal(sys.argv[1])\n"
        "    writer.write('undo', undoes='click')\n"
        "    print('mine', flush=True)\n"
        "except JournalError:\n"
        "    print('locked', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", program, str(writer.path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        lines = [(one.stdin, one.stdout) for one in both]
        assert [out.readline() for _, out in lines if out] == ["ready\n"] * 2
        for write, _ in lines:
            assert write is not None
            write.write("\n")
            write.flush()
        assert {out.readline() for _, out in lines if out} == {"mine\n", "locked\n"}
    assert len(read_journal(writer.path).events) == 3


def test_a_journal_in_use_cannot_be_continued(slide: Any) -> None:
    with new_journal(slide) as writer:
        click(begin(writer, slide))
        with pytest.raises(JournalError, match=r"another window.*close it there"):
            resume_journal(writer.path)
    with resume_journal(writer.path) as again:
        assert again.write("undo", undoes="click") == 3


def test_another_process_holds_its_journal_until_it_dies(slide: Any, data: Path) -> None:
    program = (
        "import sys, pathlib, types\n"
        "from histosam_core.session.journal import new_journal\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "slide = types.SimpleNamespace(path=path, fingerprint='ab' * 16)\n"
        "writer = new_journal(slide)\n"
        "print(writer.path, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(slide.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        path = Path(other.stdout.readline().strip())
        with pytest.raises(JournalError, match="another window"):
            resume_journal(path)
        with new_journal(slide) as mine:
            assert mine.path != path
        other.kill()
    resume_journal(path).close()


def test_a_journal_that_is_not_there_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="find_journals lists"):
        resume_journal(tmp_path / "none.jsonl")


def test_summaries_tell_what_a_session_holds(slide: Any) -> None:
    with new_journal(slide) as writer:
        click(click(begin(writer, slide, "a model")))
        accept(writer, 0)
        click(accept(click(writer), 20))
        writer.write("undo", undoes="click")
        click(click(writer))
    (found,) = find_journals(slide)
    assert (found.n_objects, found.n_open_prompts, found.n_clicks) == (2, 2, 6)
    assert (found.model, found.is_locked, found.note) == ("a model", False, "")
    assert found.changed.utcoffset() is not None


def test_the_latest_session_comes_first_and_empty_ones_not_at_all(slide: Any) -> None:
    writers = [new_journal(slide) for _ in range(4)]
    for number, writer in enumerate(writers[:3]):
        writer._now = lambda n=number: datetime(2026, 1, 1 + n, tzinfo=UTC)
        begin(writer, slide)
    for writer in (writers[2], writers[0]):
        click(writer)
    for writer in writers:
        writer.close()
    assert [f.path for f in find_journals(slide)] == [writers[2].path, writers[0].path]


def test_a_slide_that_was_replaced_is_noted(slide: Any) -> None:
    with new_journal(slide) as writer:
        click(begin(writer, slide))
    slide.fingerprint = slide.content_fingerprint = "99" * 16
    (found,) = find_journals(slide)
    assert "has changed" in found.note


def test_a_copy_of_the_slide_finds_its_journals(slide: Any, tmp_path: Path) -> None:
    with new_journal(slide) as writer:
        click(begin(writer, slide))
    moved = tmp_path / "other disk"
    shutil.move(slide.path.parent, moved)
    path = moved / "scan.svs"
    copy = SimpleNamespace(
        path=path, fingerprint="99" * 16, content_fingerprint=slide.content_fingerprint
    )
    (found,) = find_journals(copy)
    assert found.path.parent == moved / "scan.svs.histosam"
    assert "copied" in found.note
    assert "changed" not in found.note


def test_a_copy_of_the_slide_finds_its_journals_in_the_users_data(
    slide: Any, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with new_journal(slide) as writer:
        click(begin(writer, slide))
    path = tmp_path / "elsewhere" / "scan.svs"
    path.parent.mkdir()
    shutil.copy(slide.path, path)
    copy = SimpleNamespace(
        path=path, fingerprint="99" * 16, content_fingerprint=slide.content_fingerprint
    )
    assert [one.path for one in find_journals(copy)] == [writer.path]


def test_journals_of_other_slides_in_the_folder_are_not_listed(slide: Any) -> None:
    other = SimpleNamespace(
        path=slide.path.with_name("scan.svs2"), fingerprint="cd" * 16, content_fingerprint="cd"
    )
    other.path.write_bytes(b"II")
    with new_journal(slide) as one, new_journal(other) as two:
        click(begin(one, slide))
        click(begin(two, other))
    assert [found.path for found in find_journals(slide)] == [one.path]
    assert [found.path for found in find_journals(other)] == [two.path]


def test_a_journal_of_another_slide_of_that_name_is_not_listed(
    slide: Any, tmp_path: Path, monkeypatch
) -> None:
    other = tmp_path / "others" / "scan.svs"
    other.parent.mkdir()
    other.write_bytes(b"MM")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with new_journal(slide) as writer:
        click(begin(writer, slide))
    assert (
        find_journals(
            SimpleNamespace(path=other, fingerprint="cd" * 16, content_fingerprint="34" * 16)
        )
        == []
    )


def test_damaged_and_foreign_files_do_not_hide_the_others(slide: Any) -> None:
    with new_journal(slide) as writer:
        click(begin(writer, slide))
    folder = writer.path.parent
    (folder / "foreign.jsonl").write_text('{"n":1,"t":"","op":"click"}\n')
    (folder / "bare.jsonl").write_text('{"n":1,"t":"","op":"begin","objects":[]}\n')
    (folder / "newer.jsonl").write_text('{"n":1,"t":"","op":"begin","format":99}\n')
    with writer.path.open("ab") as file:
        file.write(b'{"n":3,"t":"2026')
    (found,) = find_journals(slide)
    assert "cut off" in found.note
