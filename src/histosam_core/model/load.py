"""`load_model`: a model of any family, by its name or from its file, ready for clicks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from histosam_core.errors import CheckpointError, ConfigError
from histosam_core.model.interface import NOT_STATED
from histosam_core.model.registry import registry
from histosam_core.model.registry.own_models import checkpoint_path, find_spec, unknown_model
from histosam_core.model.registry.weights import fetch_weights, note_weights
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    import torch

    from histosam_core.model.checkpoint.checkpoint_info import CheckpointInfo
    from histosam_core.model.focalclick.model import FocalClickModel
    from histosam_core.model.ritm.model import RitmModel
    from histosam_core.model.sam.interactive import SamModel
    from histosam_core.model.sam.network import Decoder, SamNetwork
    from histosam_core.model.simpleclick.model import SimpleClickModel
    from histosam_core.model.specialists.click_network import ClickNetwork

    Model: TypeAlias = SamModel | RitmModel | FocalClickModel | SimpleClickModel


def load_model(
    name_or_path: str | os.PathLike[str],
    device: str = "auto",
    *,
    architecture: str | None = None,
    decoder: Decoder | None = None,
    dense_prompts: bool | None = None,
    early_features: bool | None = None,
    accept_licence: bool = False,
    mirror: str | None = None,
    progress: ProgressCallback = silent,
) -> Model:
    """Load a model that answers clicks.

    Parameters
    ----------
    name_or_path
        A name of `list_models` (downloaded where it is not here yet) or of `list_own_models`, or a
        checkpoint's path. A file of any family will do; its keys and shapes say what it is.
    device
        "auto" (a CUDA GPU where there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps".
    architecture, decoder, dense_prompts, early_features
        As for `load_checkpoint`; RITM, FocalClick and SimpleClick have no choice of decoders,
        prompts and features.
    accept_licence
        The user accepts what the licence of a named model forbids; noted for the next time. See
        `licence_to_confirm`.
    mirror, progress
        As for `fetch_weights`.

    Returns
    -------
    SamModel, RitmModel, FocalClickModel or SimpleClickModel
        With ``encode`` and ``decode``; ``info`` says what it is.

    Raises
    ------
    UnknownModelError
        Neither a name nor a file.
    CheckpointError
        The file cannot be used; see `load_checkpoint`.
    LicenceError
        The licence forbids something that nobody has accepted.
    DownloadError
        The weights could not be fetched, or are not those that came at first.
    ConfigError
        The device is not there, or a setting is unknown or of another family.

    Examples
    --------
    >>> model = load_model("histosam-tiny", device="cpu")  # doctest: +SKIP
    """
    # A name wins over a file of the same name without a suffix, so a call means one thing.
    name = os.fspath(name_or_path)
    is_named = name in registry.MODELS
    path = checkpoint_path(name_or_path)
    if not is_named and not path.is_file():
        raise unknown_model(name)

    from histosam_core.model.checkpoint.checkpoint import load_checkpoint
    from histosam_core.model.device import pick_device

    chosen_device = pick_device(device)
    options: dict[str, Any] = {
        "decoder": decoder,
        "dense_prompts": dense_prompts,
        "early_features": early_features,
    }
    if not is_named:
        network, info = load_checkpoint(path, architecture=architecture, **options)
        info = replace(info, path=str(path.absolute()))
        if info.licence == NOT_STATED:  # terms of the network hold for any weights of it
            same = (spec for spec in registry.MODELS.values() if spec.terms)
            of_network = {spec.architecture: spec.licence for spec in same}
            info = replace(info, licence=of_network.get(info.architecture, NOT_STATED))
        return make_interactive(network, info, chosen_device)
    spec = find_spec(name)
    if not spec.decoders and (decoder is not None or dense_prompts or early_features):
        raise ConfigError(
            f"{name} has none of SAM's decoders, dense prompts and early features; leave those out"
        )
    weights = fetch_weights(name, mirror=mirror, accept_licence=accept_licence, progress=progress)
    network, info = load_checkpoint(
        weights, architecture=architecture or spec.architecture, **options
    )
    if spec.is_bundled:
        info = replace(info, licence=spec.licence)
    else:
        note_weights(spec, info.sha256)
        source = {"url": spec.url or spec.page, "licence": spec.licence}
        info = replace(
            info,
            name=spec.name,
            geometry=spec.geometry,
            licence=spec.licence,
            provenance={**info.provenance, **source},
        )
    return make_interactive(network, info, chosen_device)


def make_interactive(
    network: SamNetwork | ClickNetwork,
    info: CheckpointInfo,
    device: str | torch.device = "auto",
    **settings: Any,
) -> Model:
    """Make a network that `load_checkpoint` gives answer clicks, as its family's evaluation does.

    Parameters
    ----------
    network, info
        What to make a model of, and what it says of itself, its ``settings`` included.
    device
        As for `load_model`.
    settings
        Further ones of RITM's, FocalClick's or SimpleClick's model, such as ``fold=False``.

    Raises
    ------
    CheckpointError
        The settings are not of this family.
    ConfigError
        The device is not there.
    """
    from histosam_core.model.sam.network import SamNetwork

    if isinstance(network, SamNetwork):
        from histosam_core.model.sam.interactive import SamModel

        return SamModel(network, info, device)
    from histosam_core.model.focalclick.model import TARGET_CROP, FocalClickModel
    from histosam_core.model.ritm.model import RITM_ZOOM_IN, RitmModel
    from histosam_core.model.simpleclick.model import SIMPLECLICK_ZOOM_IN, SimpleClickModel

    kinds: Mapping[str, tuple[Any, Any]] = {
        "ritm": (RitmModel, RITM_ZOOM_IN),
        "focalclick": (FocalClickModel, TARGET_CROP),
        "simpleclick": (SimpleClickModel, SIMPLECLICK_ZOOM_IN),
    }
    kind, zoom_in = kinds[info.architecture.partition("_")[0]]
    given = {**info.settings, **settings}
    try:
        if isinstance(given.get("zoom_in"), Mapping):
            given["zoom_in"] = replace(zoom_in, **given["zoom_in"])
        model: Model = kind(network, device=device, info=info, **given)
    except TypeError as error:
        raise CheckpointError(
            f"{info.name} has settings that {kind.__name__} does not know ({error}); update "
            "napari-histosam, or save it again without them"
        ) from error
    return model
