"""What a run computes with: processes that train together, memory, precision.

Every process takes its share of each batch, in as many passes (micro-batches) as its memory needs;
gradients are summed, so that a step is the same however a batch is divided.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from histosam_core.errors import HistoSamError, OutOfMemoryError
from histosam_core.model.device import naming_a_full_memory, pick_device

Value = TypeVar("Value")


class Processes:
    """This process among those that train together; all call the same methods in the same order.

    It is number `rank` of `count`, and computes on `device`, as `pick_device` takes it.
    """

    def __init__(self, rank: int, count: int, device: str) -> None:
        self.rank, self.count, self.device = rank, count, device

    @classmethod
    def join(cls, device: str) -> Processes:
        """Meet the others that ``accelerate launch`` or ``torchrun`` started, if there are any.

        With CUDA each process of a machine gets a GPU of its own.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls(0, 1, device)
        from accelerate import PartialState

        state = PartialState(cpu=pick_device(device).type == "cpu")
        atexit.register(state.destroy_process_group)
        return cls(int(state.process_index), int(state.num_processes), str(state.device))

    @property
    def share(self) -> tuple[int, int]:
        """`rank` and `count`: this process gets every count-th patch of a batch."""
        return self.rank, self.count

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def largest(self, values: Sequence[float]) -> list[float]:
        """Return the largest of each value over all processes."""
        if self.count == 1:
            return list(values)
        # NCCL exchanges only what is on GPUs.
        device = self.device if self.device.startswith("cuda") else "cpu"
        together = torch.tensor(values, dtype=torch.float64).to(device)
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

    def gather(self, values: Sequence[Value]) -> list[Value]:
        """Return the values of all processes, the first process's first."""
        if self.count == 1:
            return list(values)
        parts: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]

    def on_main(self, work: Callable[[], Value]) -> Value:
        """Work in the first process; all get what it returns, or raise its `HistoSamError`."""
        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome[0] = work()
            except HistoSamError as error:
                outcome[1] = error
        if self.count > 1:
            torch.distributed.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        return cast("Value", outcome[0])


class MicroBatches:
    """Calls a function with parts of a batch that fit into the memory of a device.

    It begins with `size` patches at a time, and calls `notice` with a line for the user when they
    are found too many and halved. Advice is for a specialist's training where that is `of_crops`.
    """

    def __init__(
        self,
        size: int,
        device: torch.device,
        notice: Callable[[str], None],
        *,
        of_crops: bool = False,
    ) -> None:
        self.size, self._device, self._notice = size, device, notice
        of_sam = "a scenario with a frozen image encoder", "steps stay what they were"
        of_specialist = (
            "a smaller crop_size",
            "the batch norms of the network, if it has any, see that many together",
        )
        self._remedy, self._effect = of_specialist if of_crops else of_sam

    def run(
        self,
        count: int,
        work: Callable[[slice], Value],
        *,
        at_most: int | None = None,
        at_least: int = 1,
        restart: Callable[[], None] | None = None,
    ) -> list[Value]:
        """Call `work` with slices that cover range(count), and return its answers.

        A slice that does not fit into memory is halved and tried again; OutOfMemoryError says that
        the shortest does not. Slices are shorter than `at_least` only where `count` is. With
        `restart`, which undoes what was done, all begins again when the memory was full.
        """
        done, answers = 0, []
        while done < count:
            size = self.size if at_most is None else min(self.size, at_most)
            part = slice(done, done + _next_size(count - done, size, at_least))
            try:
                with naming_a_full_memory(self._device):
                    answers.append(work(part))
                done = part.stop
                continue
            except OutOfMemoryError as error:
                n = part.stop - part.start
                if n < 2 * at_least:
                    what = "a single patch" if n == 1 else f"{n} patches"
                    raise OutOfMemoryError(
                        f"the memory of {self._device} is too small for {what}; choose "
                        f"{self._remedy}, a smaller model, precision bf16, or another device"
                    ) from error
            # Only here are the error, and the tensors that its frames held, gone.
            self.halve(part.stop - part.start)
            if restart is not None:
                restart()
                done, answers = 0, []
        return answers

    def halve(self, tried: int) -> None:
        """Go on with half of `tried`, which was too many."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self.size = max(1, tried // 2)
        self._notice(
            f"the memory of {self._device} is too small for {tried} patches at a time; going on "
            f"with {self.size} at a time, in more passes: {self._effect}"
        )


def _next_size(left: int, size: int, at_least: int) -> int:
    """How many of those left to take, so that none or enough are left then."""
    size = min(max(size, at_least), left)
    if 0 < left - size < at_least:
        return left - at_least if left >= 2 * at_least else left
    return size


class StepMeans(NamedTuple):
    """A step's loss and IoU, means over the batch of all processes."""

    loss: float
    iou: float


@dataclass(frozen=True, slots=True)
class Compute:
    """What a run hands to all that computes."""

    processes: Processes  # who trains together
    micro_batches: MicroBatches  # how much fits into memory at a time
    device: torch.device  # where this process computes
    precision: str = "fp32"  # or "bf16", "fp16"

    def take_gradient(
        self,
        parameters: Iterable[Tensor],
        count: int,
        pass_through: Callable[[slice], Tensor],
        *,
        at_least: int = 1,
        restart: Callable[[], None] | None = None,
    ) -> StepMeans:
        """Sum the gradient of the parameters that learn over passes and processes.

        Of this process's `count` patches a pass takes `at_least` so many. `pass_through` adds the
        gradient of a part of them, and returns its shares of the loss and the IoU. `restart` is
        called before a full memory makes all begin again.
        """
        learning = list(parameters)

        def begin() -> None:
            for parameter in learning:
                parameter.grad = None

        def start_again() -> None:
            begin()
            if restart is not None:
                restart()

        begin()
        parts = self.micro_batches.run(count, pass_through, at_least=at_least, restart=start_again)
        sums = torch.stack(parts).sum(0)
        gradients = [one.grad for one in learning if one.grad is not None]
        self.processes.sum_in_place([*gradients, sums])
        return StepMeans(*sums.tolist())

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the network computes in the run's precision."""
        kind = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, kind, enabled=self.precision != "fp32")
