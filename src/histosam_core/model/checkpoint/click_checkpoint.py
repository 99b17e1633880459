"""Weights of RITM, FocalClick and SimpleClick: which network they are of, and that network filled.

Their keys and shapes tell the network. What they cannot tell is whether FocalClick's coarse network
sees its input at half its size (S1) or whole (S2): a file's configuration does, or our metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from histosam_core.errors import CheckpointError
from histosam_core.model import baselines
from histosam_core.model.checkpoint.weights_file import misfits
from histosam_core.model.focalclick.network import FocalClickNetwork
from histosam_core.model.specialists.click_network import IMAGENET_MEAN, IMAGENET_STD, ClickNetwork

if TYPE_CHECKING:
    from histosam_core.model.checkpoint.weights_file import WeightsFile

ASSUMED = "input of the coarse network at full size (S2); the file does not say"
"""What is noted of a FocalClick file that says nothing of S1 and S2."""

State = Mapping[str, Tensor]
_Sizes = Mapping[tuple[int, ...], str]

_MARKS = (
    "feature_extractor.",
    "maps_transform.",
    "refiner.",
    "patch_embed_coords.",
    "backbone.blocks.",
    "neck.down_",
)
# By width, twice the width of the OCR head, and blocks of the first stage.
_HRNETS: _Sizes = {(18, 96, 2): "hrnet18s", (18, 128, 4): "hrnet18", (32, 256, 4): "hrnet32"}
# By width and depth of the third stage, the only one that tells B1 to B5 apart.
_SEGFORMERS: _Sizes = {(32, 2): "segformerB0", (64, 18): "segformerB3"}
_PLAIN_VITS: _Sizes = {
    (160,): "xtiny448",
    (768,): "vitb448",
    (1024,): "vitl448",
    (1280,): "vith448",
}

# Other networks can be built from the same code; these are the settings that ours have.
_CONFIG = {
    "use_disks": (True,),
    "with_prev_mask": (True,),
    "norm_radius": (5,),
    "binary_prev_mask": (False,),
    "norm_mean_std": ((IMAGENET_MEAN, IMAGENET_STD),),
}


def click_architectures() -> tuple[str, ...]:
    """Return the networks' names, as `baselines.network` takes them."""
    families = ("ritm_", "focalclick_", "simpleclick_")
    return tuple(name for name in baselines.network_names() if name.startswith(families))


def is_click_state(state: State) -> bool:
    """Whether weights are of one of the three families, by their names alone."""
    return any(key.startswith(_MARKS) for key in state)


def find_click_architecture(
    path: Path, file: WeightsFile, asked: str | None = None
) -> tuple[str, bool]:
    """Tell which network a file without our metadata is of, and whether that is certain.

    Parameters
    ----------
    path
        For messages.
    file
        Its weights, for which `is_click_state`, and configuration.
    asked
        The network that is expected, which decides between S1 and S2 where the file does not say;
        else S2 is assumed.

    Raises
    ------
    CheckpointError
        A network of another size or kind.
    """
    found = _without_input_size(file.state)
    if found is None:
        kind = file.config.get("class", "")
        of_class = f", of the class {kind}" if isinstance(kind, str) and kind else ""
        raise CheckpointError(
            f"{path} holds a network of RITM's line that is not known{of_class}; there are "
            f"{', '.join(click_architectures())}"
        )
    parameters = _config_values(file.config)
    for key, values in _CONFIG.items():
        if key in parameters and parameters[key] not in values:
            raise CheckpointError(
                f"{path} is of a network with {key} {parameters[key]!r}, which this program does "
                f"not have; pass weights with {key} {values[0]!r}"
            )
    if not found.startswith("focalclick_"):
        return found, True
    stated = parameters.get("pipeline_version")
    names = [name for name in click_architectures() if name.rpartition("_")[0] == found]
    variants = {name.rpartition("_")[2]: name for name in names}
    if stated is not None:
        named = variants.get(str(stated).upper())
        if named is None:
            raise CheckpointError(
                f"{path} holds {found} as {stated!r}, which is not known; there are "
                f"{', '.join(variants.values())}"
            )
        return named, True
    if asked in variants.values():
        return str(asked), True
    return variants["S2"], len(variants) == 1


def network_architecture(network: ClickNetwork) -> str:
    """Return a network's name, one of `click_architectures`; refuse a network without one."""
    found = _without_input_size(network.state_dict())
    if found is None:
        raise CheckpointError(
            f"this {type(network).__name__} is none of the networks that can be saved; there are "
            f"{', '.join(click_architectures())}"
        )
    if not found.startswith("focalclick_"):
        return found
    halves_input = isinstance(network, FocalClickNetwork) and network.halves_input
    return f"{found}_{'S1' if halves_input else 'S2'}"


def fill_click_network(architecture: str, state: State) -> ClickNetwork:
    """Build a network with weights under the official names, float32 on the CPU, in evaluation."""
    with torch.device("meta"):  # no random weights are drawn that are thrown away at once
        network = baselines.network(architecture)
    own = network.state_dict()
    problems = misfits(own, state)
    if problems:
        raise CheckpointError(
            f"the weights do not fit {architecture}: {problems}; pass a checkpoint of this network"
        )
    given = {key: state[key].to(own[key].dtype) for key in own}
    unsaved = {name: buffer for name, buffer in network.named_buffers() if name not in own}
    if any(buffer.is_meta for buffer in unsaved.values()):
        network = baselines.network(architecture)
    network.load_state_dict(given, assign=True)
    assert isinstance(network, ClickNetwork)  # noqa: S101
    return network.eval()


def _without_input_size(state: State) -> str | None:
    """The network's name, FocalClick's without _S1 and _S2; None where no network fits.

    Where a weight that tells is missing, the others do; what is missing is said later.
    """
    prefix = "feature_extractor.backbone."
    if any(key.startswith(prefix) for key in state):
        width, depth = (
            _size(state, f"{prefix}patch_embed1.proj.weight"),
            _count(state, f"{prefix}block3."),
        )
        return _named("focalclick_", _SEGFORMERS, (width, depth))
    if any(key.startswith(("feature_extractor.", "maps_transform.", "refiner.")) for key in state):
        prefix = "feature_extractor."
        facts = (
            _size(state, f"{prefix}transition1.0.0.weight"),
            _size(state, f"{prefix}conv3x3_ocr.1.weight"),
            _count(state, f"{prefix}layer1."),
        )
        name = _named("", _HRNETS, facts)
        if any(key.startswith("refiner.") for key in state):
            return None if name in (None, "hrnet18") else f"focalclick_{name}"
        return None if name is None else f"ritm_{name}_itm"
    return _named("simpleclick_", _PLAIN_VITS, (_size(state, "backbone.pos_embed", 2),))


def _named(prefix: str, table: _Sizes, facts: tuple[int | None, ...]) -> str | None:
    for known, name in table.items():
        if all(fact in (None, value) for fact, value in zip(facts, known, strict=True)):
            return prefix + name
    return None


def _size(state: State, key: str, axis: int = 0) -> int | None:
    shape = state[key].shape if key in state else ()
    return shape[axis] if len(shape) > axis else None


def _count(state: State, prefix: str) -> int | None:
    """How many blocks there are under a prefix."""
    numbers = {key[len(prefix) :].partition(".")[0] for key in state if key.startswith(prefix)}
    return len(numbers) or None


def _config_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's parameters by name, lists as tuples."""
    parameters = config.get("params")
    if not isinstance(parameters, Mapping):
        return {}
    return {
        str(name): _frozen(given.get("value"))
        for name, given in parameters.items()
        if isinstance(given, Mapping)
    }


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
