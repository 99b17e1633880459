"""How weights change: Adam, its learning rate over the run, and interpolation with the start."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from histosam_core.training.config import TrainConfig

LEAST_SCALE = 1.0
"""A gradient that is no number at this scale of the loss is not for want of half's range."""


class Optimiser:
    """Takes steps along the gradients that lie in the parameters.

    Of the network the parameters of those names learn, each at its share of the learning rate.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        names: Iterable[str],
        share_of: Callable[[str], float],
    ) -> None:
        of_share: dict[float, list[Tensor]] = {1.0: []}
        for name in names:
            of_share.setdefault(share_of(name), []).append(network.get_parameter(name))
        groups = [
            {"params": parameters, "share": share}
            for share, parameters in of_share.items()
            if parameters or share == 1.0
        ]
        self._parameters = [one for parameters in of_share.values() for one in parameters]
        self._config = config
        self._adam = torch.optim.Adam(groups, config.learning_rate, betas=(0.9, 0.999), eps=1e-8)
        self._scaler = make_scaler(config.precision, self._parameters[0].device.type)

    @property
    def rate(self) -> float:
        """The learning rate of what gets all of it."""
        return float(self._adam.param_groups[0]["lr"])

    def set_rate(self, step: int, total_steps: int, share_of_time: float = 0.0) -> None:
        """Set the rate for a step; parameters get their shares. See `learning_rate_factor`."""
        factor = learning_rate_factor(self._config, step, total_steps, share_of_time)
        for group in self._adam.param_groups:
            group["lr"] = self._config.learning_rate * factor * group["share"]

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss, scaled so that half precision does not lose it."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def clip(self, loss: float) -> bool:
        """Clip the gradient; say whether it, and the loss, are numbers that a step can be taken by.

        Half precision overflows now and then: its step is passed over, at a lower scale.
        """
        self._scaler.unscale_(self._adam)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        may_overflow = self._scaler.get_scale() > LEAST_SCALE
        return math.isfinite(loss) and (may_overflow or bool(torch.isfinite(norm)))

    def step(self) -> None:
        """Change the parameters, once the gradient is clipped."""
        self._scaler.step(self._adam)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Moments, rates and scale, as `load_state_dict` takes them."""
        return {**self._adam.state_dict(), "scaler": self._scaler.state_dict() or None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._adam.load_state_dict({name: state[name] for name in ("state", "param_groups")})
        if state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])


def make_scaler(precision: str, device_type: str) -> torch.amp.GradScaler:
    """Return what keeps half-precision gradients in range, on CUDA GPUs alone; else it is idle."""
    if precision == "fp16" and device_type != "cuda":
        raise ConfigError(f"precision fp16 needs a CUDA GPU, not {device_type}; choose bf16")
    return torch.amp.GradScaler(device_type, enabled=precision == "fp16")


def learning_rate_factor(
    config: TrainConfig, step: int, total_steps: int, share_of_time: float = 0.0
) -> float:
    """What the learning rate is multiplied by in one step: warm-up, then a fall at milestones.

    `step` were done before it, of `total_steps`. The warm-up takes at most a tenth of the run. The
    rate falls by the share of the time budget that is used, where that is faster.
    """
    warmup = min(config.warmup_steps, total_steps // 10)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    progress = max(step / total_steps, share_of_time)
    passed = sum(progress >= milestone for milestone in config.milestones)
    return rise * config.milestone_factor**passed


class WeightInterpolation:
    """Lends a network weights between those it started with and those it has (WiSE-FT).

    A model that is fine-tuned on few slides forgets what it could do elsewhere; the average of its
    weights before and after, parameter by parameter, keeps most of both (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022).

    Of `names` in the state dict, parameters and running means with them, what is a floating number
    is averaged; `share` is that of the starting weights, 0 leaves the network as it is.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], share: float) -> None:
        self._network, self._share = network, share
        held = network.state_dict()
        floating = (name for name in names if share and held[name].is_floating_point())
        self._start = {name: held[name].detach().clone() for name in floating}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While entered, the network has the averaged weights; afterwards its own, to the bit."""
        own: dict[str, Tensor] = {}
        held = self._network.state_dict() if self._start else {}
        with torch.no_grad():
            for name, start in self._start.items():
                own[name] = held[name].clone()
                held[name].lerp_(start.to(held[name].device), self._share)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    held[name].copy_(value)
