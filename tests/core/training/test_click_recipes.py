"""Settings by family: what is left out, what is refused, and how fast each part learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from histosam_core.errors import ConfigError
from histosam_core.model.baselines import network, network_names
from histosam_core.model.checkpoint.checkpoint import describe_network, save_checkpoint
from histosam_core.training import TrainConfig
from histosam_core.training.families.specialist import share_of
from histosam_core.training.recipes import RECIPES, recipe_of


def config(model: str, **settings: Any) -> TrainConfig:
    return TrainConfig(out=Path("run"), model=model, **settings)


@pytest.mark.parametrize(
    ("model", "rate", "factor", "crop", "centre", "milestones"),
    [
        ("ritm_h18s", 5e-4, 0.1, (320, 480), False, (200 / 230, 220 / 230)),
        ("focalclick_b0_s2", 5e-3, 0.1, (256, 256), True, (190 / 230, 210 / 230)),
        ("focalclick_h18s_s1", 5e-4, 2.0, (256, 256), True, (190 / 230, 210 / 230)),
        ("simpleclick_vit_b", 5e-5, 1.0, (448, 448), False, (50 / 55,)),
        ("histosam-tiny", 5e-4, 0.1, None, False, (20 / 30, 25 / 30)),
    ],
)
def test_what_is_left_out_is_as_published(
    model: str,
    rate: float,
    factor: float,
    crop: tuple[int, int] | None,
    centre: bool,
    milestones: tuple[float, ...],
) -> None:
    made = config(model)
    assert (made.learning_rate, made.encoder_lr_factor) == (rate, factor)
    assert (made.crop_size, made.first_click_centre) == (crop, centre)
    assert made.milestones == milestones
    assert made.scenario == ("refining" if model == "histosam-tiny" else "specialist")
    assert (made.focal_alpha, made.focal_gamma) == (0.5, 2.0)


def test_what_is_given_stays() -> None:
    made = config(
        "simpleclick_vit_b",
        learning_rate=1e-4,
        encoder_lr_factor=0.5,
        milestones=(0.5,),
        first_click_centre=True,
        crop_size=224,
        layer_decay=0.75,
        scenario="specialist",
    )
    assert (made.learning_rate, made.encoder_lr_factor, made.milestones) == (1e-4, 0.5, (0.5,))
    assert (made.first_click_centre, made.crop_size, made.layer_decay) == (True, (224, 224), 0.75)


@pytest.mark.parametrize("model", ["ritm_h18s", "focalclick_b0_s2", "simpleclick_xtiny448"])
def test_settings_survive_the_file(tmp_path: Path, model: str) -> None:
    made = config(model, epochs=3)
    made.save(tmp_path / "config.json")
    assert TrainConfig.load(tmp_path / "config.json") == made
    assert json.loads((tmp_path / "config.json").read_text())["crop_size"] == list(made.crop_size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "ritm_h18s", "scenario": "refining"},
            "scenario is 'refining'; it must be left out: ritm_h18s is a RITM model",
        ),
        ({"model": "histosam-tiny", "scenario": "specialist"}, "of SAM's line"),
        ({"model": "histosam-tiny", "crop_size": 256}, "takes whole patches"),
        ({"model": "histosam-tiny", "layer_decay": 0.75}, "it is for SimpleClick"),
        ({"model": "ritm_h18s", "layer_decay": 0.75}, "it is for SimpleClick"),
        ({"model": "simpleclick_vit_b", "layer_decay": 1.5}, "layer_decay is 1.5"),
        ({"model": "ritm_h18s", "early_features": True}, "early_features is True"),
        ({"model": "focalclick_b0_s2", "quality_weight": 0.1}, "predicts no quality"),
        ({"model": "focalclick_b0_s2", "crop_size": [256, 320]}, "a square"),
        ({"model": "simpleclick_vit_b", "crop_size": 320}, "multiples of 224"),
        ({"model": "ritm_h18s", "crop_size": 16}, "32 px or more"),
        ({"model": "ritm_h18s", "crop_size": [1, 2, 3]}, "HEIGHTxWIDTH, such as 320x480"),
        ({"model": "ritm_h18s", "crop_size": "large"}, "HEIGHTxWIDTH, such as 320x480"),
        ({"model": "ritm_h18s", "batch_size": 1}, "at least 2: a batch norm"),
        ({"model": "ritm_h18s", "encoder_lr_factor": 1.5}, "at most 1"),
        ({"model": "focalclick_h18s_s2", "encoder_lr_factor": 3.0}, "at most 2"),
    ],
)
def test_what_does_not_fit_the_family_is_told_in_one_line(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_small_crops_of_simpleclick_and_single_patches_of_segformer_are_taken() -> None:
    assert config("simpleclick_vit_b", crop_size=112, batch_size=1).crop_size == (112, 112)
    assert config("focalclick_b0_s2", batch_size=1).batch_size == 1


def test_every_network_has_a_recipe() -> None:
    found = {name: recipe_of(name).name for name in network_names()}
    assert set(found.values()) == set(RECIPES)
    for name, recipe in found.items():
        assert name.startswith(("mobile_sam", recipe.split("_")[0]))


@pytest.mark.parametrize("name", ["focalclick_segformerB0_S1", "simpleclick_xtiny448"])
def test_a_file_tells_its_family(tmp_path: Path, name: str) -> None:
    built = network(name)
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.pth"
    save_checkpoint(ours, built, describe_network(built, name="mine"))
    torch.save({"state_dict": built.state_dict(), "config": {}}, theirs)
    assert recipe_of(str(ours)) == recipe_of(str(theirs)) == recipe_of(name)


def test_the_rates_of_the_parts_are_the_published_ones() -> None:
    ritm = {
        "maps_transform.0.weight": 1.0,
        "maps_transform.3.scale": 1.0,
        "feature_extractor.conv1.weight": 0.1,
        "feature_extractor.stage4.0.branches.0.0.bn1.bias": 0.1,
        "feature_extractor.cls_head.weight": 0.1,
        "feature_extractor.aux_head.0.bias": 0.1,
        "feature_extractor.conv3x3_ocr.0.weight": 1.0,
        "feature_extractor.ocr_distri_head.conv_bn_dropout.0.weight": 1.0,
    }
    held = set(network("ritm_h18s").state_dict())
    for name, share in ritm.items():
        assert name in held
        assert share_of(name, "ritm", encoder_lr_factor=0.1) == share
    hrnet = {
        "feature_extractor.conv3x3_ocr.0.weight": 2.0,
        "feature_extractor.cls_head.weight": 2.0,
        "maps_transform.2.weight": 1.0,
        "refiner.refine_pred.weight": 1.0,
    }
    for name, share in hrnet.items():
        assert share_of(name, "focalclick_hrnet", encoder_lr_factor=2.0) == share
    segformer = {
        "feature_extractor.backbone.patch_embed1.proj.weight": 0.1,
        "feature_extractor.decode_head.linear_c4.proj.weight": 1.0,
        "refiner.image_conv1.conv.weight": 1.0,
    }
    held = set(network("focalclick_b0_s2").state_dict())
    for name, share in segformer.items():
        assert name in held
        assert share_of(name, "focalclick_segformer", encoder_lr_factor=0.1) == share


def test_layers_of_simpleclick_may_learn_the_slower_the_nearer_to_the_image() -> None:
    def share(name: str) -> float:
        return share_of(name, "simpleclick", encoder_lr_factor=1.0, layer_decay=0.75, depth=12)

    held = set(network("simpleclick_xtiny448").state_dict())
    expected = {
        "backbone.pos_embed": 0.75**13,
        "backbone.patch_embed.proj.weight": 0.75**13,
        "backbone.blocks.0.attn.qkv.weight": 0.75**12,
        "backbone.blocks.7.mlp.fc1.bias": 0.75**5,
        "backbone.fc_norm.weight": 1.0,
        "patch_embed_coords.proj.weight": 1.0,
        "neck.down_4.0.weight": 1.0,
        "head.conv_seg.weight": 1.0,
    }
    for name, wanted in expected.items():
        assert name in held
        assert share(name) == pytest.approx(wanted)
    assert share_of("backbone.blocks.0.attn.qkv.weight", "simpleclick", encoder_lr_factor=1.0) == 1
