"""The command's root: quick start, exit codes, one-line errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import command
import pytest

from histosam_core import __version__, errors
from histosam_core.cli import app as app_module
from histosam_core.cli.app import CALL_WAS_WRONG, VERBS, main


def histosam(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "histosam_core", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_verb() -> None:
    done = command.histosam("--help")
    assert done.exit_code == 0
    for verb in VERBS:
        assert verb in done.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str) -> None:
    done = command.histosam(verb, "--help")
    assert done.exit_code == 0
    assert f"histosam {verb}" in done.output


@pytest.mark.parametrize("job", ["prepare", "finetune", "improve", "reproduce"])
def test_help_says_what_a_job_needs(job: str) -> None:
    (row,) = (
        row for row in command.histosam(job, "--help").output.splitlines() if "--out PATH" in row
    )
    assert "(required)" in row


@pytest.mark.parametrize(
    ("call", "needed"),
    [(["info"], "FILE"), (["segment", "slide.svs", "--click", "5,5"], "--out")],
)
def test_a_call_that_lacks_something_says_what(
    call: list[str], needed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(call)
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"histosam: error: give {needed} (see histosam {call[0]} --help)"


def test_a_call_with_too_much_says_what_is_too_much(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["finetune", "--crop-size", "64", "65"])
    assert "no option takes 65 (see histosam finetune --help)" in capsys.readouterr().err


@pytest.mark.parametrize("job", ["prepare", "finetune", "evaluate", "improve", "reproduce kim2023"])
def test_every_job_starts_from_a_file_of_settings(job: str, tmp_path: Path) -> None:
    done = command.histosam(*job.split(), "--config", tmp_path / "none.json")
    assert done.exit_code == 2
    assert "no settings file" in str(done.exception)
    (tmp_path / "run.json").write_text('{"out": "run", "seed": -1, "colour": "red"}')
    needed = {
        "prepare": ("slides",), "evaluate": ("--model", "histosam-tiny", "--patches", "a"),
        "improve": ("--slides", "a"), "reproduce kim2023": ("--paip", "a"),
    }.get(job, ())  # fmt: skip
    done = command.histosam(*job.split(), "--config", tmp_path / "run.json", *needed)
    for problem in ("seed is -1; it must be at least 0", "no setting is called 'colour'"):
        assert problem in str(done.exception)


def test_version_is_that_of_the_package() -> None:
    done = histosam("--version")
    assert done.stdout == f"histosam {__version__}\n"


def test_a_wrong_call_exits_with_2() -> None:
    assert histosam("segmentise").returncode == 2
    assert histosam("info").returncode == 2


def test_a_missing_file_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = histosam("info", str(tmp_path / "none.svs"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("histosam: error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(arguments: object) -> None:
        raise error

    monkeypatch.delenv("HISTOSAM_DEBUG", raising=False)
    monkeypatch.setattr(app_module, "command", lambda verb: run)


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_exit_code_tells_a_wrong_call_from_a_failed_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = getattr(errors, name)
    fail_with(monkeypatch, error("no such thing; name another"))
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == (2 if issubclass(error, CALL_WAS_WRONG) else 1)
    assert capsys.readouterr().err == "histosam: error: no such thing; name another\n"


def test_brackets_in_a_message_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, errors.AnnotationError("tried a[_mask|_tumor].(xml|tif); rename it"))
    with pytest.raises(SystemExit):
        main([])
    assert "tried a[_mask|_tumor].(xml|tif)" in capsys.readouterr().err


def test_debug_lets_the_error_through(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, errors.SlideFormatError("empty"))
    monkeypatch.setenv("HISTOSAM_DEBUG", "1")
    with pytest.raises(errors.SlideFormatError):
        main([])


def test_ctrl_c_is_one_line_and_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "histosam: stopped; no half-written file is left\n"
