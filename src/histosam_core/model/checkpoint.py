"""Checkpoints: weights plus what they are, in one safetensors file; and the files of others.

A file of ours carries a description (checkpoint_info.py). Weights that SAM, torch_em or anyone
else saved with ``torch.save`` are read too (weights_file.py). Whatever the file, its keys and
shapes must be exactly those of the network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from histosam_core.atomic import new_file
from histosam_core.errors import CheckpointError
from histosam_core.model.checkpoint_info import (
    CheckpointInfo,
    Preprocessing,
    info_from_metadata,
    metadata_of,
)
from histosam_core.model.interface import TrainingGeometry
from histosam_core.model.sam.network import Architecture, Decoder, SamNetwork, build_network
from histosam_core.model.weights_file import file_sha256, read_weights

__all__ = [
    "EARLY_STEM",
    "CheckpointInfo",
    "Preprocessing",
    "describe_network",
    "file_sha256",
    "load_checkpoint",
    "save_checkpoint",
    "start_network",
]

SAM_HEAD = ("mask_decoder.output_upscaling.", "mask_decoder.output_hypernetworks_mlps.")
REFINING_HEAD = ("mask_decoder.refine_",)
EARLY_STEM = ("mask_decoder.refine_early.",)
DENSE_PROMPTS = ("prompt_encoder.click_",)

ENCODER_WIDTHS = {768: "sam_vit_b", 1024: "sam_vit_l", 1280: "sam_vit_h"}

State = dict[str, Tensor]


def describe_network(
    network: SamNetwork,
    *,
    name: str,
    scenario: str | None = None,
    geometry: TrainingGeometry | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> CheckpointInfo:
    """Fill a `CheckpointInfo` with what the network itself knows; it is in no file yet."""
    held = _held_decoders(network.state_dict())
    return CheckpointInfo(
        name=name,
        architecture=network.architecture,
        decoder=network.decoder,
        dense_prompts=network.dense_prompts,
        scenario=scenario,
        geometry=geometry or TrainingGeometry(),
        preprocessing=Preprocessing(
            network.image_size, _rgb(network.pixel_mean), _rgb(network.pixel_std)
        ),
        provenance=dict(provenance or {}),
        decoders=(network.decoder, *(d for d in held if d != network.decoder)),
        early_features=network.early_features,
    )


def save_checkpoint(
    path: str | os.PathLike[str],
    network: SamNetwork,
    info: CheckpointInfo,
    *,
    half: bool = False,
) -> CheckpointInfo:
    """Write weights and metadata as safetensors, beside and then renamed.

    Parameters
    ----------
    path
        Should end in ``.safetensors``. Replaced if it exists.
    network
        Architecture, decoders, dense prompts, early features and preprocessing are taken from it.
    info
        Name, scenario, geometry and provenance are taken from it.
    half
        Store float16, half the size; loading gives float32 again.

    Returns
    -------
    CheckpointInfo
        As `load_checkpoint` will give it, with the file's sha256.

    Raises
    ------
    OutputWriteError
        Disk full or folder read-only.
    """
    info = describe_network(
        network,
        name=info.name,
        scenario=info.scenario,
        geometry=info.geometry,
        provenance=info.provenance,
    )
    # torch tensors may share memory or be views; safetensors wants each on its own.
    state = {
        key: value.detach().to("cpu", _stored(value, half), copy=True).contiguous()
        for key, value in network.state_dict().items()
    }
    with new_file(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(state, temporary, metadata_of(info))
            temporary.chmod(mode)  # safetensors lets nobody else read; colleagues may
        except SafetensorError as error:
            raise OSError(5, str(error)) from error
        sha256 = file_sha256(temporary)
    return replace(info, sha256=sha256)


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    architecture: Architecture | None = None,
    decoder: Decoder | None = None,
    dense_prompts: bool | None = None,
    early_features: bool | None = None,
) -> tuple[SamNetwork, CheckpointInfo]:
    """Read a checkpoint: ours, SAM's official .pth, or torch_em's layout.

    Parameters
    ----------
    path
        The file.
    architecture
        What it must be; None takes what it is.
    decoder
        Which of its decoders; None takes its default. "refining" on a file that has only SAM's
        decoder starts one: transformer, tokens, prompt encoder and quality head from the file, the
        new layers fresh (see `start_network`).
    dense_prompts
        True on a file without them adds them, zero-initialised. None takes what the file has.
    early_features
        True hands the encoder's early features to the refining decoder of a file where it did not
        get them; they add nothing until trained. None takes what the file has.

    Returns
    -------
    network : SamNetwork
        float32 on the CPU, in evaluation mode.
    info : CheckpointInfo
        What it says of itself. ``provenance["fresh_layers"]`` names layers that the file did not
        have.

    Raises
    ------
    CheckpointError
        No such file, truncated, a pickle with code in it, of another architecture, or with
        missing, unexpected or differently shaped weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint file at {path}; check the path")
    file = read_weights(path)
    state, metadata = file.state, file.metadata
    if "histosam_format" in metadata:
        info = info_from_metadata(path, metadata)
    else:
        found = _architecture_of(path, state)
        info = CheckpointInfo(
            name=path.stem,
            architecture=found,
            dense_prompts=_has(state, DENSE_PROMPTS),
            early_features=_has(state, EARLY_STEM),
            provenance={"source": path.name},
            decoders=_held_decoders(state),
            preprocessing=Preprocessing(256 if found == "histosam_tiny" else 1024),
        )
    if architecture is not None and info.architecture != architecture:
        raise CheckpointError(
            f"{path} holds {info.architecture}, but {architecture} was asked for; "
            "pass the matching file or ask for its architecture"
        )
    if not info.decoders:
        raise CheckpointError(f"{path} holds no mask decoder; choose a whole SAM checkpoint")
    chosen = decoder or info.decoders[0]
    dense = info.dense_prompts if dense_prompts is None else dense_prompts
    if early_features is None:
        early_features = info.early_features and chosen == "refining"
    try:
        network, fresh = start_network(
            info.architecture,
            state,
            decoder=chosen,
            dense_prompts=dense,
            early_features=early_features,
            image_size=info.preprocessing.image_size,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    network.pixel_mean.copy_(torch.tensor(info.preprocessing.pixel_mean).view(1, 3, 1, 1))
    network.pixel_std.copy_(torch.tensor(info.preprocessing.pixel_std).view(1, 3, 1, 1))
    provenance = {**info.provenance, **({"fresh_layers": list(fresh)} if fresh else {})}
    return network, replace(
        info,
        decoder=chosen,
        dense_prompts=network.dense_prompts,
        early_features=network.early_features,
        provenance=provenance,
        sha256=file_sha256(path),
    )


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
        if _has(own, group) > _has(state, group)
    )
    if decoder == "sam" and not _has(state, SAM_HEAD):
        raise CheckpointError("holds no SAM mask decoder; load it with decoder='refining'")
    if _has(state, DENSE_PROMPTS) and not network.dense_prompts:
        raise CheckpointError("has dense click prompts; load it with dense_prompts=True")
    if decoder == "refining" and _has(state, EARLY_STEM) and not early_features:
        raise CheckpointError(
            "was trained with the encoder's early features and cannot do without; "
            "leave early_features out"
        )
    unchosen = REFINING_HEAD if decoder == "sam" else SAM_HEAD
    given = {key: value for key, value in state.items() if not key.startswith(unchosen)}
    wanted = {key: value for key, value in own.items() if not key.startswith(fresh or ("\0",))}
    problems = [
        *_listed("missing", wanted.keys() - given.keys()),
        *_listed("unexpected", given.keys() - wanted.keys()),
        *_listed(
            "differently shaped",
            {k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape},
        ),
    ]
    if problems:
        raise CheckpointError(
            f"the weights do not fit {architecture} with the {decoder} decoder: "
            f"{'; '.join(problems)}; pass a checkpoint of this architecture"
        )
    network.load_state_dict(given, strict=False)
    return network.eval(), fresh


def _stored(value: Tensor, half: bool) -> torch.dtype:
    return torch.float16 if half and value.is_floating_point() else value.dtype


def _architecture_of(path: Path, state: State) -> Architecture:
    patch = state.get("image_encoder.patch_embed.proj.weight")
    if patch is not None and patch.ndim == 4 and patch.shape[0] in ENCODER_WIDTHS:
        return ENCODER_WIDTHS[patch.shape[0]]  # type: ignore[return-value]
    if "image_encoder.stem.0.0.weight" in state:
        return "histosam_tiny"
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "mobile_sam"
    names = ", ".join(get_args(Architecture))
    some = ", ".join(sorted(state)[:3]) or "none"
    raise CheckpointError(
        f"{path} is none of {names} (its first weights: {some}); pass one of these"
    )


def _has(state: Mapping[str, Any], prefixes: tuple[str, ...]) -> bool:
    return any(key.startswith(prefixes) for key in state)


def _held_decoders(state: Mapping[str, Any]) -> tuple[Decoder, ...]:
    held: list[Decoder] = []
    if _has(state, REFINING_HEAD):
        held.append("refining")
    if _has(state, SAM_HEAD):
        held.append("sam")
    return tuple(held)


def _listed(what: str, keys: set[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return [f"{len(keys)} {what} ({', '.join(sorted(keys)[:3])}{more})"]


def _rgb(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(float(v), 4) for v in values.flatten())
    return red, green, blue
