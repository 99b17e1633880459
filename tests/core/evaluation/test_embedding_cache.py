"""Embeddings shared between models: who shares, who does not, and what changes (nothing)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from histosam_core.embeddings.image_cache import EmbeddingCache
from histosam_core.errors import ConfigError
from histosam_core.evaluation import EvaluationResult, evaluate
from histosam_core.model import SamModel, build_network, describe_network


def tiny(decoder: str, seed: int = 0) -> SamModel:
    """A model whose encoder depends on the seed alone; it counts the images it encodes."""
    torch.manual_seed(seed)
    encoder = build_network("histosam_tiny", decoder="sam", image_size=64).image_encoder
    network = build_network("histosam_tiny", decoder=decoder, image_size=64)  # type: ignore[arg-type]
    network.image_encoder.load_state_dict(encoder.state_dict())
    model = SamModel(network, describe_network(network, name=decoder), "cpu")
    model.n_encoded = 0  # type: ignore[attr-defined]
    encode = model.encode_batch

    def counted(images):  # type: ignore[no-untyped-def]
        model.n_encoded += len(images)  # type: ignore[attr-defined]
        return encode(images)

    model.encode_batch = counted  # type: ignore[method-assign]
    return model


def clicked(model: SamModel, store, cache: EmbeddingCache | None) -> EvaluationResult:  # type: ignore[no-untyped-def]
    return evaluate(model, store, name="tiny", max_clicks=2, limit=5, batch_size=2, cache=cache)


def same(one: EvaluationResult, other: EvaluationResult) -> bool:
    return all(
        a.clicks == b.clicks and np.allclose(a.ious, b.ious, atol=1e-3)
        for a, b in zip(one.patches, other.patches, strict=True)
    )


def test_decoders_on_one_encoder_share_embeddings_and_click_the_same(store) -> None:  # type: ignore[no-untyped-def]
    cache = EmbeddingCache()
    first, second = tiny("sam"), tiny("refining")
    clicked(first, store, cache)
    shared = clicked(second, store, cache)
    assert first.n_encoded == 5  # type: ignore[attr-defined]
    assert second.n_encoded == 1, "the first image, to make sure"  # type: ignore[attr-defined]
    assert same(shared, clicked(tiny("refining"), store, None))
    for patch in shared.patches:
        assert patch.encode_s > 0
        assert patch.wall_s.sum() > patch.encode_s, "what was saved is charged"


def test_another_encoder_shares_nothing(store) -> None:  # type: ignore[no-untyped-def]
    cache = EmbeddingCache()
    clicked(tiny("sam"), store, cache)
    other = tiny("sam", seed=1)
    assert other.encoder_hash() != tiny("sam").encoder_hash()
    clicked(other, store, cache)
    assert other.n_encoded == 5  # type: ignore[attr-defined]
    assert len(cache.memory) == 10


def test_a_model_that_encodes_otherwise_with_the_same_weights_shares_nothing(store) -> None:  # type: ignore[no-untyped-def]
    cache = EmbeddingCache()
    clicked(tiny("sam"), store, cache)
    other = tiny("sam")
    encode = other.network.encode
    other.network.encode = lambda inputs: encode(inputs) + 0.1  # type: ignore[method-assign]
    assert other.encoder_hash() == tiny("sam").encoder_hash()
    clicked(other, store, cache)
    assert other.n_encoded == 1 + 5  # type: ignore[attr-defined]


def test_what_is_there_stays_within_the_bound(store) -> None:  # type: ignore[no-untyped-def]
    one = tiny("sam").encode(store[0].image).features.nbytes
    cache = EmbeddingCache(max_bytes=3 * one + 600)
    clicked(tiny("sam"), store, cache)
    again = tiny("refining")
    clicked(again, store, cache)
    assert cache.memory.n_bytes <= 3 * one + 600
    assert 2 <= again.n_encoded <= 1 + 5 - len(cache.memory)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="max_bytes"):
        EmbeddingCache(max_bytes=-1)


def test_a_folder_keeps_embeddings_for_the_next_run(store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    fresh = clicked(tiny("sam"), store, EmbeddingCache(max_bytes=0, folder=tmp_path))
    later = tiny("sam")
    assert same(clicked(later, store, EmbeddingCache(folder=tmp_path)), fresh)
    assert later.n_encoded == 1  # type: ignore[attr-defined]


def test_a_model_of_unknown_parts_encodes_everything(batched_model, store) -> None:  # type: ignore[no-untyped-def]
    cache = EmbeddingCache()
    evaluate(batched_model, store, name="blob", max_clicks=2, cache=cache)
    assert len(cache.memory) == 0
