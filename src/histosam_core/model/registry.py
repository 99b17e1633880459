"""The models known by name, where their weights are, and `load_model`.

Only what `load_model` can build is listed. Nothing here imports torch until a model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histosam_core.errors import CheckpointError, UnknownModelError
from histosam_core.model.download import Digest, download
from histosam_core.model.interface import NOT_STATED, TrainingGeometry
from histosam_core.model.own_models import checkpoint_path, list_own_models
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.model.sam.interactive import SamModel
    from histosam_core.model.sam.network import Architecture, Decoder

__all__ = [
    "BUNDLED",
    "MODELS",
    "ModelSpec",
    "cache_folder",
    "fetch_weights",
    "list_models",
    "load_model",
    "weights_path",
]

Where = Literal["bundled", "downloaded", "not downloaded", "missing"]

META = "https://dl.fbaipublicfiles.com/segment_anything"
GWDG = "https://owncloud.gwdg.de/index.php/s"
PAPER = TrainingGeometry(mpp=2.0, patch_size_px=400)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model known by name.

    Parameters
    ----------
    name
        What `load_model` takes.
    architecture
        "sam_vit_b", "sam_vit_l", "sam_vit_h" or "histosam_tiny".
    decoders
        What the weights hold, the default first.
    licence
        Of the weights.
    file_name
        In the cache folder, or in the package for a bundled model.
    about
        What it was trained on, in a few words.
    geometry
        The window that serves a click; the paper's (400 px at 2 um/px) for a model that was not
        trained on slides.
    url, digest
        Where the weights are and the hash they must have; None for a bundled model.
    size_bytes
        Of the file, where it is known.
    """

    name: str
    architecture: Architecture
    decoders: tuple[Decoder, ...]
    licence: str
    file_name: str
    about: str
    geometry: TrainingGeometry = PAPER
    url: str | None = None
    digest: Digest | None = None
    size_bytes: int | None = None

    @property
    def where(self) -> Where:
        """Whether the weights are on this machine."""
        if self.url is None:
            return "bundled" if weights_path(self).is_file() else "missing"
        return "downloaded" if weights_path(self).is_file() else "not downloaded"


BUNDLED = "histosam-tiny"

_SPECS = (
    ModelSpec(
        BUNDLED,
        "histosam_tiny",
        ("refining", "sam"),
        "BSD-3-Clause",
        f"{BUNDLED}.safetensors",
        "generic synthetic images; small, for machines without a GPU",
    ),
    ModelSpec(
        "sam_vit_b",
        "sam_vit_b",
        ("sam",),
        "Apache-2.0",
        "sam_vit_b_01ec64.pth",
        "natural images (SA-1B)",
        url=f"{META}/sam_vit_b_01ec64.pth",
        digest=Digest("sha256", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
        size_bytes=375_042_383,
    ),
    ModelSpec(
        "sam_vit_l",
        "sam_vit_l",
        ("sam",),
        "Apache-2.0",
        "sam_vit_l_0b3195.pth",
        "natural images (SA-1B)",
        url=f"{META}/sam_vit_l_0b3195.pth",
        digest=Digest("sha256", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
        size_bytes=1_249_524_607,
    ),
    ModelSpec(
        "sam_vit_h",
        "sam_vit_h",
        ("sam",),
        "Apache-2.0",
        "sam_vit_h_4b8939.pth",
        "natural images (SA-1B)",
        url=f"{META}/sam_vit_h_4b8939.pth",
        digest=Digest("sha256", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
        size_bytes=2_564_550_879,
    ),
    ModelSpec(
        "pathosam_vit_b",
        "sam_vit_b",
        ("sam",),
        NOT_STATED,
        "pathosam_vit_b.pt",
        "nuclei in H&E",
        url=f"{GWDG}/sBB4H8CTmIoBZsQ/download",
        digest=Digest("xxh128", "ffd1a2cd84570458b257bd95fdd8f974"),
    ),
    ModelSpec(
        "pathosam_vit_l",
        "sam_vit_l",
        ("sam",),
        NOT_STATED,
        "pathosam_vit_l.pt",
        "nuclei in H&E",
        url=f"{GWDG}/IZgnn1cpBq2PHod/download",
        digest=Digest("xxh128", "b591833c89754271023e901281dee3f2"),
    ),
    ModelSpec(
        "pathosam_vit_h",
        "sam_vit_h",
        ("sam",),
        NOT_STATED,
        "pathosam_vit_h.pt",
        "nuclei in H&E",
        url=f"{GWDG}/L7AcvVz7DoWJ2RZ/download",
        digest=Digest("xxh128", "bd1856dafc156a43fb3aa705f1a6e92e"),
    ),
    ModelSpec(
        "medicosam_vit_b",
        "sam_vit_b",
        ("sam",),
        NOT_STATED,
        "medicosam_vit_b.pt",
        "medical images",
        url=f"{GWDG}/f5Ol4FrjPQWfjUF/download",
        digest=Digest("xxh128", "40169f1e3c03a4b67bff58249c176d92"),
    ),
)

MODELS: Mapping[str, ModelSpec] = {spec.name: spec for spec in _SPECS}


def list_models() -> tuple[ModelSpec, ...]:
    """All models that `load_model` knows by name, the bundled one first."""
    return _SPECS


def cache_folder() -> Path:
    """Where downloaded weights are kept: $HISTOSAM_CACHE, else the platform's cache folder."""
    stated = os.environ.get("HISTOSAM_CACHE")
    if stated:
        return Path(stated).expanduser()
    import pooch

    return Path(pooch.os_cache("histosam"))


def weights_path(spec: ModelSpec) -> Path:
    """Where the model's weights are, or would be."""
    if spec.url is None:
        return Path(str(resources.files("histosam_core.model") / "weights" / spec.file_name))
    return cache_folder() / "models" / spec.file_name


def fetch_weights(name: str, *, progress: ProgressCallback = silent) -> Path:
    """Return the path of a named model's weights, downloading them where they are not here yet.

    Parameters
    ----------
    name
        From `list_models`.
    progress
        Called with bytes done and in all while downloading.

    Raises
    ------
    UnknownModelError
        No such name.
    DownloadError
        See `download`.
    CheckpointError
        The bundled weights are not in this installation.
    """
    spec = _spec(name)
    path = weights_path(spec)
    if spec.url is None or spec.digest is None:
        if not path.is_file():
            raise CheckpointError(
                f"the bundled weights are not at {path}; reinstall napari-histosam"
            )
        return path
    return download(spec.url, path, digest=spec.digest, progress=progress)


def load_model(
    name_or_path: str | os.PathLike[str],
    device: str = "auto",
    *,
    decoder: Decoder | None = None,
    dense_prompts: bool | None = None,
    early_features: bool | None = None,
    progress: ProgressCallback = silent,
) -> SamModel:
    """Load a model that answers clicks.

    Parameters
    ----------
    name_or_path
        A name of `list_models` (downloaded where it is not here yet) or of `list_own_models`, or a
        checkpoint's path.
    device
        "auto" (a CUDA GPU where there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps".
    decoder
        "sam" or "refining"; None takes the checkpoint's default. "refining" on weights that have
        only SAM's decoder starts its new layers fresh: train it before use.
    dense_prompts
        True adds dense click prompts to SAM weights (they add nothing until trained); None takes
        what the checkpoint has.
    early_features
        True hands the image encoder's early features to a refining decoder that did not get them
        (they add nothing until trained); None takes what the checkpoint has.
    progress
        Called with bytes done and in all while downloading.

    Returns
    -------
    SamModel
        With ``encode``, ``decode`` and their batched forms.

    Raises
    ------
    UnknownModelError
        Neither a name nor a file.
    CheckpointError
        The file cannot be used; see `load_checkpoint`.
    DownloadError
        The weights could not be fetched.
    ConfigError
        The device is not there, or a setting is unknown.

    Examples
    --------
    >>> model = load_model("histosam-tiny", device="cpu")  # doctest: +SKIP
    """
    # A name wins over a file of the same name without a suffix, so a call means one thing.
    spec = MODELS.get(os.fspath(name_or_path))
    path = checkpoint_path(name_or_path)
    if spec is None and not path.is_file():
        raise _unknown(os.fspath(name_or_path))

    from histosam_core.model.checkpoint import load_checkpoint
    from histosam_core.model.device import pick_device
    from histosam_core.model.sam.interactive import SamModel

    chosen_device = pick_device(device)
    if spec is None:
        network, info = load_checkpoint(
            path,
            decoder=decoder,
            dense_prompts=dense_prompts,
            early_features=early_features,
        )
        info = replace(info, path=str(path.absolute()))
        return SamModel(network, info, chosen_device)
    network, info = load_checkpoint(
        fetch_weights(spec.name, progress=progress),
        architecture=spec.architecture,
        decoder=decoder,
        dense_prompts=dense_prompts,
        early_features=early_features,
    )
    if spec.url is not None:
        info = replace(
            info,
            name=spec.name,
            geometry=spec.geometry,
            provenance={**info.provenance, "url": spec.url, "licence": spec.licence},
        )
    return SamModel(network, info, chosen_device)


def _spec(name: str) -> ModelSpec:
    if name not in MODELS:
        raise _unknown(name)
    return MODELS[name]


def _unknown(name: str) -> UnknownModelError:
    names = [*MODELS, *(own.name for own in list_own_models())]
    close = get_close_matches(name.lower().replace("-", "_"), names, n=3, cutoff=0.5)
    close = close or get_close_matches(name, names, n=3, cutoff=0.4)
    looks_like_path = Path(name).suffix != "" or os.sep in name
    hint = f"; did you mean {' or '.join(close)}?" if close and not looks_like_path else ""
    return UnknownModelError(
        f"no model named {name!r} and no checkpoint file at that path{hint} "
        "(histosam models lists the names)"
    )
