"""Files of settings that version 0.1.0 wrote say what they said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from histosam_core.improve import ImproveSettings
from histosam_core.reproduce import ReproduceSettings

DATA = Path(__file__).with_name("data")


@pytest.mark.parametrize(
    ("kind", "name"), [(ImproveSettings, "improve"), (ReproduceSettings, "reproduce")]
)
def test_old_settings_are_read_and_written_as_they_were(
    kind: type[ImproveSettings | ReproduceSettings], name: str
) -> None:
    path = DATA / f"{name}_of_0_1_0.json"
    assert kind.load(path).as_dict() == json.loads(path.read_text())
