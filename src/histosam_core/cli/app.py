"""The `histosam` command's root: finds the verb, turns errors into a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError
from rich.markup import escape

from histosam_core.console import err
from histosam_core.errors import (
    ConfigError,
    HistoSamError,
    OutputExistsError,
    SlideNotFoundError,
    UnknownModelError,
)
from histosam_core.version import __version__

CALL_WAS_WRONG = (ConfigError, OutputExistsError, SlideNotFoundError, UnknownModelError)
VERBS = {
    "demo": "The whole path in one command, offline, on synthetic slides.",
    "info": "Show size, resolution, levels and origin of a slide.",
    "prepare": "Cut annotated slides into patches, split by slide.",
    "finetune": "Fine-tune a model on patches.",
    "evaluate": "Count the clicks that models need, on patches or on whole slides.",
    "improve": "Fine-tune a model on slides that you outlined; keep it if it is proven better.",
    "segment": "Outline one object by clicks and write it as GeoJSON.",
    "replay": "Repeat a session, with the same model or another one, and compare.",
    "models": "List the models, fetch the weights of one, or name one of your own.",
    "reproduce": "Reproduce a paper's tables and compare them with the printed ones.",
}


def command(verb: str = "") -> App:
    """Return the command; of its verbs the one that is named is loaded, the others when called."""
    app = App(
        name="histosam",
        help="Outline tumour regions on whole slides with a few clicks; fine-tune and compare "
        "models.",
        version=f"histosam {__version__}",
        help_format="markdown",
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, line in VERBS.items():
        # A verb's own help is its docstring's, which is not read for the list of all.
        app.command(
            f"histosam_core.cli.{name}:{name}", name=name, help=None if name == verb else line
        )
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit 0 (done), 1 (the run failed) or 2 (the call was wrong)."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    verb = given[0] if given else ""
    try:
        if verb and verb not in VERBS and not verb.startswith("-"):
            raise ConfigError(f"no verb is called {verb!r}; there are {', '.join(VERBS)}")
        command(verb)(given)
    except HistoSamError as error:
        if os.environ.get("HISTOSAM_DEBUG"):
            raise
        _end(str(error), 2 if isinstance(error, CALL_WAS_WRONG) else 1)
    except CycloptsError as error:
        _end(f"{_words(error, given)} (see histosam {verb} --help)", 2)
    except KeyboardInterrupt:
        err.print("histosam: stopped; no half-written file is left")
        sys.exit(1)


def _words(error: CycloptsError, given: Sequence[str]) -> str:
    argument = error.argument
    if isinstance(error, MissingArgumentError) and argument and not {*argument.names} & {*given}:
        is_option = argument.index is None
        return f"give {argument.name if is_option else argument.name.lstrip('-').upper()}"
    if isinstance(error, UnusedCliTokensError):
        return f"no option takes {' '.join(error.unused_tokens or ())}"
    return " ".join(str(error).split())


def _end(text: str, code: int) -> None:
    err.print(f"[bold red]histosam: error:[/] {escape(text)}", markup=True)
    sys.exit(code)
