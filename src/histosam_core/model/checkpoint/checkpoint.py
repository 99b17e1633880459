"""Checkpoints: weights plus what they are, in one safetensors file; and the files of others.

Whatever the file, its keys and shapes must be exactly those of the network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from histosam_core.atomic import new_file
from histosam_core.errors import CheckpointError
from histosam_core.model.baselines import canonical_name
from histosam_core.model.checkpoint.checkpoint_info import (
    CheckpointInfo,
    Preprocessing,
    info_from_metadata,
    metadata_of,
)
from histosam_core.model.checkpoint.click_checkpoint import (
    ASSUMED,
    click_architectures,
    fill_click_network,
    find_click_architecture,
    is_click_state,
    network_architecture,
)
from histosam_core.model.checkpoint.weights_file import WeightsFile, read_weights
from histosam_core.model.checkpoint.weights_header import file_sha256
from histosam_core.model.interface import NOT_STATED, TrainingGeometry
from histosam_core.model.registry.registry import MODELS
from histosam_core.model.sam.network import Architecture, Decoder, SamNetwork
from histosam_core.model.sam.start import (
    DENSE_PROMPTS,
    EARLY_STEM,
    decoders_in,
    has_any,
    start_network,
)
from histosam_core.model.specialists.click_network import ClickNetwork

ENCODER_WIDTHS = {768: "sam_vit_b", 1024: "sam_vit_l", 1280: "sam_vit_h"}

UNTOUCHED = Preprocessing(image_size=0)


def describe_network(
    network: SamNetwork | ClickNetwork,
    *,
    name: str,
    scenario: str | None = None,
    geometry: TrainingGeometry | None = None,
    provenance: Mapping[str, Any] | None = None,
    licence: str = NOT_STATED,
    settings: Mapping[str, Any] | None = None,
) -> CheckpointInfo:
    """Fill a `CheckpointInfo` with what the network itself knows; it is in no file yet."""
    return _described(
        network,
        CheckpointInfo(
            name=name,
            architecture="",
            scenario=scenario,
            geometry=geometry or TrainingGeometry(),
            provenance=dict(provenance or {}),
            licence=licence,
            settings=dict(settings or {}),
        ),
    )


def save_checkpoint(
    path: str | os.PathLike[str],
    network: SamNetwork | ClickNetwork,
    info: CheckpointInfo,
    *,
    half: bool = False,
) -> CheckpointInfo:
    """Write weights and metadata as safetensors, beside and then renamed.

    Parameters
    ----------
    path
        Should end in ``.safetensors``. Replaced if it exists.
    network, info
        What is not the network's own is taken from `info`: name, scenario, geometry, provenance,
        licence and settings.
    half
        Store float16, half the size; loading gives float32 again.

    Returns
    -------
    CheckpointInfo
        As `load_checkpoint` will give it, with the file's sha256.

    Raises
    ------
    CheckpointError
        A network that can be saved by no name.
    OutputWriteError
        Disk full or folder read-only.
    """
    info = _described(network, info)
    # torch tensors may share memory or be views; safetensors wants each on its own.
    state = {
        key: value.detach()
        .to("cpu", torch.float16 if half and value.is_floating_point() else value.dtype, copy=True)
        .contiguous()
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
    architecture: str | None = None,
    decoder: Decoder | None = None,
    dense_prompts: bool | None = None,
    early_features: bool | None = None,
) -> tuple[SamNetwork | ClickNetwork, CheckpointInfo]:
    """Read a checkpoint of any family: ours, an official .pth, a state_dict, or torch_em's layout.

    Parameters
    ----------
    path
        The file.
    architecture
        What it must be: a name as in `CheckpointInfo`, or of `list_models`. None takes what it is.
        It also decides what a bare state_dict of FocalClick's leaves open, S1 or S2.
    decoder
        Which of SAM's decoders; None takes its default. "refining" on a file that has only SAM's
        decoder starts one: transformer, tokens, prompt encoder and quality head from the file, the
        new layers fresh (see `start_network`).
    dense_prompts
        True on a SAM file without them adds them, zero-initialised. None takes what the file has.
    early_features
        True hands the encoder's early features to the refining decoder of a file where it did not
        get them; they add nothing until trained. None takes what the file has.

    Returns
    -------
    network : SamNetwork or ClickNetwork
        float32 on the CPU, in evaluation mode.
    info : CheckpointInfo
        What it says of itself. ``provenance["fresh_layers"]`` names layers that the file did not
        have, ``provenance["assumed"]`` what it left open.

    Raises
    ------
    CheckpointError
        No such file, truncated, a web page, a pickle with code in it, of another architecture, or
        with missing, unexpected or differently shaped weights.
    UnknownModelError
        No such architecture.
    """
    path = Path(path)
    asked = architecture
    if asked is not None and asked not in get_args(Architecture):
        asked = MODELS[asked].architecture if asked in MODELS else canonical_name(asked)
    file = read_weights(path)
    info = _describe_file(path, file, asked)
    if asked is not None and info.architecture != asked:
        raise CheckpointError(
            f"{path} holds {info.architecture}, but {asked} was asked for; "
            "pass the matching file or ask for its architecture"
        )
    info = replace(info, sha256=file_sha256(path))
    is_sam = info.architecture in get_args(Architecture)
    if not is_sam and (decoder is not None or dense_prompts or early_features):
        raise CheckpointError(
            f"{path} holds {info.architecture}, which has none of SAM's decoders, dense "
            "prompts and early features; leave those out"
        )
    if is_sam and not info.decoders:
        raise CheckpointError(f"{path} holds no mask decoder; choose a whole SAM checkpoint")
    try:
        if not is_sam:
            return fill_click_network(info.architecture, file.state), info
        chosen = decoder or info.decoders[0]
        if early_features is None:
            early_features = info.early_features and chosen == "refining"
        network, fresh = start_network(
            cast("Architecture", info.architecture),
            file.state,
            decoder=chosen,
            dense_prompts=info.dense_prompts if dense_prompts is None else dense_prompts,
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
    )


def _described(network: SamNetwork | ClickNetwork, info: CheckpointInfo) -> CheckpointInfo:
    """`info` with what the network itself knows; it is in no file yet."""
    info = replace(info, sha256="", path="", preprocessing=UNTOUCHED, decoder="")
    if isinstance(network, ClickNetwork):
        return replace(info, architecture=network_architecture(network))
    held = decoders_in(network.state_dict())
    return replace(
        info,
        architecture=network.architecture,
        decoder=network.decoder,
        dense_prompts=network.dense_prompts,
        preprocessing=Preprocessing(
            network.image_size, _rgb(network.pixel_mean), _rgb(network.pixel_std)
        ),
        decoders=(network.decoder, *(d for d in held if d != network.decoder)),
        early_features=network.early_features,
    )


def _describe_file(path: Path, file: WeightsFile, asked: str | None) -> CheckpointInfo:
    """What a file says of itself or, where it says nothing, its weights do."""
    if "histosam_format" in file.metadata:
        return info_from_metadata(path, file.metadata)
    provenance = {"source": path.name}
    if is_click_state(file.state):
        found, is_certain = find_click_architecture(path, file, asked)
        return CheckpointInfo(
            name=path.stem,
            architecture=found,
            decoder="",
            preprocessing=UNTOUCHED,
            provenance=provenance if is_certain else {**provenance, "assumed": ASSUMED},
        )
    sam = _sam_architecture(path, file.state)
    return CheckpointInfo(
        name=path.stem,
        architecture=sam,
        dense_prompts=has_any(file.state, DENSE_PROMPTS),
        early_features=has_any(file.state, EARLY_STEM),
        provenance=provenance,
        decoders=decoders_in(file.state),
        preprocessing=Preprocessing(256 if sam == "histosam_tiny" else 1024),
    )


def _sam_architecture(path: Path, state: Mapping[str, Tensor]) -> Architecture:
    patch = state.get("image_encoder.patch_embed.proj.weight")
    if patch is not None and patch.ndim == 4 and patch.shape[0] in ENCODER_WIDTHS:
        return ENCODER_WIDTHS[patch.shape[0]]  # type: ignore[return-value]
    if "image_encoder.stem.0.0.weight" in state:
        return "histosam_tiny"
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "mobile_sam"
    names = ", ".join((*get_args(Architecture), *click_architectures()))
    some = ", ".join(sorted(state)[:3]) or "none"
    raise CheckpointError(
        f"{path} is none of {names} (its first weights: {some}); pass one of these"
    )


def _rgb(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(float(v), 4) for v in values.flatten())
    return red, green, blue
