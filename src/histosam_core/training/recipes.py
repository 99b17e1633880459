"""How each family of models is trained unless the settings say otherwise.

A table only, without torch, so that settings, help texts and widgets can be made at once. SAM's
line trains by one of the scenarios (scenarios.py); RITM, FocalClick and SimpleClick, the
specialists, have one way of training each: all of the network, by the rules they were made with.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from histosam_core.errors import UnknownModelError
from histosam_core.model.baselines import canonical_name
from histosam_core.model.checkpoint.weights_header import checkpoint_facts
from histosam_core.model.registry.own_models import checkpoint_path
from histosam_core.model.registry.registry import MODELS

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

RECIPES: Mapping[RecipeName, Recipe] = MappingProxyType({one.name: one for one in _RECIPES})
"""Recipes by name. Rates, factors and milestones are those of the published training scripts."""


def recipe_of(model: str) -> Recipe:
    """Return how a model is trained.

    Parameters
    ----------
    model
        A registry name, one of the user's own, or a checkpoint's path. Of a file no more than
        names are read. A file that states nothing is taken for SAM's until it is loaded.
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
