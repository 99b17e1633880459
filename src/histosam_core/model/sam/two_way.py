"""SAM's two-way transformer and mask head at inference: the same sums in a cheaper order.

``segment_anything`` takes all 64 x 64 image tokens through ten projections for each click. Here

- what the first layer's projections make of the image alone is made once for an embedding
  (`FirstLayer`); a mask prompt, which is linear in 16 channels, is added to it in these;
- scores have their pixels last, where softmax is fast, and projections go through `linear`;
- the up-scaling works on tokens (a 2 x 2 transposed convolution of stride 2 is a linear layer), and
  puts pixels in their places once, on the mask.

Without gradients only: training goes through the modules as published.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor
from torch.nn import functional

from histosam_core.model.linear import linear

if TYPE_CHECKING:
    from collections.abc import Callable

    from segment_anything.modeling import TwoWayTransformer

KEPT = 8
"""First layers kept, 6 MB each for SAM: those of the images that are being clicked on."""


@dataclass(frozen=True, slots=True, eq=False)
class DensePrompt:
    """SAM's mask prompt before its last, linear step: ``channels @ weight.T + bias``."""

    channels: Tensor | None  # (B, P, D), or None: no mask prompt, the bias alone
    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)


@dataclass(frozen=True, slots=True, eq=False)
class FirstLayer:
    """The first layer's projections of an image, each (B, P, C / 2): what no click changes."""

    key: Tensor
    value: Tensor
    query: Tensor


def first_layer(transformer: TwoWayTransformer, image: Tensor, position: Tensor) -> FirstLayer:
    """Project an image's tokens (B, P, C), of positions (1, P, C), for the first layer."""
    return _project(transformer.layers[0], image, position)


class FirstLayers:
    """The first layers of the embeddings decoded last; a cache alone, safe to use from threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[Any, int, FirstLayer]] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[FirstLayers], tuple[()]]:
        return FirstLayers, ()  # neither a lock nor what others hold can go elsewhere

    def get(self, features: Tensor, version: int, make: Callable[[], FirstLayer]) -> FirstLayer:
        """Return an embedding's first layer; made where its weights or itself are new here."""
        with self._lock:
            found = self._kept.get(id(features))
            if found is not None and found[0]() is features and found[1] == version:
                self._kept.move_to_end(id(features))
                return found[2]
        made = make()
        with self._lock:
            self._kept[id(features)] = ref(features), version, made
            self._kept.move_to_end(id(features))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made


def attend_two_way(
    transformer: TwoWayTransformer,
    image: Tensor,
    position: Tensor,
    tokens: Tensor,
    first: FirstLayer | None = None,
    dense: DensePrompt | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the transformer.

    Parameters
    ----------
    transformer
        SAM's.
    image
        (B, P, C) image tokens with the dense prompt added; overwritten.
    position
        (1, P, C) their positional encoding.
    tokens
        (B, T, C) output and prompt tokens.
    first, dense
        What is known of the image without the dense prompt, and that prompt; both or none.

    Returns
    -------
    tokens
        (B, T, C).
    image
        (B, P, C).
    """
    queries = tokens
    for index, layer in enumerate(transformer.layers):
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(q=queries, k=queries, v=queries)
        else:
            q = queries + tokens
            queries = queries + layer.self_attn(q=q, k=q, v=queries)
        queries = layer.norm1(queries)
        if index or first is None or dense is None:
            known, shift = _project(layer, image, position), None
        else:
            known, shift = _with_prompt(first, layer, dense), dense.bias
        queries = queries + _to_image(
            layer.cross_attn_token_to_image, queries + tokens, known.key, known.value, shift
        )
        queries = layer.norm2(queries)
        queries = layer.norm3(queries + layer.mlp(queries))
        _add_from_image(
            layer.cross_attn_image_to_token, image, known.query, shift, queries + tokens, queries
        )
        image = layer.norm4(image)
    last = transformer.final_attn_token_to_image
    key, value = _projected(last.k_proj, image + position), _projected(last.v_proj, image)
    queries = queries + _to_image(last, queries + tokens, key, value, None)
    return transformer.norm_final_attn(queries), image


def _project(layer: Any, image: Tensor, position: Tensor) -> FirstLayer:
    to_image, from_image = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
    placed = image + position
    return FirstLayer(
        _projected(to_image.k_proj, placed),
        _projected(to_image.v_proj, image),
        _projected(from_image.q_proj, placed),
    )


def _with_prompt(first: FirstLayer, layer: Any, dense: DensePrompt) -> FirstLayer:
    """Add what the projections make of the dense prompt, but for its bias."""
    channels = dense.channels
    if channels is None:
        return first
    to_image, from_image = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token

    def added(projected: Tensor, projection: Any) -> Tensor:
        weight = (projection.weight @ dense.weight).T
        return torch.baddbmm(projected, channels, weight.expand(len(projected), -1, -1))

    return FirstLayer(
        added(first.key, to_image.k_proj),
        added(first.value, to_image.v_proj),
        added(first.query, from_image.q_proj),
    )


def _projected(projection: Any, x: Tensor) -> Tensor:
    """(B, P, C) through a linear layer: all image tokens."""
    return linear(x, projection.weight, projection.bias)


def _by_head(attention: Any, x: Tensor) -> Tensor:
    """(B, T, D) -> (B, heads, T, D / heads)."""
    batch, count, _ = x.shape
    return x.view(batch, count, attention.num_heads, -1).transpose(1, 2)


def _to_image(
    attention: Any, q: Tensor, key: Tensor, value: Tensor, shift: Tensor | None
) -> Tensor:
    """Few tokens (B, T, C) look at projected keys and values (B, P, D) -> (B, T, C).

    What `shift`, (C,), would add to all image tokens changes no score, since softmax takes it out
    again, and every value alike.
    """
    query = _by_head(attention, attention.q_proj(q))
    scores = (query * query.shape[-1] ** -0.5) @ _by_head(attention, key).transpose(2, 3)
    seen = (torch.softmax(scores, -1) @ _by_head(attention, value)).transpose(1, 2).flatten(2)
    if shift is not None:
        seen = seen + attention.v_proj.weight @ shift
    joined: Tensor = attention.out_proj(seen)
    return joined


def _add_from_image(
    attention: Any, image: Tensor, query: Tensor, shift: Tensor | None, k: Tensor, v: Tensor
) -> None:
    """Let the image (B, P, C) look at few tokens; add what it sees to it, in place.

    Its projected queries (B, P, D) are without what they make of `shift`.
    """
    key = _by_head(attention, attention.k_proj(k))
    key = key * key.shape[-1] ** -0.5
    scores = key @ _by_head(attention, query).transpose(2, 3)
    if shift is not None:
        scores += key @ (attention.q_proj.weight @ shift).view(attention.num_heads, -1, 1)
    scores = torch.softmax(scores, 2)
    value = _by_head(attention, attention.v_proj(v))
    mixed = (scores.transpose(2, 3) @ value).transpose(1, 2).flatten(2)
    image += _projected(attention.out_proj, mixed)


def mask_logits(decoder: Any, token: Tensor, image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """SAM's head: a mask token times the up-scaled image.

    Parameters
    ----------
    decoder
        SAM's mask decoder.
    token
        (B, C) the mask token after the transformer.
    image
        (B, h w, C) image tokens after it.
    size_hw
        (h, w).

    Returns
    -------
    Tensor
        (B, 1, 4h, 4w) logits.
    """
    first, norm, gelu, second, last = decoder.output_upscaling
    (height, width), batch = size_hw, image.shape[0]
    x = linear(image, _as_linear(first.weight), first.bias.repeat(4))
    x = x.view(batch, -1, first.out_channels)
    x = gelu(functional.layer_norm(x, (first.out_channels,), norm.weight, norm.bias, norm.eps))
    x = last(linear(x, _as_linear(second.weight), second.bias.repeat(4)))
    x = x.view(batch, -1, second.out_channels)
    weights = decoder.output_hypernetworks_mlps[0](token)
    masks = torch.bmm(x, weights[..., None])
    # Rows, columns, then the place within 2 x 2, twice -> rows and columns of the mask.
    places = masks.view(batch, height, width, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return places.reshape(batch, 1, 4 * height, 4 * width)


def _as_linear(weight: Tensor) -> Tensor:
    """(C, D, 2, 2) of a transposed convolution of stride 2 -> (4 D, C), place by place."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)
