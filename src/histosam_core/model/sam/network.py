"""The network every SAM-like model is: image encoder, prompt encoder, mask decoder."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import xxhash
from segment_anything.modeling import PromptEncoder, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.errors import ConfigError
from histosam_core.model.sam.click_prompts import DenseClickPromptEncoder
from histosam_core.model.sam.refining_decoder import (
    RefiningMaskDecoder,
    SamMaskDecoder,
    to_tokens,
)
from histosam_core.model.sam.tiny import build_tiny_modules
from histosam_core.model.sam.two_way import DensePrompt, FirstLayer, first_layer

Architecture = Literal["sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam", "histosam_tiny"]
Decoder = Literal["sam", "refining"]

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class SamNetwork(nn.Module):
    """Image encoder, prompt encoder and mask decoder, with SAM's names in the state dict.

    Parameters
    ----------
    image_encoder
        (B, 3, S, S) -> (B, C, h, w); has `img_size`, and `early_channels` and `with_early` where
        the decoder takes early features.
    prompt_encoder, mask_decoder
        SAM's or one of this project's.
    architecture, decoder
        What was built, for checkpoints.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: SamMaskDecoder,
        *,
        architecture: Architecture,
        decoder: Decoder,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.architecture: Architecture = architecture
        self.decoder: Decoder = decoder
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1), False)
        self._kept_position: tuple[object, Tensor] | None = None
        self._kept_hash: tuple[object, str] | None = None

    @property
    def image_size(self) -> int:
        """S, side of the square model input in pixels."""
        return int(self.image_encoder.img_size)  # type: ignore[arg-type]

    @property
    def dense_prompts(self) -> bool:
        """Whether clicks also reach the decoder as maps."""
        return isinstance(self.prompt_encoder, DenseClickPromptEncoder)

    @property
    def early_features(self) -> bool:
        """Whether the decoder also takes the encoder's early features."""
        return isinstance(self.mask_decoder, RefiningMaskDecoder) and bool(
            self.mask_decoder.early_channels
        )

    @property
    def embedding_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of what `encode` makes of an image; early features follow the embedding."""
        channels = self.prompt_encoder.embed_dim
        if self.early_features:
            channels += int(self.image_encoder.early_channels)  # type: ignore[arg-type]
        return (channels, *self.prompt_encoder.image_embedding_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pixel_mean.device

    def input_size_hw(self, height: int, width: int) -> tuple[int, int]:
        """Size that an image of `height` x `width` takes up in the model input."""
        scale = self.image_size / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def preprocess(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, 3, S, S) float32.

        The longest side is resized to S (bilinear, antialiased), pixels are normalised with SAM's
        mean and standard deviation, the rest is padded with zeros right and below.
        """
        x = images.to(self.device).permute(0, 3, 1, 2).float()
        height, width = self.input_size_hw(x.shape[-2], x.shape[-1])
        if x.shape[-2:] != (height, width):
            x = functional.interpolate(
                x, (height, width), mode="bilinear", align_corners=False, antialias=True
            )
        x = (x - self.pixel_mean) / self.pixel_std
        return functional.pad(x, (0, self.image_size - width, 0, self.image_size - height))

    def encode(self, inputs: Tensor) -> Tensor:
        """(B, 3, S, S) preprocessed -> (B, C, h, w) image embeddings, C as in `embedding_shape`."""
        if self.early_features:
            return torch.cat(self.image_encoder.with_early(inputs), 1)  # type: ignore[operator]
        embeddings: Tensor = self.image_encoder(inputs)
        return embeddings

    def encoder_hash(self) -> str:
        """Digest of all that decides what `encode` makes of an image, but for device and precision.

        Of the image encoder's class and weights, the pixels' mean and standard deviation, and the
        sizes; not of the decoder. It is made anew only where one of them has changed.
        """
        tensors = self.image_encoder.state_dict(keep_vars=True)
        tensors |= {"pixel_mean": self.pixel_mean, "pixel_std": self.pixel_std}
        kind = type(self.image_encoder).__name__, self.image_size, self.embedding_shape
        made_from = kind, [(t.data_ptr(), t._version) for t in tensors.values()]
        if self._kept_hash is None or self._kept_hash[0] != made_from:
            digest = xxhash.xxh3_128(repr(kind).encode())
            for name, tensor in sorted(tensors.items()):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
            self._kept_hash = made_from, digest.hexdigest()
        return self._kept_hash[1]

    def split(self, embeddings: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, C, h, w) from `encode` -> the embedding proper, and early features or None."""
        channels = self.prompt_encoder.embed_dim
        early = embeddings[:, channels:] if self.early_features else None
        return embeddings[:, :channels], early

    def prompts(
        self,
        embeddings: Tensor,
        points_xy: Tensor,
        labels: Tensor,
        mask_input: Tensor | None = None,
        boxes_xyxy: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sparse (B, N', C) and dense (B, C, h, w) prompt embeddings; arguments as in `decode`."""
        points = (points_xy.float(), labels)
        if isinstance(self.prompt_encoder, DenseClickPromptEncoder):
            image, _ = self.split(embeddings)
            sparse, dense = self.prompt_encoder(points, boxes_xyxy, mask_input, image)
        else:
            sparse, dense = self.prompt_encoder(points, boxes_xyxy, mask_input)
        return sparse, dense

    def _position(self) -> Tensor:
        """(1, C, h, w) positional encoding of the image, made anew only where its source changed.

        Its channels lie innermost, as the transformer reads them.
        """
        source = self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        made_from = (source.data_ptr(), source.device, source.dtype, source._version)
        if self._kept_position is None or self._kept_position[0] != made_from:
            with torch.no_grad():
                encoding = self.prompt_encoder.get_dense_pe()
                self._kept_position = (
                    made_from,
                    encoding.contiguous(memory_format=torch.channels_last),
                )
        return self._kept_position[1]

    def decode(
        self,
        embeddings: Tensor,
        points_xy: Tensor,
        labels: Tensor,
        mask_input: Tensor | None = None,
        boxes_xyxy: Tensor | None = None,
        *,
        first: FirstLayer | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict one mask per embedding.

        Parameters
        ----------
        embeddings
            (B, C, h, w), one per prompt set.
        points_xy
            (B, N, 2) clicks in model-input pixels, centres at whole numbers.
        labels
            (B, N): 1 positive, 0 negative, -1 padding.
        mask_input
            (B, 1, 4h, 4w) low-resolution logits of the previous answer, or None.
        boxes_xyxy
            (B, 4) in model-input pixels, or None.
        first
            From `first_layer`, for an answer without gradients; None: it is made on the way.

        Returns
        -------
        low_res_logits
            (B, 1, 4h, 4w).
        quality
            (B, 1) predicted IoU.
        """
        dense: Tensor | DensePrompt
        if first is None:
            sparse, dense = self.prompts(embeddings, points_xy, labels, mask_input, boxes_xyxy)
        else:
            sparse, _ = self.prompts(embeddings, points_xy, labels, None, boxes_xyxy)
            dense = self._dense_prompt(mask_input)
        position = self._position()
        image, early = self.split(embeddings)
        taken = () if early is None else (early,)
        logits, quality = self.mask_decoder(image, position, sparse, dense, *taken, first=first)
        return logits, quality

    def first_layer(self, embeddings: Tensor) -> FirstLayer:
        """What the first layer makes of (B, C, h, w) embeddings whatever is clicked; for `decode`.

        Only where `dense_prompts` is false: these draw on the image.
        """
        image = to_tokens(self.split(embeddings)[0])
        return first_layer(self.mask_decoder.transformer, image, to_tokens(self._position()))

    @property
    def first_layer_version(self) -> int:
        """A number that changes with the weights that `first_layer` goes through."""
        layer = self.mask_decoder.transformer.layers[0]
        modules = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        weights = [p for module in modules for p in module.parameters()]
        return hash(tuple((p.data_ptr(), p._version) for p in weights))

    def _dense_prompt(self, mask_input: Tensor | None) -> DensePrompt:
        *layers, last = self.prompt_encoder.mask_downscaling
        weight = last.weight.flatten(1)
        if mask_input is None:
            return DensePrompt(None, weight, self.prompt_encoder.no_mask_embed.weight[0])
        for layer in layers:
            mask_input = layer(mask_input)
        return DensePrompt(to_tokens(mask_input), weight, last.bias)


def build_network(
    architecture: Architecture,
    *,
    decoder: Decoder = "sam",
    dense_prompts: bool | None = None,
    early_features: bool = False,
    image_size: int | None = None,
) -> SamNetwork:
    """Build a network with random weights, in evaluation mode.

    Parameters
    ----------
    architecture
        "sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam" or "histosam_tiny".
    decoder
        "sam" (SAM's mask decoder) or "refining" (Kim et al. 2023).
    dense_prompts
        Add dense click prompts to SAM's prompt encoder, zero-initialised; `histosam_tiny` always
        has them.
    early_features
        Hand the encoder's early features to the refining decoder too; they add nothing until
        trained.
    image_size
        Only for `histosam_tiny`: another input side than 256 px (a multiple of 16).

    Raises
    ------
    ConfigError
        Unknown name, or a setting the architecture does not have.
    """
    problems = []
    if architecture not in get_args(Architecture):
        names = ", ".join(get_args(Architecture))
        problems.append(f"no architecture {architecture!r}; choose one of {names}")
    if decoder not in get_args(Decoder):
        problems.append(f"no decoder {decoder!r}; choose 'sam' or 'refining'")
    if early_features and decoder == "sam":
        problems.append("SAM's decoder takes no early features; choose the refining decoder")
    if architecture == "histosam_tiny" and dense_prompts is False:
        problems.append("histosam_tiny always has dense prompts; leave dense_prompts out")
    if architecture != "histosam_tiny" and image_size not in (None, 1024):
        problems.append(f"image_size {image_size}: SAM's is 1024 px")
    if image_size is not None and image_size % 16:
        problems.append(f"image_size {image_size} must be a multiple of 16")
    if problems:
        raise ConfigError("; ".join(problems))
    if architecture == "histosam_tiny":
        encoder, prompts, head = build_tiny_modules(
            decoder, image_size=image_size or 256, early_features=early_features
        )
        network = SamNetwork(encoder, prompts, head, architecture=architecture, decoder=decoder)
    else:
        network = _build_sam(
            architecture,
            decoder,
            dense_prompts=bool(dense_prompts),
            early_features=early_features,
        )
    return network.eval()


def _build_sam(
    architecture: Architecture, decoder: Decoder, *, dense_prompts: bool, early_features: bool
) -> SamNetwork:
    from histosam_core.model.sam.image_encoder import build_image_encoder
    from histosam_core.model.sam.tiny_vit import TinyViTEncoder

    dim, grid, size = 256, (64, 64), (1024, 1024)
    transformer = TwoWayTransformer(depth=2, embedding_dim=dim, mlp_dim=2048, num_heads=8)
    encoder = (
        TinyViTEncoder() if architecture == "mobile_sam" else build_image_encoder(architecture)
    )
    mask_decoder = (
        RefiningMaskDecoder(
            transformer_dim=dim,
            transformer=transformer,
            early_channels=encoder.early_channels if early_features else 0,
        )
        if decoder == "refining"
        else SamMaskDecoder(transformer_dim=dim, transformer=transformer)
    )
    prompts = (
        DenseClickPromptEncoder(
            embed_dim=dim, image_embedding_size=grid, input_image_size=size, zero_init=True
        )
        if dense_prompts
        else PromptEncoder(dim, grid, size, 16)
    )
    return SamNetwork(
        encoder,
        prompts,
        mask_decoder,
        architecture=architecture,
        decoder=decoder,
    )
