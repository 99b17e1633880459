"""As much at a time as fits into memory."""

from __future__ import annotations

import pytest
import torch

from histosam_core.errors import OutOfMemoryError
from histosam_core.training.compute import MicroBatches


class Memory:
    """Work that fails, as torch does, on more than `room` patches."""

    def __init__(self, room: int) -> None:
        self.room, self.done, self.restarts = room, [], 0

    def work(self, part: slice) -> list[int]:
        if part.stop - part.start > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        self.done += range(part.start, part.stop)
        return list(range(part.start, part.stop))

    def restart(self) -> None:
        self.restarts += 1
        self.done = []


def _micro_batches(size: int) -> tuple[MicroBatches, list[str]]:
    notices: list[str] = []
    return MicroBatches(size, torch.device("cpu"), notices.append), notices


def test_parts_cover_a_batch_in_order() -> None:
    micro_batches, notices = _micro_batches(3)
    memory = Memory(9)
    assert micro_batches.run(8, memory.work) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert micro_batches.run(3, memory.work, at_most=1) == [[0], [1], [2]]
    assert notices == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_full_memory_halves_the_parts_and_says_so(restarts: bool) -> None:
    micro_batches, notices = _micro_batches(8)
    memory = Memory(3)
    answers = micro_batches.run(8, memory.work, restart=memory.restart if restarts else None)
    assert [n for part in answers for n in part] == memory.done == list(range(8))
    assert micro_batches.size == 2
    assert memory.restarts == (2 if restarts else 0)
    assert ["8 patches" in notices[0], "4 patches" in notices[1]] == [True, True]


def test_a_memory_too_small_for_one_patch_stops_with_the_way_out() -> None:
    micro_batches, _ = _micro_batches(2)
    with pytest.raises(OutOfMemoryError, match=r"single patch; choose .*bf16"):
        micro_batches.run(2, Memory(0).work)


def test_other_errors_pass_through() -> None:
    micro_batches, notices = _micro_batches(4)

    def broken(part: slice) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        micro_batches.run(4, broken)
    assert notices == []
