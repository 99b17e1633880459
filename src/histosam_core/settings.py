"""One declaration of a setting, from which everything that shows or reads it is made.

The settings of a job are a class of `JobSettings`, and each is declared once, by `setting`::

    class TrainConfig(JobSettings):
        epochs: int = setting(30, "Epochs", group="Learning", ge=1)
        "Passes over the training patches."

From that come its check, the JSON file beside the results, the option ``--epochs`` of the command,
and the row of the form in napari: each of them reads `faces`. Nothing else names the setting, so
one that is added here appears everywhere.

The annotation says what a value is: bool, int, float, str, Path, a Literal, a tuple of these, or
one of them or None, where None means that it is left out. Bounds are pydantic's: ``ge``, ``gt``,
``le``, ``lt``. A dataclass as annotation is a group, whose members have names such as
"augment.stain". What depends on several settings, a class says in `JobSettings.check`; what a
setting becomes where others decide its default, in `JobSettings.complete`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError
from histosam_core.setting_faces import (
    Face,
    PathKind,
    bounds_of,
    faces,
    kind_in_words,
    without_none,
)

__all__ = ["Face", "JobSettings", "Problems", "faces", "like", "read_settings", "setting"]

_LEFT_OUT: Any = object()


def setting(
    default: Any,
    caption: str,
    *,
    help: str | None = None,  # noqa: A002 - the word that everybody looks for
    unit: str = "",
    suggestions: Iterable[Any] = (),
    default_text: str = "",
    advanced: bool = False,
    group: str = "",
    option: str | tuple[str, ...] = "",
    path: PathKind = "",
    only: str = "",
    form: str = "",
    **bounds: Any,
) -> Any:
    """Declare a setting of a `JobSettings`.

    Parameters
    ----------
    default
        Left out: the setting is required. None for a type that does not take it: other settings
        decide, see `JobSettings.complete`.
    caption, help, unit, suggestions, default_text, advanced, group, option, path, only, form
        What people read of it; see `Face`. The text below the declaration is the help, a Literal's
        values are the choices, a group holds until another one is named, and an option, one or
        several, is called like the setting unless `option` says otherwise.
    bounds
        ``ge``, ``gt``, ``le``, ``lt``.
    """
    about: dict[str, Any] = {
        "unit": unit,
        "suggestions": tuple(suggestions),
        "default_text": default_text,
        "advanced": advanced,
        "group": group,
        "option": option,
        "path": path,
        "only": only,
        "form": form,
    }
    return Field(default, title=caption, description=help, json_schema_extra=about, **bounds)


def like(settings: type[JobSettings], name: str, default: Any = _LEFT_OUT, **changes: Any) -> Any:
    """Declare a setting as another class does, but for its default and for `changes`."""
    (face,) = (face for face in faces(settings) if face.name == name)
    declared = settings.model_fields[name]
    about: Any = declared.json_schema_extra
    words = {**about, "caption": face.caption, "help": face.help, "group": face.group}
    default = declared.default if default is _LEFT_OUT else default
    return setting(default, **{**words, **bounds_of(declared), **changes})


class Problems:
    """Collects what is wrong with settings, so that all of it is said at once."""

    def __init__(self, settings: type[JobSettings]) -> None:
        self.texts: list[str] = []
        self.names: set[str] = set()
        """Settings that something is wrong with by themselves."""
        self._faces = {face.name: face for face in faces(settings)}
        self.checked: JobSettings | None = None

    def require(self, name: str, holds: bool, rule: str) -> None:
        """Say what a setting must be where it is not; one known to be wrong is left alone."""
        if not holds and name not in self.names:
            self.texts.append(f"{name} is {getattr(self.checked, name)!r}; it must be {rule}")

    def add(self, text: str, *names: str) -> None:
        """Say a text, unless one of the settings that it is about is known to be wrong."""
        if not self.names & set(names):
            self.texts.append(text)

    def _take(self, error: ValidationError, values: Mapping[str, Any]) -> None:
        for one in error.errors(include_url=False, include_context=False):
            name = str(one["loc"][0])
            if name in self.names:
                continue
            if one["type"] == "extra_forbidden":
                close = get_close_matches(name, self._faces, 1)
                hint = f"; did you mean {close[0]}?" if close else ""
                self.texts.append(f"no setting is called {name!r}{hint}")
                continue
            self.names.add(name)
            if one["type"] == "missing":
                self.texts.append(f"{name} is missing")
                continue
            of_type = one["type"].endswith(("_type", "_parsing"))
            rule = self._faces[name].rule(of_type=of_type)
            self.texts.append(f"{name} is {values[name]!r}; it must be {rule}")


class JobSettings(BaseModel):
    """Base of the settings of a job; frozen, and checked as a whole when it is made.

    Settings are given by name, the first one by position too. Which ones were given, and not left
    to their defaults, `model_fields_set` says. A group may be a mapping, a path a text, a tuple a
    list, and one path may stand where several may be.

    Raises
    ------
    ConfigError
        One or more settings are unknown, missing or wrong; the message lists all of them.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    title: ClassVar[str] = "settings"
    """What the message of an error begins with."""
    free_on_resume: ClassVar[frozenset[str]] = frozenset({"out", "device"})
    """Settings that may differ when work goes on: they decide where and how, not what."""
    has_absolute_paths: ClassVar[bool] = False
    """Whether the JSON file holds absolute paths, so that it can be read from any folder."""

    def __init__(self, first: Any = _LEFT_OUT, /, **values: Any) -> None:
        kind = type(self)
        if first is not _LEFT_OUT:
            values[next(iter(kind.model_fields))] = first
        wrong = Problems(kind)
        values = _typed(kind, kind.tidy(values), wrong)
        checked: JobSettings | None = self
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong._take(error, values)
            checked = kind._of_good(values, wrong.names)
        if checked is not None:
            checked.complete()
            wrong.checked = checked
            checked.check(wrong)
        if wrong.texts:
            raise ConfigError(f"{kind.title}: " + "; ".join(wrong.texts))

    @classmethod
    def tidy(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Bring what people write into the declared types; override where more is accepted."""
        return values

    def complete(self) -> None:
        """Decide, by `decide`, the settings that were left to others; override."""

    def check(self, wrong: Problems) -> None:
        """Add to `wrong` what does not fit between settings; each fits by itself. Override."""

    def decide(self, name: str, value: Any) -> None:
        """Set what was left out, in `complete`; it does not count as given."""
        self.__dict__[name] = value

    def with_(self, **changes: Any) -> Self:
        """Return settings of which some are changed, checked like any others."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {name: self._plain(getattr(self, name)) for name in type(self).model_fields}

    def check_same(
        self, earlier: Mapping[str, Any], *, otherwise: str = "choose another folder"
    ) -> None:
        """Make sure that work goes on with the settings that it began with.

        Parameters
        ----------
        earlier
            Those, as `as_dict` returned them; one that was not there yet had its default.
        otherwise
            What else a user can do, for the message.

        Raises
        ------
        ConfigError
            Settings differ that are not `free_on_resume`.
        """
        now = self.as_dict()
        free = {name: getattr(self, name) for name in self.free_on_resume}
        then = type(self).from_dict({**earlier, **free}).as_dict()
        changed = [name for name in now if now[name] != then[name]]
        if changed:
            listed = "; ".join(f"{n} was {then[n]!r}, now {now[n]!r}" for n in changed)
            raise ConfigError(
                f"resumed work keeps its settings ({listed}); leave them as they were, or "
                f"{otherwise}"
            )

    def _plain(self, value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if isinstance(value, Mapping):
            return {str(name): self._plain(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(inner) for inner in value]
        if isinstance(value, os.PathLike):
            path = Path(value)
            return str(path.absolute() if self.has_absolute_paths else path)
        return value

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as JSON."""
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, such as `as_dict` returns; see the class for what it raises."""
        return cls(**values)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read settings from a JSON file that `save` wrote, or one written by hand.

        Raises
        ------
        ConfigError
            The file is missing or not JSON, or settings are wrong.
        """
        return cls.from_dict(read_settings(path))

    @classmethod
    def _of_good(cls, values: Mapping[str, Any], wrong: set[str]) -> Self | None:
        """Settings without the wrong ones, to check the others; None where one is required."""
        good = {n: v for n, v in values.items() if n in cls.model_fields and n not in wrong}
        if any(one.is_required() and name not in good for name, one in cls.model_fields.items()):
            return None
        return cls.model_construct(**good)


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file of settings without checking them.

    Raises
    ------
    ConfigError
        The file is missing, or does not hold a JSON object.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no settings file {path}; check the path") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a JSON file of settings ({error}); fix it") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a JSON object: settings by name")
    return values


def _typed(kind: type[JobSettings], values: Mapping[str, Any], wrong: Problems) -> dict[str, Any]:
    """Values in the types of Python: JSON has no paths, tuples and groups."""
    typed: dict[str, Any] = {}
    for name, value in values.items():
        declared = kind.model_fields.get(name)
        if declared is None:
            typed[name] = value
            continue
        expected, is_optional = without_none(declared.annotation)
        if value is None and declared.default is None and not is_optional:
            continue  # left to other settings
        if dataclasses.is_dataclass(expected) and isinstance(value, Mapping):
            value = _group(name, expected, value, wrong)
        elif expected is dict or get_origin(expected) is dict:
            value = dict(value) if isinstance(value, Mapping) else value
        elif value is not None:
            is_path = expected is Path or Path in get_args(expected)
            is_one = isinstance(value, str | os.PathLike)
            if get_origin(expected) is tuple and get_args(expected)[-1] is ... and is_one:
                value = (value,)
            value = _item(value, is_path)
        typed[name] = value
    return typed


def _item(value: Any, is_path: bool) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_item(one, is_path) for one in value)
    return Path(value) if is_path and isinstance(value, str | os.PathLike) else value


def _group(name: str, kind: Any, value: Mapping[str, Any], wrong: Problems) -> Any:
    """A group from a mapping; a member that is wrong keeps its default."""
    hints = get_type_hints(kind)
    good = {}
    for member, given in value.items():
        if member not in hints:
            wrong.texts.append(f"{name} has no setting {member!r}")
        elif type(given) is not hints[member]:
            wrong.texts.append(f"{name}.{member} must be {kind_in_words(hints[member])}")
        else:
            good[member] = given
    return kind(**good)
