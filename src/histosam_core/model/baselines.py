"""The networks of other methods by name; asking for names needs no torch."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from histosam_core.errors import UnknownModelError
from histosam_core.model.registry.registry import MODELS

if TYPE_CHECKING:
    from torch import nn

__all__ = ["canonical_name", "network", "network_names"]

_VARIANTS = {
    "ritm": ("ritm.network", "RITM_VARIANTS"),
    "focalclick": ("focalclick.network", "FOCALCLICK_VARIANTS"),
    "simpleclick": ("simpleclick.network", "SIMPLECLICK_VARIANTS"),
}
"""By family: where the functions stand that build its networks."""

_TEST_NETWORK = "simpleclick_xtiny448"
"""Small, and without published weights."""


def network_names() -> tuple[str, ...]:
    """Names that `network` takes, one for each network.

    RITM (Sofiiuk et al. 2022), FocalClick (Chen et al. 2022), SimpleClick (Liu et al. 2023) and
    MobileSAM (Zhang et al. 2023).
    """
    published = [spec.architecture for spec in MODELS.values() if spec.family in _VARIANTS]
    return (*dict.fromkeys(published), _TEST_NETWORK, "mobile_sam")


def canonical_name(name: str) -> str:
    """Return the name in `network_names` that a name stands for.

    Parameters
    ----------
    name
        One of them or a model's name, such as "ritm_h18s" or "simpleclick_vit_b", in any case and
        with either "-" or "_".

    Raises
    ------
    UnknownModelError
        No network of that name; the message has those that come close.
    """
    known = {canonical.lower(): canonical for canonical in network_names()}
    known |= {s.name: s.architecture for s in MODELS.values() if s.architecture in known.values()}
    sought = name.strip().lower().replace("-", "_")
    if sought in known:
        return known[sought]
    close = get_close_matches(sought, known, n=3, cutoff=0.5)
    shown = [known[match] if match == known[match].lower() else match for match in close]
    if shown:
        raise UnknownModelError(f"no network {name!r}; did you mean {' or '.join(shown)}?")
    raise UnknownModelError(f"no network {name!r}; choose one of {', '.join(network_names())}")


def network(name: str) -> nn.Module:
    """Build a network with random weights, in evaluation mode.

    Its state dict has the keys and shapes of the method's published checkpoints.

    Parameters
    ----------
    name
        As for `canonical_name`.

    Raises
    ------
    UnknownModelError
        No network of that name.
    """
    canonical = canonical_name(name)
    family, _, variant = canonical.partition("_")
    built: nn.Module
    if family in _VARIANTS:
        home, table = _VARIANTS[family]
        built = getattr(import_module(f"histosam_core.model.{home}"), table)[variant]()
    else:
        from histosam_core.model.sam.network import build_network

        built = build_network("mobile_sam")
    return built.eval()


def __getattr__(name: str) -> Any:
    """The models over these networks, which import torch, when they are asked for."""
    if name not in ("FocalClickModel", "RitmModel", "SimpleClickModel", "ZoomIn"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("histosam_core.model"), name)
