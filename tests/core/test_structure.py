"""The house's own rules: no import circles, small rooms, one name for one thing."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
MOST_FILES = 16
SHARED_NAMES = {
    # One thing in each family of models, job or dock, which the folder names.
    "model", "network", "settings", "run", "choices", "controller", "engine", "scene",
    "setup_panel", "widget",
}  # fmt: skip


def modules() -> dict[str, Path]:
    """Dotted name -> file, of both packages; a package's name stands for its `__init__`."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Modules of ours that a file imports anywhere: at its top, in functions, for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            here = ".".join(path.relative_to(SRC).parts[:-1]) if node.level else None
            module = ".".join(filter(None, (here, node.module)))
            for alias in node.names:
                name = f"{module}.{alias.name}"
                if name in known or module in known:
                    yield name if name in known else module


def test_no_module_imports_itself_through_others() -> None:
    known = modules()
    graph = {name: set(imported(path, known)) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle, types counted: {' -> '.join(reversed(error.args[1]))}")


def test_no_room_is_crowded() -> None:
    rooms = Counter(path.parent for path in modules().values() if path.name != "__init__.py")
    crowded = {str(room.relative_to(SRC)): n for room, n in rooms.items() if n > MOST_FILES}
    assert not crowded


def test_files_of_one_name_hold_one_kind_of_thing() -> None:
    homes = defaultdict(list)
    for name, path in modules().items():
        if path.stem not in SHARED_NAMES | {"__init__"} and path.parent.name != "cli":
            homes[path.stem].append(name)
    assert not {stem: names for stem, names in homes.items() if len(names) > 1}


def test_the_architecture_page_names_files_that_there_are() -> None:
    page = (SRC.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    there = {path.name for path in SRC.parent.rglob("*.py") if ".venv" not in path.parts}
    named = set(re.findall(r"[a-z_0-9]+\.py\b", page))
    assert named - there == set()
