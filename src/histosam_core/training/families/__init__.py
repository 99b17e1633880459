"""How each family of models learns: one `Learner` a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from histosam_core.training.scenarios import SCENARIOS

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.compute import Compute
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import TrainingPatch
    from histosam_core.training.families.learner import Learner

__all__ = ["start_learner"]


def start_learner(
    config: TrainConfig,
    model: InteractiveModel | None,
    train_patches: Sequence[TrainingPatch],
    validation_patches: Sequence[TrainingPatch],
    n_validated: int,
    compute: Compute,
    *,
    on_encode: Callable[[], None],
    notice: Callable[[str], None],
) -> Learner:
    """Load or copy the model that a run starts from, ready to learn.

    Parameters
    ----------
    config
        Names the model, unless it is given, and says how is trained.
    model
        It is copied, not changed.
    train_patches, validation_patches, n_validated, compute, on_encode, notice
        As for `SamLearner`; a specialist needs the first and `compute` alone.

    Raises
    ------
    ConfigError
        The model cannot be trained, or not in the way that `config` says.
    """
    recipe = config.recipe
    if recipe.name.startswith("focalclick"):
        from histosam_core.training.families.focalclick import FocalClickLearner

        return FocalClickLearner.start(config, model, train_patches, compute)
    if recipe.is_specialist:
        from histosam_core.training.families.specialist import SpecialistLearner

        return SpecialistLearner.start(config, model, train_patches, compute)

    from histosam_core.training.families.sam import SamLearner
    from histosam_core.training.families.sam_parts import starting_model

    scenario = SCENARIOS[config.scenario]
    return SamLearner(
        config,
        scenario,
        starting_model(config, scenario, model, compute.processes.device),
        train_patches,
        validation_patches,
        n_validated,
        compute,
        on_encode=on_encode,
        notice=notice,
    )
