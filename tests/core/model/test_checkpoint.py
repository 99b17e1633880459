from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from histosam_core.clicks import Click
from histosam_core.errors import CheckpointError, OutputWriteError
from histosam_core.model import (
    SamModel,
    SamNetwork,
    TrainingGeometry,
    build_network,
    describe_network,
    load_checkpoint,
    save_checkpoint,
)
from histosam_core.model.checkpoint import checkpoint
from histosam_core.model.checkpoint.weights_header import file_sha256
from histosam_core.model.sam import image_encoder
from histosam_core.model.sam.start import SAM_HEAD, start_network
from histosam_core.model.sam.tiny import build_tiny_modules

Prompts = tuple[Tensor, Tensor]


@pytest.fixture
def tiny() -> SamNetwork:
    torch.manual_seed(1)
    return build_network("histosam_tiny", decoder="refining", image_size=64)


@pytest.fixture
def both_heads() -> SamNetwork:
    """A tiny network that holds both decoders, as pre-training leaves it."""
    torch.manual_seed(2)
    modules = build_tiny_modules("refining", image_size=64, keep_sam_head=True)
    return SamNetwork(*modules, architecture="histosam_tiny", decoder="refining").eval()


@pytest.fixture
def small_sams(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM with thin encoders: every name and every layer kind of the real ones."""
    sizes = {"sam_vit_b": 24, "sam_vit_l": 48}
    thin = {n: image_encoder.EncoderGeometry(w, 2, 2, (1,)) for n, w in sizes.items()}
    monkeypatch.setattr(image_encoder, "SAM_ENCODERS", thin)
    monkeypatch.setattr(checkpoint, "ENCODER_WIDTHS", {w: n for n, w in sizes.items()})


@pytest.fixture
def official_pth(small_sams: None, tmp_path: Path) -> Path:
    torch.manual_seed(3)
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save(build_network("sam_vit_b").state_dict(), path)
    return path


def answer(network: SamNetwork) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    size = network.image_size
    images = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8, generator=generator)
    points = torch.tensor([[[9.0, 20.0], [40.0, 41.0]]])
    with torch.inference_mode():
        embedding = network.encode(network.preprocess(images))
        logits, _ = network.decode(embedding, points, torch.tensor([[1, 0]]))
    return logits


def test_a_checkpoint_may_be_read_by_whoever_may_read_other_files(
    tiny: SamNetwork, tmp_path: Path
) -> None:
    path, other = tmp_path / "model.safetensors", tmp_path / "other"
    save_checkpoint(path, tiny, describe_network(tiny, name="tiny"))
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_network_and_description_survive_a_round_trip(tiny: SamNetwork, tmp_path: Path) -> None:
    info = describe_network(
        tiny,
        name="liver",
        scenario="refining",
        geometry=TrainingGeometry(mpp=1.0, patch_size_px=256),
        provenance={"data": "cohort", "epochs": 3, "parent": {"name": "histosam-tiny"}},
    )
    path = tmp_path / "run" / "best.safetensors"
    saved = save_checkpoint(path, tiny, info)
    network, loaded = load_checkpoint(path)
    assert loaded == saved == replace(info, sha256=file_sha256(path))
    assert loaded.preprocessing.image_size == network.image_size == 64
    assert not network.training
    assert torch.equal(answer(network), answer(tiny))
    assert pickle.loads(pickle.dumps(loaded)) == loaded  # noqa: S301


def test_metadata_are_json_that_other_programs_can_read(tiny: SamNetwork, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, tiny, describe_network(tiny, name="x"))
    with safe_open(path, framework="np") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items()}
    assert metadata["histosam_format"] == 1
    assert metadata["decoders"] == ["refining"]
    assert metadata["geometry"] == {"mpp": 2.0, "patch_size_px": 400}
    assert metadata["preprocessing"]["image_size"] == 64


def test_half_precision_halves_the_file_and_loads_as_float32(
    tiny: SamNetwork, tmp_path: Path
) -> None:
    info = describe_network(tiny, name="x")
    save_checkpoint(tmp_path / "full.safetensors", tiny, info)
    save_checkpoint(tmp_path / "half.safetensors", tiny, info, half=True)
    full, half = (tmp_path / f"{n}.safetensors" for n in ("full", "half"))
    assert half.stat().st_size < 0.52 * full.stat().st_size
    network, _ = load_checkpoint(half)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    torch.testing.assert_close(answer(network), answer(tiny), atol=0.02, rtol=0.02)


def test_file_with_both_decoders_gives_either(both_heads: SamNetwork, tmp_path: Path) -> None:
    path = tmp_path / "both.safetensors"
    info = save_checkpoint(path, both_heads, describe_network(both_heads, name="both"))
    assert info.decoders == ("refining", "sam")
    default, default_info = load_checkpoint(path)
    assert default_info.decoder == default.decoder == "refining"
    assert torch.equal(answer(default), answer(both_heads))
    other, other_info = load_checkpoint(path, decoder="sam")
    assert other_info.decoder == other.decoder == "sam"
    assert other_info.decoders == ("refining", "sam")
    state = other.state_dict()
    assert not any("refine_" in key for key in state)
    assert all(torch.equal(both_heads.state_dict()[key], value) for key, value in state.items())


def test_saving_replaces_the_file_whole_or_not_at_all(
    tiny: SamNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, tiny, describe_network(tiny, name="first"))
    before = path.read_bytes()

    def full_disk(state: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half a checkpoint")
        raise checkpoint.SafetensorError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OutputWriteError, match="No space left"):
        save_checkpoint(path, tiny, describe_network(tiny, name="second"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", ["plain", "model_state", "model_state with sam.", "PathoSAM"])
def test_weights_of_sam_and_torch_em_are_read(official_pth: Path, layout: str) -> None:
    state = torch.load(official_pth, weights_only=True)
    if layout != "plain":
        prefix = "sam." if layout.endswith("sam.") else ""
        renamed = {prefix + key: value for key, value in state.items()}
        beside = (
            {"decoder_state": {"decoder.weight": torch.ones(2)}} if layout == "PathoSAM" else {}
        )
        facts = {"epoch": 3, "best_metric": 0.5}
        torch.save({"model_state": renamed, **beside, **facts}, official_pth)
    network, info = load_checkpoint(official_pth)
    assert info.architecture == network.architecture == "sam_vit_b"
    assert info.decoder == "sam"
    assert info.scenario is None
    assert info.sha256 == file_sha256(official_pth)
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_refining_decoder_starts_from_sam_with_fresh_new_layers(official_pth: Path) -> None:
    source = torch.load(official_pth, weights_only=True)
    network, info = load_checkpoint(official_pth, decoder="refining", dense_prompts=True)
    assert info.provenance["fresh_layers"] == ["mask_decoder.refine_", "prompt_encoder.click_"]
    assert info.dense_prompts
    shared = {k: v for k, v in network.state_dict().items() if k in source}
    assert all(torch.equal(source[key], value) for key, value in shared.items())
    for part in ("mask_decoder.transformer.", "mask_decoder.iou_prediction_head.", "prompt_enc"):
        assert any(key.startswith(part) for key in shared)
    assert not any(key.startswith(SAM_HEAD) for key in shared)


def test_fresh_dense_prompts_leave_sams_answer_as_it_was(official_pth: Path) -> None:
    plain, _ = load_checkpoint(official_pth)
    dense, _ = load_checkpoint(official_pth, dense_prompts=True)
    assert torch.equal(answer(plain), answer(dense))


def test_another_architecture_is_named_beside_the_one_asked_for(official_pth: Path) -> None:
    with pytest.raises(CheckpointError, match="holds sam_vit_b, but sam_vit_l was asked for"):
        load_checkpoint(official_pth, architecture="sam_vit_l")


def test_missing_unexpected_and_misshapen_weights_are_listed(official_pth: Path) -> None:
    state = torch.load(official_pth, weights_only=True)
    del state["image_encoder.neck.0.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 7)
    torch.save(state, official_pth)
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(official_pth)
    for part in (
        str(official_pth),
        "1 missing (image_encoder.neck.0.weight)",
        "1 unexpected (extra.weight)",
        "1 differently shaped (prompt_encoder.no_mask_embed.weight)",
    ):
        assert part in str(raised.value)


def test_a_missing_layer_of_a_started_part_is_not_filled_in(tiny: SamNetwork) -> None:
    state = tiny.state_dict()
    del state["mask_decoder.refine_path.3.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(mask_decoder.refine_path.3.bias\)"):
        start_network("histosam_tiny", state, decoder="refining", image_size=64)


def test_decoder_that_the_file_cannot_give_is_refused(tiny: SamNetwork, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, tiny, describe_network(tiny, name="x"))
    with pytest.raises(CheckpointError, match="decoder='refining'"):
        load_checkpoint(path, decoder="sam")


class Bomb:
    """A pickle that would make a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    torch.save({"model_state": Bomb(tmp_path / "ran")}, path)
    with pytest.raises(CheckpointError, match=r"contains code \(posix.mkdir\) and was refused"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_truncated_file_is_refused(
    tiny: SamNetwork, tmp_path: Path, kind: str, kept: float
) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "pth":
        torch.save(tiny.state_dict(), path)
    else:
        save_checkpoint(path, tiny, describe_network(tiny, name="x"))
    size = path.stat().st_size
    os.truncate(path, kept if isinstance(kept, int) else int(size * kept))
    with pytest.raises(CheckpointError, match=r"(truncated|empty).*again") as raised:
        load_checkpoint(path)
    assert "\n" not in str(raised.value)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        load_checkpoint(path)
    path.write_text("<html>404</html>")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(path)
    torch.save([1, 2, 3], path)
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        load_checkpoint(path)
    torch.save({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is none of sam_vit_b"):
        load_checkpoint(path)
    torch.save({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="holds no mask decoder"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("histosam_format", "2", "format 2"),
        ("architecture", '"sam3"', "'sam3'"),
        ("geometry", '{"um": 3}', "metadata cannot be read"),
        ("decoders", "[]", "metadata cannot be read"),
        ("name", "not json", "metadata cannot be read"),
    ],
)
def test_metadata_of_another_program_or_version_are_refused(
    tiny: SamNetwork, tmp_path: Path, key: str, value: str, message: str
) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, tiny, describe_network(tiny, name="x"))
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tiny.state_dict(), path, {**metadata, key: value})
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_official_vit_b_answers_as_segment_anything_does(tmp_path: Path) -> None:
    from segment_anything import SamPredictor
    from segment_anything.build_sam import build_sam_vit_b

    torch.manual_seed(0)
    published = build_sam_vit_b()
    path = tmp_path / "sam_vit_b.pth"
    torch.save(published.state_dict(), path)
    model = SamModel(*load_checkpoint(path), "cpu")
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    predictor = SamPredictor(published)
    predictor.set_image(image)
    embedding = model.encode(image)
    assert (embedding.features - predictor.features[0]).abs().max() < 1e-4
    expected, quality, _ = predictor.predict(
        np.array([[300, 200], [700, 900]]),
        np.array([1, 0]),
        multimask_output=False,
        return_logits=True,
    )
    answer = model.decode(embedding, [Click((300, 200)), Click((700, 900), is_positive=False)])
    np.testing.assert_allclose(answer.logits, expected[0], atol=1e-3)
    assert answer.quality == pytest.approx(quality[0], abs=1e-3)
