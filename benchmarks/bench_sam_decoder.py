"""A click on SAM's ViT-B, its image encoded: segment_anything's predictor against ours.

    python benchmarks/bench_sam_decoder.py [--threads 2] [--repetitions 20]

The prompt encoder, the mask decoder and the way back to the image's size, at 400 x 400 px, with and
without a mask prompt. Weights are random, the embedding is one for both. The two take turns, so
that other load on the machine meets both; CPU seconds of one thread are the steadier measure.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry
from torch import Tensor
from turns import in_turns

from histosam_core.clicks import Click
from histosam_core.model import ImageEmbedding, Prediction, SamModel, build_network
from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.sam.interactive import to_mask_input

SIDE = 400
CLICKS = (1, 5, 10, 20)


def main() -> int:
    """Print the times, the ratios and the greatest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    network = build_network("sam_vit_b")
    published = sam_model_registry["vit_b"]().eval()
    published.load_state_dict({**published.state_dict(), **network.state_dict()})
    ours = SamModel(network, describe_network(network, name="random"), "cpu")
    features = torch.randn(network.embedding_shape)
    embedding = ImageEmbedding(features, (SIDE, SIDE))
    predictor = SamPredictor(published)
    predictor.features, predictor.is_image_set = features[None], True
    predictor.original_size, predictor.input_size = (SIDE, SIDE), (1024, 1024)

    rng = np.random.default_rng(0)
    xy = rng.integers(0, SIDE, (max(CLICKS), 2)).astype(float)
    clicks = [Click((x, y), i % 2 == 0) for i, (x, y) in enumerate(xy)]
    # segment_anything scales coordinates, we pixels: half a pixel of the one or the other.
    scale = 1024 / SIDE
    theirs_xy = ((xy + 0.5) * scale - 0.5) / scale
    labels = np.array([int(click.is_positive) for click in clicks])
    before = rng.normal(0, 3, (SIDE, SIDE)).astype(np.float32)
    mask_input = to_mask_input(network, torch.from_numpy(before)[None, None])[0].numpy()

    print(f"SAM's decoder, {options.threads} threads")
    greatest, slowest = 0.0, float("inf")
    for with_mask in (False, True):
        for n in CLICKS:
            previous = Prediction(before) if with_mask else None

            def theirs(n: int = n, with_mask: bool = with_mask) -> Tensor:
                mask = mask_input if with_mask else None
                logits, _, _ = predictor.predict(
                    theirs_xy[:n], labels[:n], None, mask, False, return_logits=True
                )
                return torch.from_numpy(logits[0])

            def mine(n: int = n, previous: Prediction | None = previous) -> Tensor:
                return torch.from_numpy(ours.decode(embedding, clicks[:n], previous).logits)

            prefix = f"{n:2} clicks, {'with' if with_mask else 'no':4} mask prompt  "
            ratios, difference = in_turns(
                {"published": theirs, "ours": mine}, options.repetitions, prefix=prefix
            )
            greatest, slowest = max(greatest, difference), min(slowest, ratios["ours"])
    print(f"least ratio {slowest:.2f}; greatest difference {greatest:.1e}")
    return 0 if greatest < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
