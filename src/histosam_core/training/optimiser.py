"""Adam over the parts that learn: their learning rates, clipping, half precision's scaling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from histosam_core.training.config import TrainConfig

__all__ = ["Optimiser", "make_scaler", "mixed_precision"]

LEAST_SCALE = 1.0
"""A gradient that is no number at this scale of the loss is not for want of half's range."""


def _all_of_it(name: str) -> float:
    return 1.0


class Optimiser:
    """Takes steps along the gradients that lie in the parameters.

    Parameters
    ----------
    config
        Says how.
    network
        What is trained.
    names
        The parameters that learn.
    share_of
        Returns the share of the learning rate that a parameter gets, by its name.

    Attributes
    ----------
    parameters : list of Tensor
        Those that learn.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        names: Iterable[str],
        share_of: Callable[[str], float] = _all_of_it,
    ) -> None:
        of_share: dict[float, list[Tensor]] = {1.0: []}
        for name in names:
            of_share.setdefault(share_of(name), []).append(network.get_parameter(name))
        groups = [
            {"params": parameters, "share": share}
            for share, parameters in of_share.items()
            if parameters or share == 1.0
        ]
        self.parameters = [one for parameters in of_share.values() for one in parameters]
        self._clip_norm = config.clip_norm
        self._adam = torch.optim.Adam(groups, config.learning_rate, betas=(0.9, 0.999), eps=1e-8)
        self._scaler = make_scaler(config.precision, self.parameters[0].device.type)

    @property
    def rate(self) -> float:
        """The learning rate of what gets all of it."""
        return float(self._adam.param_groups[0]["lr"])

    def set_rate(self, rate: float) -> None:
        """Set the learning rate; each parameter gets its share of it."""
        for group in self._adam.param_groups:
            group["lr"] = rate * group["share"]

    def scaled(self, loss: Tensor) -> Tensor:
        """Return what to take the gradient of, so that half precision does not lose it."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def clip(self, loss: float) -> bool:
        """Clip the gradient; say whether it, and the loss, are numbers that a step can be taken by.

        Half precision overflows now and then: its step is passed over, at a lower scale.
        """
        if self._scaler is not None:
            self._scaler.unscale_(self._adam)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self._clip_norm)
        may_overflow = self._scaler is not None and self._scaler.get_scale() > LEAST_SCALE
        return math.isfinite(loss) and (may_overflow or bool(torch.isfinite(norm)))

    def step(self) -> None:
        """Change the parameters, once the gradient is clipped."""
        if self._scaler is None:
            self._adam.step()
            return
        self._scaler.step(self._adam)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Moments and scale, as `load_state_dict` takes them."""
        scale = None if self._scaler is None else self._scaler.state_dict()
        return {**self._adam.state_dict(), "scaler": scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._adam.load_state_dict({name: state[name] for name in ("state", "param_groups")})
        if self._scaler is not None and state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])


def make_scaler(precision: str, device_type: str) -> torch.amp.GradScaler | None:
    """Return what keeps half-precision gradients in range; None for other precisions.

    Raises
    ------
    ConfigError
        Half precision on anything but a CUDA GPU.
    """
    if precision != "fp16":
        return None
    if device_type != "cuda":
        raise ConfigError(f"precision fp16 needs a CUDA GPU, not {device_type}; choose bf16")
    return torch.amp.GradScaler(device_type)


def mixed_precision(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """Return the context in which a network computes in "fp32", "bf16" or "fp16"."""
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device_type, kind, enabled=precision != "fp32")
