"""How each family of models learns: one `Learner` a family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from histosam_core.errors import ConfigError
from histosam_core.training.recipes import SCENARIOS

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
    """Load or copy the model that a run starts from, ready to learn.

    A model that is given is copied, not changed. Other parameters as for `SamLearner`.

    Raises
    ------
    ConfigError
        The model cannot be trained, or not in the way that `config` says.
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

        scenario = SCENARIOS[config.scenario]
        start = starting_model(config, scenario, model, processes.device)
        learner = SamLearner(
            config, scenario, start, train_patches, validation_patches, n_validated, compute, log
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
