"""The networks of other methods by name; asking for names needs no torch."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from histosam_core.errors import UnknownModelError

if TYPE_CHECKING:
    from torch import nn


__all__ = ["canonical_name", "network", "network_names"]

_VARIANTS = {
    "ritm": ("ritm.network", "RITM_VARIANTS"),
    "focalclick": ("focalclick.network", "FOCALCLICK_VARIANTS"),
    "simpleclick": ("simpleclick.network", "SIMPLECLICK_VARIANTS"),
}
"""By family: where the functions stand that build its networks."""

_SHORT_NAMES = {
    "ritm_hrnet18s_itm": "ritm_h18s",
    "ritm_hrnet18_itm": "ritm_h18",
    "ritm_hrnet32_itm": "ritm_h32",
    "focalclick_hrnet18s_S1": "focalclick_h18s_s1",
    "focalclick_hrnet18s_S2": "focalclick_h18s_s2",
    "focalclick_hrnet32_S2": "focalclick_h32_s2",
    "focalclick_segformerB0_S1": "focalclick_b0_s1",
    "focalclick_segformerB0_S2": "focalclick_b0_s2",
    "focalclick_segformerB3_S2": "focalclick_b3_s2",
    "simpleclick_xtiny448": "",
    "simpleclick_vitb448": "simpleclick_vit_b",
    "simpleclick_vitl448": "simpleclick_vit_l",
    "simpleclick_vith448": "simpleclick_vit_h",
    "mobile_sam": "",
}


def network_names() -> tuple[str, ...]:
    """Names that `network` takes, one for each network.

    RITM (Sofiiuk et al. 2022), FocalClick (Chen et al. 2022), SimpleClick (Liu et al. 2023) and
    MobileSAM (Zhang et al. 2023).
    """
    return tuple(_SHORT_NAMES)


def canonical_name(name: str) -> str:
    """Return the name in `network_names` that a name stands for.

    Parameters
    ----------
    name
        One of them or its short form, such as "ritm_h18s" or "simpleclick_vit_b", in any case and
        with either "-" or "_".

    Raises
    ------
    UnknownModelError
        No network of that name; the message has those that come close.
    """
    known = {canonical.lower(): canonical for canonical in _SHORT_NAMES}
    known |= {short: canonical for canonical, short in _SHORT_NAMES.items() if short}
    sought = name.strip().lower().replace("-", "_")
    if sought in known:
        return known[sought]
    close = get_close_matches(sought, known, n=3, cutoff=0.5)
    shown = [known[match] if match == known[match].lower() else match for match in close]
    if shown:
        raise UnknownModelError(f"no network {name!r}; did you mean {' or '.join(shown)}?")
    raise UnknownModelError(f"no network {name!r}; there are {', '.join(network_names())}")


def network(name: str) -> nn.Module:
    """Build a network with random weights, in evaluation mode.

    Parameters
    ----------
    name
        As for `canonical_name`.

    Returns
    -------
    nn.Module
        Its state dict has the keys and shapes of the method's published checkpoints.

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
