"""Settings of an improvement: checked all at once, saved as JSON beside what they produced."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from histosam_core.atomic import new_file
from histosam_core.dataset.settings import ExtractionSettings
from histosam_core.errors import ConfigError
from histosam_core.model.interface import TrainingGeometry
from histosam_core.settings import read_settings
from histosam_core.training.config import TrainConfig

__all__ = ["PARTS", "PROMOTE", "ImproveSettings"]

PARTS = ("train", "validation", "test")
PROMOTE = ("better", "always", "never")
FREE_ON_RESUME = frozenset({"out", "device", "promote", "name"})
"""Settings that may differ when work is resumed: they decide where, and what becomes of it."""

_LEAST_STEPS, _LEAST_EPOCHS, _VALIDATIONS = 600, 30, 15
_LEAST_STEPS_PER_EPOCH, _VARIANTS = 20, 4
_MOST_REPEATS = _VARIANTS
# Short runs of networks that are trained already: a lower rate and a short warm-up, stains varied
# since slides are few, first clicks as the proof makes them, the quality score kept in step, and
# half of the weights kept as they were, so that little is forgotten.
_TUNING: Mapping[str, Any] = {
    "learning_rate": 2e-4,
    "warmup_steps": 10,
    "single_click_share": 0.3,
    "quality_weight": 0.2,
    "keep_base": 0.5,
    "augment": {"stain": True},
    "validation_limit": 40,
}
_OURS = ("out", "model", "patches", "validation_patches", "scenario", "max_minutes", "device")


@dataclass(frozen=True, slots=True)
class ImproveSettings:
    """Everything that decides what `improve` does.

    Parameters
    ----------
    out
        Folder of this work.
    slides
        One folder of slides, or slides.
    annotations
        One folder of annotations, or an annotation for each slide in the same order; empty: they
        lie beside the slides, see `find_annotation`. Slides without one are left out.
    model
        Registry name, own model, or checkpoint to start from.
    scenario
        What trains: "md", "ie_md", "whole", "refining" or "histosam".
    minutes
        The tuning's budget of wall time; cutting patches and counting clicks come on top. None: the
        epochs alone decide.
    mpp, patch_size_px
        Scale and edge of the patches; None: what the model was trained at.
    stride_px
        Step of the grid of patches; None: half a patch. Patches of one part overlap, those of
        different parts never do.
    tumor_fraction, min_tissue, slide_mpp, labels
        See `extract_patches`.
    known_within_um
        How far round an outline the annotation is trusted, in micrometres. Beyond it, and outside
        areas marked as annotated, tissue is unknown and ignored. None: all tumour of the slides
        is outlined.
    min_known
        Least share of a patch that is known.
    splits
        Shares for training, validation and the held-out test.
    split_file
        CSV with the columns slide,split instead; the splits are train, validation and test.
    least_patches
        Least number of patches for training, validation and test.
    max_clicks
        Click budget of the proof.
    test_limit
        Held-out patches used, spread evenly over them; None takes all.
    tuning
        Other settings of `TrainConfig` by name. Those for which nothing is said are for short runs
        from few slides, see docs/improve.md.
    promote
        "better": the new model is added to the user's own if it is proven to be better; "always";
        "never".
    name
        Its name there; None: made from the name of `out`.
    device
        "auto", "cpu", "cuda", "cuda:1", "mps".
    seed
        Of the tuning and the bootstrap.

    Raises
    ------
    ConfigError
        One or more settings are wrong; the message lists all of them.
    """

    out: Path
    slides: tuple[Path, ...]
    annotations: tuple[Path, ...] = ()
    model: str = "histosam-tiny"
    scenario: str = "refining"
    minutes: float | None = 20.0
    mpp: float | None = None
    patch_size_px: int | None = None
    stride_px: int | None = None
    tumor_fraction: tuple[float, float] = (0.2, 0.8)
    min_tissue: float = 0.5
    slide_mpp: float | None = None
    labels: tuple[str, ...] | None = None
    known_within_um: float | None = 100.0
    min_known: float = 0.2
    splits: tuple[float, float, float] = (0.6, 0.15, 0.25)
    split_file: Path | None = None
    least_patches: tuple[int, int, int] = (8, 4, 8)
    max_clicks: int = 20
    test_limit: int | None = 100
    tuning: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    promote: str = "better"
    name: str | None = None
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        self._normalise()
        problems = self._problems()
        if problems:
            raise ConfigError("settings: " + "; ".join(problems))

    def _normalise(self) -> None:
        def several(value: Any) -> tuple[Path, ...]:
            single = isinstance(value, str | os.PathLike)
            return tuple(Path(one) for one in ((value,) if single else value))

        object.__setattr__(self, "out", Path(self.out))
        checkpoint = Path(self.model)
        if checkpoint.suffix and checkpoint.is_file():
            object.__setattr__(self, "model", str(checkpoint.absolute()))
        object.__setattr__(self, "slides", several(self.slides))
        object.__setattr__(self, "annotations", several(self.annotations or ()))
        if self.split_file is not None:
            object.__setattr__(self, "split_file", Path(self.split_file))
        for name in ("tumor_fraction", "splits", "least_patches"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "tuning", MappingProxyType(dict(self.tuning)))

    def _problems(self) -> list[str]:
        problems = []
        if not self.slides:
            problems.append("no slide is named; give a folder of slides, or slides")
        if len(self.annotations) > 1 and len(self.annotations) != len(self.slides):
            problems.append(
                f"{len(self.annotations)} annotations for {len(self.slides)} slides; give one "
                "folder, or one for each slide in the same order"
            )
        if len(self.splits) != 3 or not all(math.isfinite(s) and s > 0 for s in self.splits):
            problems.append(
                f"splits {self.splits} must be three shares above 0, e.g. 0.6 0.15 0.25"
            )
        if len(self.least_patches) != 3 or not all(n >= 1 for n in self.least_patches):
            problems.append(f"least_patches {self.least_patches} must be three numbers, 1 or more")
        if self.max_clicks < 1 or (self.test_limit is not None and self.test_limit < 1):
            problems.append("max_clicks and test_limit must be at least 1")
        if self.promote not in PROMOTE:
            problems.append(f"promote {self.promote!r} must be one of {', '.join(PROMOTE)}")
        ours = sorted(set(_OURS) & set(self.tuning))
        if ours:
            problems.append(f"{', '.join(ours)} cannot be set for the tuning alone")
        for check in (lambda: self.extraction(TrainingGeometry()), lambda: self.train_config(64)):
            try:
                check()
            except ConfigError as error:
                problems.append(str(error))
        return problems

    def shares(self) -> dict[str, float]:
        """Return part to its share; they sum to 1."""
        total = sum(self.splits)
        return {part: share / total for part, share in zip(PARTS, self.splits, strict=True)}

    def least(self) -> dict[str, int]:
        """Return part to its least number of patches."""
        return dict(zip(PARTS, self.least_patches, strict=True))

    def extraction(self, geometry: TrainingGeometry) -> ExtractionSettings:
        """Return how patches are cut for a model of that geometry."""
        size = geometry.patch_size_px if self.patch_size_px is None else self.patch_size_px
        low, high = self.tumor_fraction if len(self.tumor_fraction) == 2 else (1.0, 0.0)
        return ExtractionSettings(
            mpp=geometry.mpp if self.mpp is None else self.mpp,
            patch_size_px=size,
            stride_px=max(1, size // 2) if self.stride_px is None else self.stride_px,
            tumor_fraction=(low, high),
            min_tissue=self.min_tissue,
            slide_mpp=self.slide_mpp,
            labels=self.labels,
            seed=self.seed,
            known_within_um=self.known_within_um,
            min_known=self.min_known,
        )

    def repeats(self, n_patches: int) -> int:
        """Return how often each of so many training patches comes in an epoch.

        A few patches make epochs of a step or two, most of whose time goes into saving the state.
        """
        return min(_MOST_REPEATS, math.ceil(_LEAST_STEPS_PER_EPOCH / self._steps(n_patches)))

    def train_config(self, n_patches: int, *, starts_fresh: bool = False) -> TrainConfig:
        """Return the tuning's settings for so many training patches, each repeated.

        Parameters
        ----------
        n_patches
            Training patches.
        starts_fresh
            Whether the model lacks the scenario's decoder, so that there is no half of it to keep.
        """
        repeats = self.repeats(n_patches)
        epochs = max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / self._steps(repeats * n_patches)))
        epochs = self.tuning.get("epochs", epochs)
        every = epochs // _VALIDATIONS if isinstance(epochs, int) else 1
        augment = self.tuning.get("augment", {})
        if isinstance(augment, Mapping):
            augment = {**_TUNING["augment"], **augment}
        return TrainConfig.from_dict(
            {
                **_TUNING,
                "keep_base": 0.0 if starts_fresh else _TUNING["keep_base"],
                "validate_every": max(1, every),
                "validation_clicks": self.max_clicks,
                # Every repeat of a patch has variants of its own.
                "augment_variants": _VARIANTS // repeats,
                "seed": self.seed,
                **self.tuning,
                "augment": augment,
                "epochs": epochs,
                # Absolute, so that work resumed from another folder finds the same settings.
                "out": self.out.absolute() / "tuning",
                "patches": self.out.absolute() / "patches",
                "model": self.model,
                "scenario": self.scenario,
                "max_minutes": self.minutes,
                "device": self.device,
            }
        )

    def _steps(self, n_patches: int) -> int:
        """Steps of an epoch."""
        batch = self.tuning.get("batch_size", 8)
        return max(1, n_patches // batch) if isinstance(batch, int) and batch > 0 else 1

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them; paths are absolute."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["tuning"] = _plain(dict(self.tuning))
        for name in ("slides", "annotations"):
            values[name] = [str(path.absolute()) for path in values[name]]
        for name in ("out", "split_file"):
            values[name] = None if values[name] is None else str(values[name].absolute())
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImproveSettings:
        """Build from plain values.

        Raises
        ------
        ConfigError
            One or more settings are unknown, missing or wrong.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(values.keys() - known)
        missing = sorted({"out", "slides"} - values.keys())
        if unknown or missing:
            told = [f"no setting is called {name!r}" for name in unknown]
            told += [f"{name} is missing" for name in missing]
            raise ConfigError("settings: " + "; ".join(told))
        return cls(**values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as JSON."""
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ImproveSettings:
        """Read what `save` wrote.

        Raises
        ------
        ConfigError
            The file is missing or not JSON, or settings are wrong.
        """
        return cls.from_dict(read_settings(path))

    def check_same(self, earlier: ImproveSettings) -> None:
        """Raise ConfigError where settings differ that a resumed work must keep."""
        now, then = self.as_dict(), earlier.as_dict()
        changed = [n for n in now if n not in FREE_ON_RESUME and now[n] != then[n]]
        if changed:
            listed = "; ".join(f"{n} was {then[n]!r}, now {now[n]!r}" for n in changed)
            raise ConfigError(
                f"resumed work keeps its settings ({listed}); leave them as they were, or choose "
                "another folder"
            )


def _plain(value: Any) -> Any:
    """A setting as JSON has it: paths as text, nested settings as mappings."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    return value
