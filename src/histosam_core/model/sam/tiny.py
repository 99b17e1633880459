"""`histosam-tiny`: a model with SAM's interface and decoders, small enough for two CPU cores.

The encoder is a residual convolutional pyramid (dense 3x3 convolutions train and run faster on a
CPU than depthwise ones) whose coarsest stage sees the whole image through dilation; one top-down
step brings it back to 1/8 of the input. The prompt encoder carries dense click prompts.
"""

from __future__ import annotations

from typing import Literal

from segment_anything.modeling import TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.sam.click_prompts import DenseClickPromptEncoder
from histosam_core.model.sam.refining_decoder import RefiningMaskDecoder, SamMaskDecoder

IMAGE_SIZE = 256
EMBED_DIM = 128
STRIDE = 8
EARLY_CHANNELS = 64
FOLDED_CHANNELS = 4 * EARLY_CHANNELS


class TinyEncoder(nn.Module):
    """(B, 3, S, S) normalised RGB -> (B, 128, S/8, S/8); S a multiple of 16.

    Parameters
    ----------
    img_size
        S, the input side in pixels; no weight depends on it.
    embed_dim
        Channels of the embedding.
    """

    def __init__(self, img_size: int = IMAGE_SIZE, embed_dim: int = EMBED_DIM) -> None:
        super().__init__()
        self.img_size = img_size
        self.stem = nn.Sequential(_conv(3, 32, stride=2), _conv(32, EARLY_CHANNELS, stride=2))
        self.stage4 = nn.Sequential(*(_Residual(EARLY_CHANNELS) for _ in range(2)))
        self.down8 = _conv(EARLY_CHANNELS, 128, stride=2)
        self.stage8 = nn.Sequential(*(_Residual(128) for _ in range(3)))
        self.down16 = _conv(128, 192, stride=2)
        self.stage16 = nn.Sequential(*(_Residual(192, dilation=d) for d in (1, 2, 4)))
        self.from16 = nn.Conv2d(192, embed_dim, 1)
        self.from8 = nn.Conv2d(128, embed_dim, 1)
        self.from4 = nn.Conv2d(EARLY_CHANNELS, embed_dim, 2, stride=2)
        self.neck = nn.Sequential(
            nn.GroupNorm(8, embed_dim),
            nn.ReLU(),
            nn.Conv2d(embed_dim, embed_dim, 3, padding=1, bias=False),
            nn.GroupNorm(1, embed_dim),
        )

    @property
    def early_channels(self) -> int:
        """Channels of the early features."""
        return FOLDED_CHANNELS

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of preprocessed images."""
        return self.with_early(x)[0]

    def with_early(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings, and early features (B, 256, S/8, S/8): 64 channels at S/4, 2 x 2 folded."""
        quarter = self.stage4(self.stem(x))
        eighth = self.stage8(self.down8(quarter))
        sixteenth = self.stage16(self.down16(eighth))
        top = functional.interpolate(
            self.from16(sixteenth), scale_factor=2, mode="bilinear", align_corners=False
        )
        embedding: Tensor = self.neck(top + self.from8(eighth) + self.from4(quarter))
        return embedding, functional.pixel_unshuffle(quarter, 2)


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _conv(channels, channels, dilation=dilation)
        self.second = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm = nn.GroupNorm(8, channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.second(self.first(x))))


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
    )


def build_tiny_modules(
    decoder: Literal["sam", "refining"],
    *,
    image_size: int = IMAGE_SIZE,
    keep_sam_head: bool = False,
    early_features: bool = False,
) -> tuple[TinyEncoder, DenseClickPromptEncoder, SamMaskDecoder]:
    """Build image encoder, prompt encoder and mask decoder with random weights.

    Parameters
    ----------
    decoder
        "sam" or "refining".
    image_size
        Input side in pixels, a multiple of 16. Weights fit every size.
    keep_sam_head
        With "refining", keep SAM's head too (pre-training).
    early_features
        With "refining", hand the encoder's early features to the decoder too.
    """
    grid = image_size // STRIDE
    prompt_encoder = DenseClickPromptEncoder(
        embed_dim=EMBED_DIM,
        image_embedding_size=(grid, grid),
        input_image_size=(image_size, image_size),
    )
    transformer = TwoWayTransformer(
        depth=2, embedding_dim=EMBED_DIM, mlp_dim=4 * EMBED_DIM, num_heads=8
    )
    mask_decoder: SamMaskDecoder
    if decoder == "refining":
        mask_decoder = RefiningMaskDecoder(
            transformer_dim=EMBED_DIM,
            transformer=transformer,
            keep_sam_head=keep_sam_head,
            early_channels=FOLDED_CHANNELS if early_features else 0,
            iou_head_hidden_dim=EMBED_DIM,
        )
    else:
        mask_decoder = SamMaskDecoder(
            transformer_dim=EMBED_DIM, transformer=transformer, iou_head_hidden_dim=EMBED_DIM
        )
    return TinyEncoder(image_size), prompt_encoder, mask_decoder
