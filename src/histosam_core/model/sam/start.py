"""Fill SAM's network with weights, and start layers afresh that they do not hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from histosam_core.errors import CheckpointError
from histosam_core.model.checkpoint.weights_file import misfits
from histosam_core.model.sam.network import Architecture, Decoder, SamNetwork, build_network

if TYPE_CHECKING:
    from torch import Tensor

SAM_HEAD = ("mask_decoder.output_upscaling.", "mask_decoder.output_hypernetworks_mlps.")
REFINING_HEAD = ("mask_decoder.refine_",)
EARLY_STEM = ("mask_decoder.refine_early.",)
DENSE_PROMPTS = ("prompt_encoder.click_",)


def start_network(
    architecture: Architecture,
    state: Mapping[str, Tensor],
    *,
    decoder: Decoder = "sam",
    dense_prompts: bool = False,
    early_features: bool = False,
    image_size: int | None = None,
) -> tuple[SamNetwork, tuple[str, ...]]:
    """Build a network and fill it from `state`; layers that `state` lacks as a whole start fresh.

    Only three things may start fresh: the refining decoder's own layers; its way in for early
    features, and the dense click prompts of a SAM checkpoint, which both add nothing until they are
    trained. The head of a decoder that was not chosen is left out.

    Parameters
    ----------
    architecture, decoder, dense_prompts, early_features, image_size
        As in `build_network`.
    state
        Weights under SAM's names, of any floating type.

    Returns
    -------
    network : SamNetwork
        float32, in evaluation mode.
    fresh : tuple of str
        Prefixes of the layers that start fresh.

    Raises
    ------
    CheckpointError
        Keys or shapes do not fit, or a decoder was asked for that `state` cannot give.
    """
    network = build_network(
        architecture,
        decoder=decoder,
        dense_prompts=dense_prompts or None,
        early_features=early_features,
        image_size=image_size,
    )
    own = network.state_dict()
    fresh = tuple(
        group[0]
        for group in (REFINING_HEAD, EARLY_STEM, DENSE_PROMPTS)
        if has_any(own, group) > has_any(state, group)
    )
    if decoder == "sam" and not has_any(state, SAM_HEAD):
        raise CheckpointError("holds no SAM mask decoder; load it with decoder='refining'")
    if has_any(state, DENSE_PROMPTS) and not network.dense_prompts:
        raise CheckpointError("has dense click prompts; load it with dense_prompts=True")
    if decoder == "refining" and has_any(state, EARLY_STEM) and not early_features:
        raise CheckpointError(
            "was trained with the encoder's early features and cannot do without; "
            "leave early_features out"
        )
    unchosen = REFINING_HEAD if decoder == "sam" else SAM_HEAD
    given = {key: value for key, value in state.items() if not key.startswith(unchosen)}
    wanted = {key: value for key, value in own.items() if not key.startswith(fresh or ("\0",))}
    problems = misfits(wanted, given)
    if problems:
        raise CheckpointError(
            f"the weights do not fit {architecture} with the {decoder} decoder: "
            f"{problems}; pass a checkpoint of this architecture"
        )
    network.load_state_dict(given, strict=False)
    return network.eval(), fresh


def has_any(state: Mapping[str, Any], prefixes: tuple[str, ...]) -> bool:
    """Whether any of the weights has a name that starts so."""
    return any(key.startswith(prefixes) for key in state)


def decoders_in(state: Mapping[str, Any]) -> tuple[Decoder, ...]:
    """Return the decoders that weights hold a head of, the refining one first."""
    held: list[Decoder] = []
    if has_any(state, REFINING_HEAD):
        held.append("refining")
    if has_any(state, SAM_HEAD):
        held.append("sam")
    return tuple(held)
