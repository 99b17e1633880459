"""SAM's ViT-B image encoder at 1024 px on a CPU: segment_anything's own against ours.

    python benchmarks/bench_sam_encoder.py [--threads 2] [--repetitions 3]

Weights are random (positions too, which are zero in a fresh network). The two take turns, so that
other load on the machine meets both; the ratio is that of the medians. A published pass takes some
20 s on two cores and 4 GB.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn
from turns import in_turns

from histosam_core.model.sam.image_encoder import SAM_ENCODERS, build_image_encoder


def published_vit_b() -> nn.Module:
    """Build segment_anything's encoder with random weights and positions."""
    geometry = SAM_ENCODERS["sam_vit_b"]
    encoder: nn.Module = ImageEncoderViT(
        img_size=geometry.image_size,
        embed_dim=geometry.embed_dim,
        depth=geometry.depth,
        num_heads=geometry.num_heads,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=geometry.window_size,
        global_attn_indexes=geometry.global_blocks,
    )
    for name, parameter in encoder.named_parameters():
        if "rel_pos" in name or name == "pos_embed":
            nn.init.normal_(parameter, std=0.3)
    return encoder.eval()


def main() -> int:
    """Print the times, the ratio and the greatest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    published, fused = published_vit_b(), build_image_encoder("sam_vit_b").eval()
    fused.load_state_dict(published.state_dict())
    image = torch.randn(1, 3, 1024, 1024)
    print(f"ViT-B, 1024 px, {options.threads} threads")
    _, difference = in_turns(
        {"published": lambda: published(image), "fused": lambda: fused(image)}, options.repetitions
    )
    print(f"greatest difference: {difference:.1e}")
    return 0 if difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
