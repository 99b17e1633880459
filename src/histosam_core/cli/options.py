"""Options of the jobs: made from their settings, those that all share, and how a job is run."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, get_args, get_origin

from cyclopts import Group, Parameter

from histosam_core import console
from histosam_core.errors import ConfigError, OutputExistsError
from histosam_core.job_events import JobEvents, job_events
from histosam_core.settings import Face, JobSettings, faces, read_settings

Given = Mapping[str, Any]
"""Settings that were given as options, by name; "NAME.MEMBER" for a member of a group."""
NOTHING: Given = {}
Settings = TypeVar("Settings", bound=JobSettings)
Result = TypeVar("Result")

_HEADINGS = ("Data", "Slides", "Patches", "Model", "Learning", "Clicks", "Validation", "Proof")


@cache
def _group(title: str) -> Group:
    """A heading of the help, in their order; one that is not among them comes after."""
    order = _HEADINGS.index(title) if title in _HEADINGS else len(_HEADINGS)
    return Group(title, sort_key=order)


_COMMAND = Group("The command", sort_key=1000)
FLAG = Parameter(group=_COMMAND, show_default=False)
"""An option that decides what the command does, not what comes out."""
ResumeOption = Annotated[bool, FLAG, Parameter(help="Go on with the work in the folder.")]
OverwriteOption = Annotated[bool, FLAG, Parameter(help="Replace what is there.")]
JsonOption = Annotated[bool, FLAG, Parameter(name="--json", help="Print the result as JSON.")]
SetOption = Annotated[
    tuple[str, ...],
    FLAG,
    Parameter(
        name="--set",
        help="Any setting by its name, NAME=VALUE; may be repeated. See docs/finetuning.md.",
    ),
]
DeviceOption = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1 or mps.")]
MagnificationOption = Annotated[
    float | None,
    Parameter(group=_group("Patches"), help="The resolution as an objective's power: 5 is 2.0 um."),
]


@Parameter(name="*", group=_COMMAND, show_default=False)
@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options of every job, for people and for programs.

    Parameters
    ----------
    config
        JSON file of settings; options here override it.
    json
        Print the result as JSON.
    events
        Print JSON lines for a program instead of a progress bar and a table.
    control
        Text file that is watched while it runs: run, pause or stop.
    """

    config: Path | None = None
    json: bool = False
    events: bool = False
    control: Path | None = None


USUAL = JobOptions()


def options_of(
    settings: type[JobSettings],
    *,
    leave_out: Collection[str] = (),
    below: str = "",
    usual: Mapping[str, Any] = NOTHING,
) -> dict[str, Any]:
    """Return an option for each setting, by its name, but for those left out.

    Where they are given in a mapping among other settings, they are named `below` that. Where the
    command has other defaults than the class, `usual` has them, or words for them, by name.
    """
    return {
        f"{below}.{face.name}" if below else face.name: _option(face, usual.get(face.name))
        for face in faces(settings)
        if face.name.partition(".")[0] not in leave_out
    }


def takes(options: dict[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a verb take options, those that are given as the mapping `given`."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        kind = TypedDict("kind", options, total=False)  # type: ignore[misc]
        verb.__annotations__["given"] = Annotated[kind, Parameter(name="*")]
        return verb

    return decorate


def _option(face: Face, usual: Any) -> Any:
    kind: Any = str if face.form else face.type
    is_list = get_origin(kind) is tuple and get_args(kind)[-1] is ...
    if get_origin(kind) is dict:
        kind = tuple[str, ...]
    default = face.default if usual is None else usual
    text = face.default_text if usual is None else ""
    is_shown = default is not None and default is not False and default != ()
    if not text and is_shown and not isinstance(default, Mapping):
        text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    facts = [face.unit] * bool(face.unit) + [f"default: {text}"] * bool(text)
    facts += ["required"] * (face.is_required and usual is None)
    return Annotated[
        kind,
        Parameter(
            name=face.options,
            negative=tuple(o.replace("--", "--no-", 1) for o in face.options) * (kind is bool),
            group=_group(face.group),
            consume_multiple=is_list and kind != tuple[str, ...],
            help=face.help + (f" ({'; '.join(facts)})" if facts else ""),
        ),
    ]


def gather(
    settings: type[Settings],
    given: Given,
    *,
    config: Path | None = None,
    extra: Iterable[str] = (),
    usual: Given = NOTHING,
) -> Settings:
    """Merge settings: the usual ones, a file's, those of `--set` (NAME=VALUE each), then options.

    Raises
    ------
    ConfigError
        A value is malformed, or settings are missing or wrong.
    """
    values = {**usual, **(read_settings(config) if config is not None else {})}
    _parse(extra, values)
    by_name = {face.name: face for face in faces(settings)}
    mappings = {name for name, face in by_name.items() if get_origin(face.type) is dict}
    for name in given.keys() & mappings:
        values[name] = dict(values.get(name) or {})
        _parse(given[name], values[name], by_name[name].options[0])
    for name in given.keys() - mappings:
        _put(values, name, given[name])
    missing = [f for f in by_name.values() if f.is_required and values.get(f.name) is None]
    if missing:
        raise ConfigError(f"give {' and '.join(f.options[0] for f in missing)}, or --config FILE")
    return settings.from_dict(values)


def _parse(texts: Iterable[str], values: dict[str, Any], option: str = "--set") -> None:
    """Put each NAME=VALUE among `values`; VALUE is JSON, or a text as it stands."""
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            form = "NAME=VALUE, such as validation_clicks=10"
            if option != "--set":
                form = "FAMILY=NAME, such as ritm=ritm_h18s"
            raise ConfigError(f"{option} {text}: write {form}")
        with suppress(ValueError):
            _put(values, name, json.loads(value))
            continue
        _put(values, name, value)


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Set a value; NAME.MEMBER within the mapping NAME."""
    group, _, member = name.partition(".")
    if not member:
        values[group] = value
        return
    inner = values.get(group)
    values[group] = dict(inner) if isinstance(inner, Mapping) else {}
    _put(values[group], member, value)


def config_of(call: JobOptions, given: Given, file: str, what: str) -> Path:
    """Return the file with the settings of the work that goes on: the one given, or its own."""
    config = call.config or Path(given.get("out", "")) / file
    if call.config is None and not config.is_file():
        raise ConfigError(f"{config.parent} holds no {what} to resume; start it anew")
    return config


def with_magnification(given: Given, magnification: float | None) -> Given:
    """Return the settings with an objective's power as um per pixel; ConfigError for both."""
    from histosam_core.dataset.settings import mpp_of_magnification

    if magnification is None:
        return given
    if "mpp" in given:
        raise ConfigError("give either --mpp or --magnification, not both")
    return {**given, "mpp": mpp_of_magnification(magnification)}


def check_output(path: Path | None, option: str, *suffixes: str, overwrite: bool = True) -> None:
    """Raise ConfigError or OutputExistsError unless a file, if any is asked for, may be written."""
    if path is not None and path.suffix.lower() not in suffixes:
        raise ConfigError(f"{option} {path} must end in {' or '.join(suffixes)}")
    if path is not None and path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; choose another name or pass --overwrite")


def run_job(
    call: JobOptions,
    work: Callable[[JobEvents], Result],
    *,
    stopped: str,
    facts: Callable[[Result], Any],
    show: Callable[[Result], None],
    speaks: bool = True,
) -> Result:
    """Run a job, and say what came of it: as a table, as JSON, or as events alone.

    KeyboardInterrupt stops the work; the message `stopped` says how to go on, and the command ends
    with code 1. `facts` makes JSON of a result, `show` prints it for people; of processes that work
    together only one `speaks`.
    """
    if not speaks:
        call = USUAL
    try:
        with job_events(call.events, call.control) as job:
            result = work(job)
    except KeyboardInterrupt:
        if speaks:
            console.err.print(stopped, markup=False)
        raise SystemExit(1) from None
    if speaks and not call.events:
        console.print_json(facts(result)) if call.json else show(result)
    return result
