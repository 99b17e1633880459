"""SAM's two-way transformer and mask head at inference: the same sums in a cheaper order.

``segment_anything`` projects all 64 x 64 image tokens ten times for each click, though a click
brings but a dozen prompt tokens. Here

- what the first layer's projections make of the image alone is made once for an embedding
  (`FirstLayer`); a mask prompt, which is linear in 16 channels, is added to it in these;
- the later projections are multiplied into the few tokens instead, a block for each head, so that
  the image tokens are only read: attending to the image is ``softmax(Q_h W_k,h X^T) X W_v,h``,
  attending from it ``softmax(X (W_q,h K_h^T)) (V_h W_o,h)``. Past `FOLDED_TOKENS` tokens
  projecting the image is the cheaper way again;
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from segment_anything.modeling import TwoWayTransformer

__all__ = [
    "DensePrompt",
    "FirstLayer",
    "FirstLayers",
    "attend_two_way",
    "first_layer",
    "mask_logits",
]

FOLDED_TOKENS = 18
"""Up to so many prompt tokens, folding the projections into them is measured to be cheaper."""
KEPT = 8
"""First layers kept, 6 MB each for SAM: those of the images that are being clicked on."""


@dataclass(frozen=True, slots=True, eq=False)
class DensePrompt:
    """SAM's mask prompt before its last, linear step: ``channels @ weight.T + bias``.

    Parameters
    ----------
    channels
        (B, P, D), or None: no mask prompt, the bias alone.
    weight
        (C, D).
    bias
        (C,).
    """

    channels: Tensor | None
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FirstLayer:
    """The first layer's projections of an image, each (B, P, C / 2): what no click changes."""

    key: Tensor
    value: Tensor
    query: Tensor


def first_layer(transformer: TwoWayTransformer, image: Tensor, position: Tensor) -> FirstLayer:
    """Project an image's tokens (B, P, C), of positions (1, P, C), for the first layer."""
    layer = transformer.layers[0]
    to_image, from_image = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
    placed = image + position
    return FirstLayer(to_image.k_proj(placed), to_image.v_proj(image), from_image.q_proj(placed))


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
        to_image, from_image = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        asked = queries + tokens
        placed = image
        if index == 0 and first is not None and dense is not None:
            key = _with_prompt(first.key, to_image.k_proj, dense)
            value = _with_prompt(first.value, to_image.v_proj, dense)
            seen = _to_projected(to_image, asked, key, value)
            queries = queries + to_image.out_proj(seen + to_image.v_proj.weight @ dense.bias)
        else:
            placed = image + position
            queries = queries + _to_image(to_image, asked, image, placed)
        queries = layer.norm2(queries)
        queries = layer.norm3(queries + layer.mlp(queries))
        asked = queries + tokens
        if index == 0 and first is not None and dense is not None:
            query = _with_prompt(first.query, from_image.q_proj, dense)
            shift = from_image.q_proj.weight @ dense.bias
            _add_from_projected(from_image, image, query, shift, asked, queries)
        else:
            _add_from_image(from_image, image, placed, asked, queries)
        image = layer.norm4(image)
    queries = queries + _to_image(
        transformer.final_attn_token_to_image, queries + tokens, image, image + position
    )
    return transformer.norm_final_attn(queries), image


def _with_prompt(projected: Tensor, projection: Any, dense: DensePrompt) -> Tensor:
    """Add what a projection makes of the dense prompt, but for its bias."""
    if dense.channels is None:
        return projected
    weight = (projection.weight @ dense.weight).T
    return torch.baddbmm(projected, dense.channels, weight.expand(len(projected), -1, -1))


def _by_head(attention: Any, x: Tensor) -> Tensor:
    """(B, T, D) -> (B, heads, T, D / heads)."""
    batch, count, _ = x.shape
    return x.view(batch, count, attention.num_heads, -1).transpose(1, 2)


def _to_projected(attention: Any, q: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Few tokens (B, T, C) look at projected keys and values (B, P, D) -> (B, T, D)."""
    query = _by_head(attention, attention.q_proj(q))
    scores = (query * query.shape[-1] ** -0.5) @ _by_head(attention, key).transpose(2, 3)
    mixed = torch.softmax(scores, -1) @ _by_head(attention, value)
    return mixed.transpose(1, 2).flatten(2)


def _to_image(attention: Any, q: Tensor, image: Tensor, keys: Tensor) -> Tensor:
    """Few tokens (B, T, C) look at the image (B, P, C), placed for its keys -> (B, T, C)."""
    if q.shape[1] > FOLDED_TOKENS:
        seen = _to_projected(attention, q, attention.k_proj(keys), attention.v_proj(image))
    else:
        heads, (batch, count, _) = attention.num_heads, q.shape
        query = _by_head(attention, attention.q_proj(q))
        width = query.shape[-1]
        # A key's bias adds the same to all scores of a query, which softmax takes out again.
        key_weight = attention.k_proj.weight.view(heads, width, -1)
        folded = ((query * width**-0.5) @ key_weight).reshape(batch, heads * count, -1)
        scores = torch.softmax(torch.bmm(folded, keys.transpose(1, 2)), -1)
        mixed = torch.bmm(scores, image).view(batch, heads, count, -1)
        value_weight = attention.v_proj.weight.view(heads, width, -1)
        seen = (mixed @ value_weight.transpose(1, 2)).transpose(1, 2).flatten(2)
        seen = seen + attention.v_proj.bias
    joined: Tensor = attention.out_proj(seen)
    return joined


def _add_from_image(attention: Any, image: Tensor, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Let the image, placed in `q`, look at few tokens; add what it sees to `image` in place."""
    if k.shape[1] > FOLDED_TOKENS:
        _add_from_projected(attention, image, attention.q_proj(q), None, k, v)
        return
    key = _by_head(attention, attention.k_proj(k))
    key = key * key.shape[-1] ** -0.5
    weight = attention.q_proj.weight.view(attention.num_heads, key.shape[-1], -1)
    bias = (key @ attention.q_proj.bias.view(attention.num_heads, -1, 1)).flatten(1, 2)
    scores = torch.baddbmm(bias, (key @ weight).flatten(1, 2), q.transpose(1, 2))
    _add_shown(attention, image, scores.view(*key.shape[:3], -1), v)


def _add_from_projected(
    attention: Any, image: Tensor, query: Tensor, shift: Tensor | None, k: Tensor, v: Tensor
) -> None:
    """The same from projected queries (B, P, D), to all of which `shift`, (D,), is still to add."""
    key = _by_head(attention, attention.k_proj(k))
    key = key * key.shape[-1] ** -0.5
    scores = key @ _by_head(attention, query).transpose(2, 3)
    if shift is not None:
        scores += key @ shift.view(attention.num_heads, -1, 1)
    _add_shown(attention, image, scores, v)


def _add_shown(attention: Any, image: Tensor, scores: Tensor, v: Tensor) -> None:
    """Add to the image what tokens (B, T, C) show it by their (B, heads, T, P) scores.

    Pixels come last: softmax over a dozen tokens is slow where these are the innermost axis.
    """
    heads = attention.num_heads
    scores = torch.softmax(scores, 2)
    value = _by_head(attention, attention.v_proj(v))
    if v.shape[1] > FOLDED_TOKENS:
        mixed = (scores.transpose(2, 3) @ value).transpose(1, 2).flatten(2)
        image += attention.out_proj(mixed)
        return
    weight = attention.out_proj.weight.T.view(heads, value.shape[-1], -1)
    # The scores of a head sum to one, so that each head may bring its share of the bias.
    shown = value @ weight + attention.out_proj.bias / heads
    image.baddbmm_(scores.flatten(1, 2).transpose(1, 2), shown.flatten(1, 2))


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
    x = functional.linear(image, _as_linear(first.weight), first.bias.repeat(4))
    x = x.view(batch, -1, first.out_channels)
    x = gelu(functional.layer_norm(x, (first.out_channels,), norm.weight, norm.bias, norm.eps))
    x = last(functional.linear(x, _as_linear(second.weight), second.bias.repeat(4)))
    x = x.view(batch, -1, second.out_channels)
    weights = decoder.output_hypernetworks_mlps[0](token)
    masks = torch.bmm(x, weights[..., None])
    # Rows, columns, then the place within 2 x 2, twice -> rows and columns of the mask.
    places = masks.view(batch, height, width, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return places.reshape(batch, 1, 4 * height, 4 * width)


def _as_linear(weight: Tensor) -> Tensor:
    """(C, D, 2, 2) of a transposed convolution of stride 2 -> (4 D, C), place by place."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)
