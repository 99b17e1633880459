"""What a checkpoint says of itself, and how it stands in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from histosam_core.errors import CheckpointError
from histosam_core.model.checkpoint.click_checkpoint import click_architectures
from histosam_core.model.interface import NOT_STATED, ModelInfo, TrainingGeometry
from histosam_core.model.sam.network import PIXEL_MEAN, PIXEL_STD, Architecture, Decoder

FORMAT_VERSION = 1
LATER: dict[str, Any] = {"early_features": False, "licence": NOT_STATED, "settings": {}}
"""What older files do not speak of."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to an image before the encoder sees it."""

    # S: the longest side is resized to it (bilinear, antialiased), the rest padded with zeros. 0:
    # images stay as they are, and a family's own zoom decides.
    image_size: int = 1024
    # RGB, on the scale 0 to 255.
    pixel_mean: tuple[float, float, float] = PIXEL_MEAN
    pixel_std: tuple[float, float, float] = PIXEL_STD


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo(ModelInfo):
    """What a checkpoint says of itself, beside what any model does.

    `architecture` is "sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam", "histosam_tiny", or a
    network of RITM's, FocalClick's or SimpleClick's by the name that `baselines.network` takes;
    these have no decoders to choose from, and neither dense prompts nor early features.
    """

    architecture: str
    decoder: Decoder | Literal[""] = "sam"
    thread_safe: bool = True
    dense_prompts: bool = False  # whether clicks also reach the decoder as maps
    scenario: str | None = None  # how it was fine-tuned: "md", "ie_md", "whole", ...; None: not
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    # Where it comes from, as JSON values: data, settings, software, parent's sha256.
    provenance: Mapping[str, Any] = field(default_factory=dict)
    decoders: tuple[Decoder, ...] = ()
    early_features: bool = False  # whether the refining decoder takes the encoder's, too
    # Of RITM's, FocalClick's and SimpleClick's model, by keyword, where they are not its defaults;
    # zoom_in is a mapping of `ZoomIn`'s fields, or None.
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # SAM was trained with boxes, and whatever is tuned from it still answers them.
        is_sam = self.architecture.startswith(("sam_", "mobile_sam"))
        object.__setattr__(self, "takes_boxes", is_sam)
        object.__setattr__(self, "encodes_ahead", self.architecture in get_args(Architecture))


def metadata_of(info: CheckpointInfo) -> dict[str, str]:
    """Return the file's metadata: JSON strings by name."""
    facts = {
        "histosam_format": FORMAT_VERSION,
        "name": info.name,
        "architecture": info.architecture,
        "decoders": info.decoders,
        "dense_prompts": info.dense_prompts,
        "early_features": info.early_features,
        "scenario": info.scenario,
        "geometry": asdict(info.geometry),
        "preprocessing": asdict(info.preprocessing),
        "provenance": dict(info.provenance),
        "licence": info.licence,
        "settings": dict(info.settings),
    }
    return {key: json.dumps(value) for key, value in facts.items()}


def info_from_metadata(path: Path, metadata: Mapping[str, str]) -> CheckpointInfo:
    """Read what `metadata_of` wrote; refuse what is malformed, or of a newer program."""

    def read(key: str) -> Any:
        return json.loads(metadata[key]) if key in metadata else LATER[key]

    try:
        version = int(read("histosam_format"))
        size = read("preprocessing")
        is_sam = read("architecture") in get_args(Architecture)
        info = CheckpointInfo(
            name=str(read("name")),
            architecture=str(read("architecture")),
            decoder=read("decoders")[0] if is_sam else "",
            dense_prompts=bool(read("dense_prompts")),
            scenario=read("scenario"),
            geometry=TrainingGeometry(**read("geometry")),
            preprocessing=Preprocessing(
                int(size["image_size"]), tuple(size["pixel_mean"]), tuple(size["pixel_std"])
            ),
            provenance=dict(read("provenance")),
            decoders=tuple(read("decoders")),
            early_features=bool(read("early_features")),
            licence=str(read("licence")),
            settings=dict(read("settings")),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its metadata cannot be read ({type(error).__name__}: {error}); "
            "save it again with save_checkpoint"
        ) from error
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is of checkpoint format {version}, this program reads {FORMAT_VERSION}; "
            "update napari-histosam"
        )
    if not is_sam and info.architecture not in click_architectures():
        raise CheckpointError(
            f"{path} holds {info.architecture!r}, which this program does not know; "
            "update napari-histosam"
        )
    return info
