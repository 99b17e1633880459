"""The fine-tuning scenarios: which parts train, which decoder, dense click prompts or not.

A table only, without torch, so that help texts and widgets can show it at once;
families/sam_parts.py applies it to a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from histosam_core.model.sam.network import Decoder

Part = Literal["image_encoder", "prompt_encoder", "dense_prompts", "mask_decoder"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to fine-tune.

    Parameters
    ----------
    name
        As given to `--scenario`.
    explanation
        One line for help texts.
    trained
        Parts that learn; all others are frozen, bit for bit. "prompt_encoder" is SAM's own part of
        the prompt encoder, "dense_prompts" what dense click prompts add to it.
    decoder
        "sam" or "refining".
    adds_dense_prompts
        Give a SAM checkpoint dense click prompts. `histosam-tiny` has them in every scenario.
    adds_early_features
        Hand the encoder's early features to a decoder that did not get them, unless the settings
        say otherwise. A decoder that gets them keeps them in every scenario.
    """

    name: str
    explanation: str
    trained: frozenset[Part]
    decoder: Decoder
    adds_dense_prompts: bool = False
    adds_early_features: bool = False

    @property
    def freezes_encoder(self) -> bool:
        """Whether image embeddings stay the same during training, and so may be cached."""
        return "image_encoder" not in self.trained

    def early_features(self, choice: bool | None) -> bool | None:
        """What to ask of the base model: early features, none, or (None) what it has.

        Parameters
        ----------
        choice
            Of the settings; None leaves it to the scenario.
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

SCENARIOS: Mapping[str, Scenario] = MappingProxyType({one.name: one for one in _SCENARIOS})
"""Scenarios by name: the paper's four (its "Ours" is `refining`), and this project's own."""
