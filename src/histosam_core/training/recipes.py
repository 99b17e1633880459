"""How models are trained: the scenarios of SAM's line, and what each family has unless it is set.

Tables only, without torch, so that settings, help texts and widgets can be made at once. RITM,
FocalClick and SimpleClick, the specialists, have one way of training each: all of the network, by
the rules they were made with.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histosam_core.errors import UnknownModelError
from histosam_core.model.baselines import canonical_name
from histosam_core.model.checkpoint.weights_header import checkpoint_facts
from histosam_core.model.registry.own_models import checkpoint_path
from histosam_core.model.registry.registry import MODELS

if TYPE_CHECKING:
    from histosam_core.model.sam.network import Decoder

Part = Literal["image_encoder", "prompt_encoder", "dense_prompts", "mask_decoder"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to fine-tune a model of SAM's line: what trains, which decoder, dense prompts or not.

    A table's row only; families/sam_parts.py applies it to a network.
    """

    name: str
    """As given to `--scenario`."""
    explanation: str
    """One line for help texts."""
    trained: frozenset[Part]
    """Parts that learn; all others are frozen, bit for bit. "prompt_encoder" is SAM's own part of
    the prompt encoder, "dense_prompts" what dense click prompts add to it."""
    decoder: Decoder
    adds_dense_prompts: bool = False
    """Give a SAM checkpoint dense click prompts. `histosam-tiny` has them in every scenario."""
    adds_early_features: bool = False
    """Hand the encoder's early features to a decoder that did not get them, unless the settings
    say otherwise. A decoder that gets them keeps them in every scenario."""

    @property
    def freezes_encoder(self) -> bool:
        """Whether image embeddings stay the same during training, and so may be cached."""
        return "image_encoder" not in self.trained

    def early_features(self, choice: bool | None) -> bool | None:
        """What to ask of the base model: early features, none, or (None) what it has.

        The settings' `choice` goes before the scenario's, unless it is None.
        """
        return True if choice is None and self.adds_early_features else choice


_SCENARIOS = (
    Scenario(
        "md",
        "Train SAM's mask decoder; both encoders stay frozen. Fast.",
        frozenset({"mask_decoder"}),
        "sam",
    ),
    Scenario(
        "ie_md",
        "Train the image encoder and SAM's mask decoder; the prompt encoder stays frozen.",
        frozenset({"image_encoder", "mask_decoder"}),
        "sam",
    ),
    Scenario(
        "whole",
        "Train everything: image encoder, prompt encoder, SAM's mask decoder.",
        frozenset({"image_encoder", "prompt_encoder", "dense_prompts", "mask_decoder"}),
        "sam",
    ),
    Scenario(
        "refining",
        "Train the refining decoder of Kim et al. 2023; both encoders stay frozen. Fast.",
        frozenset({"mask_decoder"}),
        "refining",
    ),
    Scenario(
        "histosam",
        "Train the refining decoder with dense click prompts and early encoder features; fast.",
        frozenset({"mask_decoder", "dense_prompts"}),
        "refining",
        adds_dense_prompts=True,
        adds_early_features=True,
    ),
)

SCENARIOS: Mapping[str, Scenario] = {one.name: one for one in _SCENARIOS}
"""Scenarios by name: the paper's four (its "Ours" is `refining`), and this project's own."""

RecipeName = Literal["sam", "ritm", "focalclick_hrnet", "focalclick_segformer", "simpleclick"]

SPECIALIST = "specialist"
"""What `TrainConfig.scenario` is for a model that trains as a whole."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the models of a family are trained; sizes are (H, W) in pixels."""

    name: RecipeName
    title: str
    """For messages."""
    scenario: str = SPECIALIST
    """What `TrainConfig.scenario` is where it is left out."""
    learning_rate: float = 5e-4
    """Adam's, as published."""
    encoder_lr_factor: float = 0.1
    """The image encoder's or the backbone's share of it."""
    milestones: tuple[float, ...] = (20 / 30, 25 / 30)
    """Where it falls to a tenth, as shares of the whole run."""
    first_click_centre: bool = False
    """Whether the first click lies in the object's middle."""
    crop_size: tuple[int, int] | None = None
    """Of the crops it was trained on; None: it takes whole patches."""
    crop_multiple: int = 1
    """What H and W must be multiples of..."""
    small_crop_multiple: int = 1
    """...and what where they are below that."""
    is_square: bool = False
    """Whether H and W must be the same."""
    auxiliary_weight: float = 0.0
    """Of the cross-entropy on the auxiliary output; 0 where there is none."""
    least_at_a_time: int = 1
    """Patches that must go through the network together in training: with one alone, the batch norm
    after a mean over all pixels has nothing to normalise."""

    @property
    def is_specialist(self) -> bool:
        """Whether it trains as a whole, without scenarios."""
        return self.scenario == SPECIALIST


_RECIPES = (
    Recipe("sam", "SAM", scenario="refining"),
    Recipe(
        "ritm",
        "RITM",
        milestones=(200 / 230, 220 / 230),
        crop_size=(320, 480),
        auxiliary_weight=0.4,
        least_at_a_time=2,
    ),
    Recipe(
        "focalclick_hrnet",
        "FocalClick",
        encoder_lr_factor=2.0,
        milestones=(190 / 230, 210 / 230),
        first_click_centre=True,
        crop_size=(256, 256),
        is_square=True,
        auxiliary_weight=0.4,
        least_at_a_time=2,
    ),
    Recipe(
        "focalclick_segformer",
        "FocalClick",
        learning_rate=5e-3,
        milestones=(190 / 230, 210 / 230),
        first_click_centre=True,
        crop_size=(256, 256),
        is_square=True,
    ),
    Recipe(
        "simpleclick",
        "SimpleClick",
        learning_rate=5e-5,
        encoder_lr_factor=1.0,
        milestones=(50 / 55,),
        crop_size=(448, 448),
        crop_multiple=224,
        small_crop_multiple=16,
        is_square=True,
    ),
)

RECIPES: Mapping[RecipeName, Recipe] = {one.name: one for one in _RECIPES}
"""Recipes by name. Rates, factors and milestones are those of the published training scripts."""


def recipe_of(model: str) -> Recipe:
    """Return how a model is trained, by its name, of the user's own too, or a checkpoint's path.

    Of a file no more than names are read; one that states nothing is SAM's until it is loaded.
    """
    spec = MODELS.get(model)
    if spec is not None:
        return recipe_of_architecture(spec.architecture)
    path = checkpoint_path(model)
    if not path.is_file():
        return recipe_of_architecture(model)
    stated = checkpoint_facts(path).get("architecture")
    if stated is None:
        return recipe_of_weights(_names_in(path))
    return recipe_of_architecture(str(stated))


def recipe_of_architecture(architecture: str) -> Recipe:
    """Return the recipe of a network by its name, such as "ritm_h18s"; SAM's where it is none."""
    try:
        architecture = canonical_name(architecture)
    except UnknownModelError:
        return RECIPES["sam"]
    family, _, variant = architecture.partition("_")
    if family == "focalclick":
        family += "_segformer" if variant.startswith("segformer") else "_hrnet"
    return next((recipe for name, recipe in RECIPES.items() if name == family), RECIPES["sam"])


def recipe_of_weights(names: str) -> Recipe:
    """Return the recipe of a network by the names of its weights, in one text."""
    if "patch_embed_coords." in names:
        return RECIPES["simpleclick"]
    if "refiner." in names:
        is_segformer = "feature_extractor.backbone." in names
        return RECIPES["focalclick_segformer" if is_segformer else "focalclick_hrnet"]
    return RECIPES["ritm" if "feature_extractor.conv3x3_ocr." in names else "sam"]


def _names_in(path: Path) -> str:
    """What stands in a file of ``torch.save`` beside the weights: their names, as they are."""
    with suppress(OSError, zipfile.BadZipFile, KeyError), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith("data.pkl"):
                return archive.read(member).decode("latin-1")
    return ""
