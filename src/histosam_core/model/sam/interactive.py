"""`SamModel`: a SAM-like network that answers clicks, NumPy in and NumPy out.

Frames: clicks and boxes come in pixels (x, y) of the image, pixel centres at whole numbers. An
image of H x W px covers the upper-left part of the square model input, scaled by ``s = S / max(H,
W)``; a point maps by ``(x + 0.5) * s - 0.5``. See docs/coordinates.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from histosam_core.errors import ImageError
from histosam_core.model.device import naming_a_full_memory, pick_device
from histosam_core.model.interface import Prediction, as_prediction, check_image
from histosam_core.model.sam.embedding import ImageEmbedding
from histosam_core.model.sam.two_way import FirstLayer, FirstLayers

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model.checkpoint.checkpoint_info import CheckpointInfo
    from histosam_core.model.interface import Box
    from histosam_core.model.sam.network import SamNetwork

Key = TypeVar("Key", bound=Hashable)


class SamModel:
    """A `BatchedInteractiveModel` over a `SamNetwork`.

    Parameters
    ----------
    network
        Is moved to `device` and set to evaluation mode.
    info
        What the checkpoint says of itself; its geometry decides the window that serves a click.
    device
        "auto" (a CUDA GPU where there is one, else the CPU), or a device of torch's.

    Raises
    ------
    ConfigError
        The device is not there.
    """

    def __init__(
        self, network: SamNetwork, info: CheckpointInfo, device: str | torch.device = "auto"
    ) -> None:
        self.device = pick_device(device)
        self.network = network.to(self.device).eval()
        self.info = info
        self._first_layers = FirstLayers()

    def encode(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        """(H, W, 3) uint8 RGB -> its embedding: the costly part, once per image."""
        return self.encode_batch([image])[0]

    def encode_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[ImageEmbedding]:
        """B images of (H, W, 3) uint8, of any sizes -> B embeddings.

        Images of one size share a pass through the network, which may change the last bits.

        Raises
        ------
        ImageError
            An array is not (H, W, 3) uint8, or has no pixels.
        OutOfMemoryError
            The device has too little memory left.
        """
        for image in images:
            check_image(image)
        embeddings: dict[int, ImageEmbedding] = {}
        with torch.inference_mode(), naming_a_full_memory(self.device):
            for (height, width, _), members in _group(image.shape for image in images):
                stack = torch.from_numpy(np.stack([images[i] for i in members]))
                features = self.network.encode(self.network.preprocess(stack))
                for index, one in zip(members, features, strict=True):
                    # A part of a batch would keep all of it in memory.
                    own = one.clone() if len(members) > 1 else one
                    embeddings[index] = ImageEmbedding(own, (height, width))
        return [embeddings[i] for i in range(len(images))]

    def decode(
        self,
        embedding: ImageEmbedding,
        clicks: Sequence[Click],
        previous: Prediction | NDArray[np.float32] | None = None,
        *,
        box_xyxy: Box | None = None,
    ) -> Prediction:
        """Predict a mask from all clicks so far.

        Parameters
        ----------
        embedding
            From `encode`.
        clicks
            All clicks so far, in image pixels; may be empty where there is a box.
        previous
            The answer before the last click, or its (H, W) logits: the mask prompt. None: no mask
            prompt.
        box_xyxy
            A box prompt (x0, y0, x1, y1) in image pixels.

        Returns
        -------
        (H, W) float32 logits with the network's own estimate of the IoU; no state.

        Raises
        ------
        ImageError
            `previous` has another size than the image.
        OutOfMemoryError
            The device has too little memory left.
        """
        return self.decode_batch([embedding], [clicks], [previous], boxes_xyxy=[box_xyxy])[0]

    def decode_batch(
        self,
        embeddings: Sequence[ImageEmbedding],
        clicks: Sequence[Sequence[Click]],
        previous: Sequence[Prediction | NDArray[np.float32] | None] | None = None,
        *,
        boxes_xyxy: Sequence[Box | None] | None = None,
    ) -> list[Prediction]:
        """B embeddings, each with its clicks -> B predictions; see `decode`.

        Each answer is the one that `decode` gives alone: prompts of one shape share a pass through
        the network, and no click list is padded to the length of another.
        """
        count = len(embeddings)
        before = [None if p is None else as_prediction(p).logits for p in previous or ()]
        before = before or [None] * count
        boxes = [None] * count if boxes_xyxy is None else list(boxes_xyxy)
        for embedding, logits in zip(embeddings, before, strict=True):
            if logits is not None and logits.shape != embedding.image_hw:
                raise ImageError(
                    f"previous logits are {logits.shape}, the image is {embedding.image_hw}; "
                    "pass what decode returned for this image"
                )
        answers: dict[int, Prediction] = {}
        shapes = (
            (e.image_hw, len(c), p is not None, b is not None)
            for e, c, p, b in zip(embeddings, clicks, before, boxes, strict=True)
        )
        with torch.inference_mode(), naming_a_full_memory(self.device):
            for (image_hw, *_), members in _group(shapes):
                masks, quality = self._decode_alike(
                    image_hw,
                    [embeddings[i].features for i in members],
                    [clicks[i] for i in members],
                    [p for i in members if (p := before[i]) is not None],
                    [b for i in members if (b := boxes[i]) is not None],
                )
                for index, mask, score in zip(members, masks, quality, strict=True):
                    answers[index] = Prediction(mask, float(score))
        return [answers[i] for i in range(count)]

    def encoder_hash(self) -> str:
        """Digest of all that decides an embedding besides image and device."""
        return self.network.encoder_hash()

    def embedding_to_arrays(self, embedding: ImageEmbedding) -> dict[str, NDArray[Any]]:
        """Return an embedding as NumPy arrays, for a store on disk."""
        return embedding.to_arrays()

    def embedding_from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> ImageEmbedding:
        """Return what `embedding_to_arrays` was given, bit for bit, on this model's device.

        Raises
        ------
        ImageError
            The arrays are no embedding of this model.
        """
        with naming_a_full_memory(self.device):
            return ImageEmbedding.from_arrays(arrays, self.network.embedding_shape, self.device)

    def _decode_alike(
        self,
        image_hw: tuple[int, int],
        features: Sequence[Tensor],
        clicks: Sequence[Sequence[Click]],
        previous: Sequence[NDArray[np.float32]],
        boxes: Sequence[Box],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Decode prompts of one shape on images of one size; `previous`, `boxes`: all or none."""
        batch = len(features)
        points = [[c.xy for c in one] for one in clicks]
        labels = [[int(c.is_positive) for c in one] for one in clicks]
        points_xy = torch.tensor(points, dtype=torch.float32).view(batch, -1, 2)
        corners_xy = torch.tensor(boxes, dtype=torch.float32).view(-1, 2, 2)
        mask_input = None
        if previous:
            stack = torch.from_numpy(np.stack(previous)).to(self.device, torch.float32)
            mask_input = to_mask_input(self.network, stack[:, None])
        stacked = features[0][None] if batch == 1 else torch.stack(list(features))
        first = self._first_layer(features)
        known = {} if first is None else {"first": first}
        low_res, quality = self.network.decode(
            stacked,
            self._to_input(points_xy, image_hw),
            torch.tensor(labels, dtype=torch.int64, device=self.device).view(batch, -1),
            mask_input,
            self._to_input(corners_xy, image_hw).view(-1, 4) if boxes else None,
            **known,
        )
        logits = _at_image_size(self.network, low_res.float(), image_hw)
        return logits[:, 0].cpu().numpy(), quality[:, 0].float().cpu().numpy()

    def _first_layer(self, features: Sequence[Tensor]) -> FirstLayer | None:
        """What the decoder's first layer makes of embeddings alone; it is kept between clicks."""
        network = self.network
        if network.dense_prompts or torch.is_autocast_enabled(self.device.type):
            return None
        version = network.first_layer_version
        layers = [
            self._first_layers.get(one, version, partial(network.first_layer, one[None]))
            for one in features
        ]
        if len(layers) == 1:
            return layers[0]
        return FirstLayer(
            torch.cat([layer.key for layer in layers]),
            torch.cat([layer.value for layer in layers]),
            torch.cat([layer.query for layer in layers]),
        )

    def _to_input(self, points_xy: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Image pixels (x, y) -> model-input pixels, on the device."""
        height, width = self.network.input_size_hw(*image_hw)
        scale_xy = torch.tensor((width / image_hw[1], height / image_hw[0]))
        return ((points_xy + 0.5) * scale_xy - 0.5).to(self.device)


def to_image_size(network: SamNetwork, low_res: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Bring low-resolution logits to the image's size.

    (B, 1, 4h, 4w) from `SamNetwork.decode` -> (B, 1, H, W), as SAM does: bilinear to the model
    input, its padding cut off, bilinear to the image; ``align_corners=False``.
    """
    size = network.image_size
    height, width = network.input_size_hw(*image_hw)
    logits = functional.interpolate(low_res, (size, size), mode="bilinear", align_corners=False)
    logits = logits[..., :height, :width]
    if (height, width) == tuple(image_hw):
        return logits
    return functional.interpolate(logits, image_hw, mode="bilinear", align_corners=False)


def _at_image_size(network: SamNetwork, low_res: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """`to_image_size` but for rounding, without the megapixel in between: one matrix an axis."""
    input_hw = network.input_size_hw(*image_hw)
    rows, columns = (
        _resampling(low_res.shape[axis - 2], network.image_size, input_hw[axis], image_hw[axis])
        for axis in (0, 1)
    )
    with torch.autocast(low_res.device.type, enabled=False):  # as exact as `to_image_size`
        return rows.to(low_res) @ low_res @ columns.to(low_res).T


@lru_cache(maxsize=64)
def _resampling(low: int, full: int, used: int, size: int) -> Tensor:
    """(size, low) weights that do along one axis what the two bilinear steps do together."""
    with torch.no_grad():
        weights = functional.interpolate(torch.eye(low)[None], full, mode="linear")[..., :used]
        if size != used:
            weights = functional.interpolate(weights, size, mode="linear")
        return weights[0].T.contiguous()


def to_mask_input(network: SamNetwork, logits: Tensor) -> Tensor:
    """Bring logits (B, 1, H, W) to the mask input of the prompt encoder, (B, 1, 4h, 4w).

    The image is padded to a square with background (the lowest logit, at most 0), then resized
    (bilinear, antialiased), so that it lies in the mask input as it lies in the model input.
    """
    height, width = logits.shape[-2:]
    side = max(height, width)
    if height != width:
        background = logits.amin(dim=(1, 2, 3), keepdim=True).clamp(max=0.0)
        square = background.expand(-1, 1, side, side).clone()
        square[..., :height, :width] = logits
        logits = square
    return functional.interpolate(
        logits,
        network.prompt_encoder.mask_input_size,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )


def _group(keys: Iterable[Key]) -> list[tuple[Key, list[int]]]:
    groups: defaultdict[Key, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return list(groups.items())
