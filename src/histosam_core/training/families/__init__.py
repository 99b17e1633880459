"""How each family of models learns: one `Learner` a family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.compute import Compute
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.families.learner import Learner
    from histosam_core.training.run_log import RunLog
    from histosam_core.training.samples import TrainingPatch


def start_learner(
    config: TrainConfig,
    model: InteractiveModel | None,
    train_patches: Sequence[TrainingPatch],
    validation_patches: Sequence[TrainingPatch],
    n_validated: int,
    compute: Compute,
    log: RunLog,
) -> Learner:
    """Load the model that a run starts from, or copy the one that is given, ready to learn.

    ConfigError says that it cannot be trained, or not in the way that the settings say.
    """
    recipe, processes = config.recipe, compute.processes
    learner: Learner
    if recipe.name.startswith("focalclick"):
        from histosam_core.training.families.focalclick import FocalClickLearner

        learner = FocalClickLearner.start(config, model, train_patches, compute)
    elif recipe.is_specialist:
        from histosam_core.training.families.specialist import SpecialistLearner

        learner = SpecialistLearner.start(config, model, train_patches, compute)
    else:
        from histosam_core.training.families.sam import SamLearner
        from histosam_core.training.families.sam_parts import starting_model

        start = starting_model(config, model, processes.device)
        learner = SamLearner(
            config, start, train_patches, validation_patches, n_validated, compute, log
        )
    n, least = learner.examples.batch_size, recipe.least_at_a_time
    if n < least:
        raise ConfigError(
            f"a step needs {least} patches or more, and there is one; prepare more patches"
        )
    if n < processes.count * least:
        raise ConfigError(
            f"{processes.count} processes cannot share steps of {n} patches; raise batch_size, "
            "prepare more patches, or start fewer processes"
        )
    return learner
