"""A click of RITM's on a CPU: the network as it is published against ours as it answers.

    python benchmarks/bench_ritm.py [--network ritm_h18s] [--threads 2] [--repetitions 7]

One click on a 400 x 400 px input, RITM's zoom-in size, with its mirror image in the same batch.
"as published" runs the whole network on every click. "kept, folded" keeps what does not depend on
clicks, with batch norms folded and the weights in the order that is faster; "channels first" is
that without the order. Weights are random. They take turns, so that other load on the machine meets
all; the ratios are those of the medians.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from turns import in_turns

from histosam_core.model.baselines import canonical_name, network
from histosam_core.model.specialists.click_points import disk_maps
from histosam_core.model.specialists.folding import folded

if TYPE_CHECKING:
    from histosam_core.model.specialists.click_network import ClickNetwork

SIDE = 400


def clicks_on(network: ClickNetwork, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Keep what a click does not change; answer points with the rest."""
    prepared = network.prepare(x[:, :3])

    def answer(points: Tensor) -> Tensor:
        disks = disk_maps(points, (SIDE, SIDE), network.click_radius)
        return network.answer(prepared, torch.cat((x[:, 3:], disks), 1))["instances"]

    return answer


@torch.inference_mode()
def main() -> int:
    """Print the times, the ratios and the greatest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="ritm_h18s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    published = network(options.network)
    image = torch.rand(1, 4, SIDE, SIDE)
    x = torch.cat((image, image.flip(3)))
    points = torch.full((2, 2, 3), -1.0)
    points[:, 0] = torch.tensor([[120.0, 90, 0], [120, SIDE - 91, 0]])
    kept = clicks_on(folded(published), x)
    first = clicks_on(folded(published).to(memory_format=torch.contiguous_format), x)
    print(f"{canonical_name(options.network)}, 2 x {SIDE} px, {options.threads} threads")
    _, difference = in_turns(
        {
            "as published": lambda: published(x, points)["instances"],
            "channels first": lambda: first(points),
            "kept, folded": lambda: kept(points),
        },
        options.repetitions,
    )
    with torch.inference_mode():
        scale = float(published(x, points)["instances"].abs().max())
    print(f"greatest difference: {difference / scale:.1e} of the greatest logit")
    return 0 if difference < 1e-4 * scale else 1


if __name__ == "__main__":
    sys.exit(main())
