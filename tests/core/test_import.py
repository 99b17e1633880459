"""Start-up: importing the package, and the rooms without torch, is quick and loads little."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ROOMS_WITHOUT_TORCH = ("errors", "geometry", "clicks", "metrics", "slide", "annotation")
HEAVY = ("torch", "torchvision", "segment_anything", "napari", "qtpy", "magicgui", "matplotlib")

PROBE = """
import json, sys, time
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
print(json.dumps({{"seconds": seconds, "loaded": sorted(sys.modules)}}))
"""


def probe(module: str) -> tuple[float, set[str]]:
    """Import a module in a fresh interpreter; return the seconds and the top-level names loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    return answer["seconds"], {name.split(".")[0] for name in answer["loaded"]}


def test_importing_the_package_takes_under_half_a_second() -> None:
    # The best of several: a busy machine can only make it slower.
    assert min(probe("histosam_core")[0] for _ in range(3)) < 0.5


@pytest.mark.parametrize("module", ["histosam_core", "histosam_core.cli.app"])
def test_start_up_loads_neither_torch_nor_a_gui(module: str) -> None:
    assert probe(module)[1].isdisjoint(HEAVY)


@pytest.mark.parametrize("room", ROOMS_WITHOUT_TORCH)
def test_room_without_torch_stays_so(room: str) -> None:
    assert probe(f"histosam_core.{room}")[1].isdisjoint(HEAVY)


def test_every_public_name_can_be_had() -> None:
    import histosam_core

    for name in histosam_core.__all__:
        assert getattr(histosam_core, name) is not None
    assert set(histosam_core.__all__) == set(dir(histosam_core))


def test_an_unknown_name_is_an_attribute_error() -> None:
    import histosam_core

    with pytest.raises(AttributeError, match="segmentise"):
        _ = histosam_core.segmentise
