"""The processes that train together, as `accelerate launch` or `torchrun` starts them.

Every process sees its share of each batch; gradients are summed, so that a step is the same however
many there are. The first one alone writes files and reports.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from histosam_core.model.device import pick_device

__all__ = ["Processes"]

Value = TypeVar("Value")


class Processes:
    """This process among those that train together; all call the same methods in the same order.

    Parameters
    ----------
    rank, count
        Which one of how many.
    device
        What this one computes on, as `pick_device` takes it.
    """

    def __init__(self, rank: int, count: int, device: str) -> None:
        self.rank, self.count, self.device = rank, count, device

    @classmethod
    def join(cls, device: str) -> Processes:
        """Meet the others that the launcher started, if it started any.

        Parameters
        ----------
        device
            As the user asked; with CUDA each process of a machine gets a GPU of its own.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls(0, 1, device)
        from accelerate import PartialState

        state = PartialState(cpu=pick_device(device).type == "cpu")
        atexit.register(state.destroy_process_group)
        return cls(int(state.process_index), int(state.num_processes), str(state.device))

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def largest(self, values: Sequence[float]) -> list[float]:
        """Return the largest of each value over all processes."""
        if self.count == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64).to(self._tensor_device())
        torch.distributed.all_reduce(together, torch.distributed.ReduceOp.MAX)
        return [float(value) for value in together]

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one exchange for each dtype."""
        if self.count == 1:
            return
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            torch.distributed.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def from_main(self, value: Value) -> Value:
        """Return the first process's value in every process."""
        if self.count == 1:
            return value
        holder: list[Any] = [value]
        torch.distributed.broadcast_object_list(holder, src=0)
        told: Value = holder[0]
        return told

    def gather(self, values: Sequence[Value]) -> list[Value]:
        """Return the values of all processes, the first process's first."""
        if self.count == 1:
            return list(values)
        parts: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]

    def _tensor_device(self) -> torch.device:
        """NCCL exchanges what is on GPUs alone."""
        return torch.device(self.device if self.device.startswith("cuda") else "cpu")
