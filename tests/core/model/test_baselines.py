"""Networks by name: every published state dict, short names, any case, and what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from histosam_core.errors import UnknownModelError
from histosam_core.model import baselines

SHORT = {
    "ritm_h18s": "ritm_hrnet18s_itm",
    "ritm_h18": "ritm_hrnet18_itm",
    "ritm_h32": "ritm_hrnet32_itm",
    "focalclick_h18s_s1": "focalclick_hrnet18s_S1",
    "focalclick_h18s_s2": "focalclick_hrnet18s_S2",
    "focalclick_h32_s2": "focalclick_hrnet32_S2",
    "focalclick_b0_s1": "focalclick_segformerB0_S1",
    "focalclick_b0_s2": "focalclick_segformerB0_S2",
    "focalclick_b3_s2": "focalclick_segformerB3_S2",
    "simpleclick_vit_b": "simpleclick_vitb448",
    "simpleclick_vit_l": "simpleclick_vitl448",
    "simpleclick_vit_h": "simpleclick_vith448",
}
SMALLEST = [
    "ritm_hrnet18s_itm",
    "focalclick_hrnet18s_S1",
    "focalclick_segformerB0_S1",
    "simpleclick_xtiny448",
    "mobile_sam",
]


@pytest.mark.real_slide
def test_every_published_state_dict_has_a_name(data_dir: Path) -> None:
    listed = {path.stem.removeprefix("keys_") for path in data_dir.glob("reference/keys_*.json")}
    assert listed == set(baselines.network_names())


@pytest.mark.real_slide
@pytest.mark.parametrize("name", baselines.network_names())
def test_state_dict_is_the_published_one(data_dir: Path, name: str) -> None:
    listed = json.loads((data_dir / f"reference/keys_{name}.json").read_text())
    with torch.device("meta"):  # the largest would take 2.5 GB
        network = baselines.network(name)
    held = {
        key: (list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for key, tensor in network.state_dict().items()
    }
    assert held == {
        key: (described["shape"], described["dtype"].removeprefix("torch."))
        for key, described in listed["state_dict"].items()
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == listed["n_params"]


@pytest.mark.parametrize("name", SMALLEST)
def test_networks_are_random_and_ready_to_answer(name: str) -> None:
    one, other = baselines.network(name.upper()), baselines.network(name)
    assert type(one) is type(other)
    assert not any(module.training for module in one.modules())
    first = next(key for key, tensor in one.state_dict().items() if tensor.ndim == 4)
    assert not torch.equal(one.state_dict()[first], other.state_dict()[first])


@pytest.mark.parametrize(("short", "name"), SHORT.items())
def test_short_names_stand_for_networks_in_any_case(short: str, name: str) -> None:
    assert baselines.canonical_name(short) == name
    assert baselines.canonical_name(short.upper().replace("_", "-")) == name
    assert baselines.canonical_name(name.lower()) == name
    assert baselines.canonical_name(name) == name


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("ritm_h19", "ritm_h18"),
        ("focalclick_segformerb1_s2", "focalclick_segformerB"),
        ("simpleclick_vit", "simpleclick_vit_"),
        ("mobilesam", "mobile_sam"),
        ("nothing like it", "ritm_hrnet18s_itm"),
    ],
)
def test_an_unknown_name_is_refused_with_names_that_come_close(wrong: str, hint: str) -> None:
    with pytest.raises(UnknownModelError, match=hint):
        baselines.network(wrong)


def test_asking_for_names_does_not_import_torch() -> None:
    code = (
        "import sys; from histosam_core.model import baselines;"
        "baselines.canonical_name('ritm_h18s'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
