"""SAM's mask decoder for true batches, and the refining decoder of Kim et al. 2023.

Both keep SAM's two-way transformer. SAM multiplies an up-scaled image embedding with a mask token;
the refining decoder drops that product and turns the transformer's image output into a mask by
one global self-attention layer and a convolutional path that up-scales in two steps.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.sam.two_way import DensePrompt, FirstLayer, attend_two_way, mask_logits


class SamMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """SAM's mask decoder; one image embedding per prompt set, so different images share a batch.

    State keys and, for one image, results are those of ``segment_anything.modeling.MaskDecoder``.
    """

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor | DensePrompt,
        *,
        first: FirstLayer | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict one mask per prompt set: (B, 1, 4h, 4w) logits and (B, 1) predicted IoUs.

        Parameters
        ----------
        image_embeddings, image_pe
            (B, C, h, w), one per prompt set, and (1, C, h, w), their positional encoding.
        sparse_prompt_embeddings
            (B, N, C) point and box tokens.
        dense_prompt_embeddings
            (B, C, h, w); or, where there are no gradients, as a `DensePrompt`.
        first
            The transformer's first layer of these embeddings, where it is known; it goes with a
            `DensePrompt`.
        """
        tokens, image = self._attend(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, first
        )
        return self._sam_masks(tokens, image), self._quality(tokens)

    def _attend(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor | DensePrompt,
        first: FirstLayer | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Two-way transformer: (B, 1 + T + N, C) tokens and the (B, C, h, w) image output."""
        batch, _, height, width = image_embeddings.shape
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight], dim=0)
        tokens = torch.cat([output_tokens.expand(batch, -1, -1), sparse], dim=1)
        if isinstance(dense, DensePrompt) or is_inference(image_embeddings):
            image = _prompted(to_tokens(image_embeddings), dense)
            known = (first, dense) if isinstance(dense, DensePrompt) else ()
            position = to_tokens(image_pe)
            tokens, image = attend_two_way(self.transformer, image, position, tokens, *known)
        else:
            image = image_embeddings + dense
            tokens, image = self.transformer(image, image_pe.expand(batch, -1, -1, -1), tokens)
        return tokens, image.transpose(1, 2).view(batch, -1, height, width)

    def _sam_masks(self, tokens: Tensor, image: Tensor) -> Tensor:
        """SAM's head: mask token 0 (the single-mask output) times the up-scaled embedding."""
        if is_inference(image):
            size_hw = image.shape[-2], image.shape[-1]
            return mask_logits(self, tokens[:, 1], to_tokens(image), size_hw)
        upscaled = self.output_upscaling(image)
        weights = self.output_hypernetworks_mlps[0](tokens[:, 1])
        return torch.einsum("bc,bchw->bhw", weights, upscaled)[:, None]

    def _quality(self, tokens: Tensor) -> Tensor:
        quality: Tensor = self.iou_prediction_head(tokens[:, 0])
        return quality[:, :1]


def to_tokens(image: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C), a view."""
    return image.flatten(2).transpose(1, 2)


def _prompted(image: Tensor, dense: Tensor | DensePrompt) -> Tensor:
    """(B, P, C) image tokens and a dense prompt -> their sum, in memory of its own."""
    added = dense.bias if isinstance(dense, DensePrompt) else to_tokens(dense)
    total = torch.add(image, added, out=image.new_empty(image.shape))
    if isinstance(dense, DensePrompt) and dense.channels is not None:
        total.baddbmm_(dense.channels, dense.weight.T.expand(len(total), -1, -1))
    return total


def is_inference(x: Tensor) -> bool:
    """Whether nothing but the result is wanted, in the precision of the weights."""
    return not (torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type))


class GlobalSelfAttention(nn.Module):
    """One self-attention layer over all image tokens, pre-normalised, with a residual.

    The paper leaves open the number of heads (here 8), the normalisation (here LayerNorm before the
    layer, as in the ViT that feeds it) and whether positions are added to queries and keys (here
    yes: SAM's image_pe, as in its two-way transformer).
    """

    def __init__(self, dim: int, *, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query_key = nn.Linear(dim, 2 * dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, image: Tensor, image_pe: Tensor) -> Tensor:
        """(B, C, h, w) and (1, C, h, w) -> (B, C, h, w)."""
        batch, dim, height, width = image.shape
        tokens = self.norm(to_tokens(image))
        query, key = self.query_key(tokens + to_tokens(image_pe)).chunk(2, dim=-1)
        split = (batch, height * width, self.heads, dim // self.heads)
        mixed = functional.scaled_dot_product_attention(
            query.view(split).transpose(1, 2),
            key.view(split).transpose(1, 2),
            self.value(tokens).view(split).transpose(1, 2),
        )
        merged: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, height * width, dim))
        return image + merged.transpose(1, 2).reshape(image.shape)


class ConvBlock(nn.Module):
    """Two 3x3 convolutions (C -> C -> C/2), each with InstanceNorm and GELU, and a shortcut.

    The shortcut is a 1x1 projection, since the width halves.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
            nn.GELU(),
            nn.Conv2d(channels, half, 3, padding=1, bias=False),
            nn.InstanceNorm2d(half, affine=True),
            nn.GELU(),
        )
        self.shortcut = nn.Conv2d(channels, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C/2, h, w)."""
        result: Tensor = self.body(x) + self.shortcut(x)
        return result


class UpConvBlock(nn.Module):
    """ConvBlock, then a 2x2 stride-2 transposed convolution (C/2 -> C/2); nothing follows it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = ConvBlock(channels)
        self.up = nn.ConvTranspose2d(channels // 2, channels // 2, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C/2, 2h, 2w)."""
        result: Tensor = self.up(self.block(x))
        return result


class EarlyStem(nn.Module):
    """Brings the encoder's early features to the refining path, after its first up-scaling.

    They are what the encoder knows of edges and textures before it has looked far around (SAM-HQ,
    Ke et al. 2023, showed what they bring to SAM's masks). The last layer starts at zero: a
    decoder that gets this stem answers as before until it is trained.
    """

    def __init__(self, early_channels: int, channels: int, *, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(early_channels, width, 2, stride=2, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.GELU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, early: Tensor) -> Tensor:
        """(B, E, h, w) early features -> (B, C, 2h, 2w) to add to the path."""
        result: Tensor = self.layers(early)
        return result


class RefiningMaskDecoder(SamMaskDecoder):
    """The modified decoder of Kim et al. 2023 ("Ours"): up-scaling by convolutions, not a product.

    The transformer and its tokens are SAM's and start from SAM's weights; `refine_*` start fresh.
    SAM's IoU head is kept as a quality score: it costs nothing, and annotations carry a quality.

    Parameters
    ----------
    transformer_dim
        Channels C of the image embedding (SAM: 256).
    transformer
        SAM's two-way transformer.
    keep_sam_head
        Keep SAM's own up-scaling head beside the new one (pre-training trains both at once).
    iou_head_hidden_dim
        Width of the quality head.
    early_channels
        Channels E of the encoder's early features; 0: the decoder takes none, as in the paper.
    """

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: nn.Module,
        keep_sam_head: bool = False,
        iou_head_hidden_dim: int = 256,
        early_channels: int = 0,
    ) -> None:
        super().__init__(
            transformer_dim=transformer_dim,
            transformer=transformer,
            iou_head_hidden_dim=iou_head_hidden_dim,
        )
        if not keep_sam_head:
            del self.output_upscaling, self.output_hypernetworks_mlps
        self.refine_attention = GlobalSelfAttention(transformer_dim)
        self.refine_path = nn.Sequential(
            UpConvBlock(transformer_dim),
            UpConvBlock(transformer_dim // 2),
            ConvBlock(transformer_dim // 4),
            nn.Conv2d(transformer_dim // 8, 1, 1),
        )
        if early_channels:
            self.refine_early = EarlyStem(early_channels, transformer_dim // 2)
        self.early_channels = early_channels

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor | DensePrompt,
        early: Tensor | None = None,
        *,
        first: FirstLayer | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict one mask per prompt set; shapes and `first` as in `SamMaskDecoder.forward`.

        `early`, (B, E, h, w), are the encoder's early features, for a decoder that takes them.
        """
        tokens, image = self._attend(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, first
        )
        return self._refined_masks(image, image_pe, early), self._quality(tokens)

    def forward_both(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        early: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refined logits, SAM's logits and quality from one transformer pass (`keep_sam_head`)."""
        tokens, image = self._attend(image_embeddings, image_pe, sparse, dense)
        refined = self._refined_masks(image, image_pe, early)
        return refined, self._sam_masks(tokens, image), self._quality(tokens)

    def _refined_masks(self, image: Tensor, image_pe: Tensor, early: Tensor | None) -> Tensor:
        first, *rest = self.refine_path
        x: Tensor = first(self.refine_attention(image, image_pe))
        if self.early_channels:
            x = x + self.refine_early(early)
        for block in rest:
            x = block(x)
        return x
