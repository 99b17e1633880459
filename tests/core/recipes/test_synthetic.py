"""Synthetic slides: the same from the same seed, and told apart by texture, not by colour."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.errors import ConfigError
from histosam_core.recipes.synthetic import DOMAINS, SyntheticSlide, render_slide
from histosam_core.recipes.synthetic.cells import KINDS, draw_stamps, stamp
from histosam_core.recipes.synthetic.grids import Canvas, cloud, stripes
from histosam_core.recipes.synthetic.outlines_drawn import draw_tissue, draw_tumour

Float = NDArray[np.float32]


def _outlines(seed: int, side_um: int = 3000) -> tuple[Float, Float]:
    # Coarse: only the outlines are looked at.
    canvas = Canvas((side_um // 4, side_um // 4), 4.0, np.random.default_rng(seed))
    tissue_um = draw_tissue(canvas, roundness=0.4)
    return tissue_um, draw_tumour(canvas, tissue_um, fraction=(0.25, 0.45))


@pytest.mark.parametrize("domain", DOMAINS)
def test_same_seed_same_pixels(domain: str) -> None:
    first = render_slide(domain, (520, 400), rng=7)
    again = render_slide(domain, (520, 400), rng=np.random.default_rng(7))
    other = render_slide(domain, (520, 400), rng=8)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.tumor_mask, again.tumor_mask)
    assert (first.image != other.image).any()


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    ("size_wh", "mpp"), [((301, 517), 0.5), ((640, 300), 0.25), ((256, 263), 1)]
)
def test_any_size_and_mpp_has_image_and_truth_of_that_size(
    domain: str, size_wh: tuple[int, int], mpp: float
) -> None:
    slide = render_slide(domain, size_wh, mpp=mpp, rng=1)
    assert slide.image.shape == (size_wh[1], size_wh[0], 3)
    assert slide.image.dtype == np.uint8
    assert slide.tumor_mask.shape == (size_wh[1], size_wh[0])
    assert slide.tumor_mask.dtype == np.bool_
    assert (slide.mpp, slide.domain) == (mpp, domain)


@pytest.mark.parametrize("domain", DOMAINS)
def test_slide_has_glass_tissue_and_both_classes(domain: str) -> None:
    for seed in range(2):
        slide = render_slide(domain, (1024, 1024), rng=seed)
        bright = cv2.GaussianBlur(slide.image, (0, 0), 4).min(-1) > 215
        assert 0.03 < bright.mean() < 0.6
        tissue = 1 - bright.mean()
        assert 0.12 < slide.tumor_mask.mean() / tissue < 0.65
        assert bright[slide.tumor_mask].mean() < 0.35  # the truth lies on tissue


def test_slides_differ_in_stain_and_in_white() -> None:
    slides = [render_slide("liver", (400, 400), rng=seed) for seed in range(6)]
    tissue = np.array([s.image[s.tumor_mask].mean(0) for s in slides])
    glass = np.array([np.percentile(s.image.reshape(-1, 3), 98, axis=0) for s in slides])
    assert tissue.std(0).max() > 4
    assert glass.std(0).max() > 1


def test_islands_holes_and_several_masses_occur() -> None:
    islands = holes = 0
    for seed in range(10):
        _, tumour_um = _outlines(seed)
        mask = (tumour_um > 0).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        areas = np.sort(stats[1:, cv2.CC_STAT_AREA])
        islands += int(count > 2 and areas[0] < 0.3 * areas[-1])
        _, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        holes += int((tree[0, :, 3] >= 0).any())
    assert islands >= 5
    assert holes >= 4


def test_tumour_stays_in_its_host_and_takes_the_share_asked_for() -> None:
    for seed in range(5):
        tissue_um, tumour_um = _outlines(seed)
        assert not ((tumour_um > 0) & (tissue_um < -2)).any()  # half a pixel of this grid
        assert 0.2 < (tumour_um > 0).sum() / (tissue_um > 0).sum() < 0.48


def test_outline_is_lobulated() -> None:
    # A disc has 4 pi area / perimeter^2 = 1; lobules and satellites bring it far down.
    _, tumour_um = _outlines(0)
    mask = (tumour_um > 0).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(contours, key=cv2.contourArea)
    roundness = 4 * np.pi * cv2.contourArea(largest) / cv2.arcLength(largest, closed=True) ** 2
    assert roundness < 0.5


# --- colour alone fails, texture separates: both at 2 um per pixel


def _at_2_um(
    slide: SyntheticSlide,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    size_wh = slide.image.shape[1] // 4, slide.image.shape[0] // 4
    rgb = cv2.resize(slide.image, size_wh, interpolation=cv2.INTER_AREA)
    share = cv2.resize(slide.tumor_mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    coloured = (np.ptp(rgb.astype(int), axis=-1) > 18).astype(np.float32)
    return rgb, share > 0.5, cv2.GaussianBlur(coloured, (0, 0), 8) > 0.5


def _best_iou(score: Float, truth: NDArray[np.bool_], tissue: NDArray[np.bool_]) -> float:
    best = 0.0
    for threshold in np.quantile(score[tissue], np.linspace(0.03, 0.97, 48)):
        mask = (score > threshold) & tissue
        best = max(best, (mask & truth).sum() / (mask | truth).sum())
    return best


def _texture(rgb: NDArray[np.uint8], tissue: NDArray[np.bool_]) -> Float:
    # Energy of red absorption (chromatin) in three octaves, in a window of some 60 um: which size
    # the dark grains have and how close they lie. Brightness itself is not among them.
    density = -np.log((rgb[..., 0] + np.float32(8)) / 255).astype(np.float32)
    smooth = [cv2.GaussianBlur(density, (0, 0), sigma) for sigma in (0.6, 1.2, 2.4, 4.8, 9.6)]
    maps = []
    for fine, coarse in itertools.pairwise(smooth):
        band = fine - coarse
        maps.append(np.log(cv2.GaussianBlur(band * band, (0, 0), 15) + 1e-5))
        maps.append(cv2.GaussianBlur(np.maximum(band, 0) ** 3, (0, 0), 15))
    stacked = np.stack(maps, -1)
    return (stacked - stacked[tissue].mean(0)) / stacked[tissue].std(0)


@pytest.mark.parametrize("domain", DOMAINS)
def test_colour_alone_fails_and_texture_separates(domain: str) -> None:
    views = [_at_2_um(render_slide(domain, (2048, 2048), rng=seed)) for seed in (21, 22, 23, 24)]
    rgb, truth, tissue = views[-1]
    truth = truth & tissue
    everything = truth.sum() / tissue.sum()
    channels = np.concatenate([rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)], -1).astype(np.float32)
    signed = [sign * channels[..., c] for c in range(6) for sign in (1, -1)]
    colour = max(_best_iou(channel, truth, tissue) for channel in signed)
    assert colour < everything + 0.12  # hardly better than calling all tissue tumour
    assert colour < 0.6

    design = [
        np.pad(_texture(v[0], v[2])[v[2]], ((0, 0), (0, 1)), constant_values=1) for v in views
    ]
    labels = [np.where(v[1][v[2]], 1.0, -1.0) for v in views]
    fitted, others = np.concatenate(design[:-1]), np.concatenate(labels[:-1])
    weights = np.linalg.solve(fitted.T @ fitted + 1e-2 * np.eye(fitted.shape[1]), fitted.T @ others)
    score = np.full(tissue.shape, -np.inf, np.float32)
    score[tissue] = design[-1] @ weights
    separated = _best_iou(score, truth, tissue)
    assert separated > 0.6
    assert separated > colour + 0.15


# --- the parts


def test_cloud_and_stripes_are_standardised_and_stripes_have_their_wavelength(
    rng: np.random.Generator,
) -> None:
    smooth = cloud((400, 300), 30, rng)
    assert smooth.shape == (400, 300)
    assert abs(smooth.mean()) < 0.3
    assert 0.7 < smooth.std() < 1.3
    worms = stripes((512, 512), 16, rng)
    spectrum = np.abs(np.fft.rfft2(worms)) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    assert (spectrum * frequency).sum() / spectrum.sum() == pytest.approx(1 / 16, rel=0.15)


@pytest.mark.parametrize("angle", [0.0, np.pi / 4, np.pi / 2])
def test_oriented_stripes_change_little_along_their_direction(
    angle: float, rng: np.random.Generator
) -> None:
    field = stripes((256, 256), 12, rng, along=np.full((256, 256), angle, np.float32))
    gy, gx = np.gradient(field)
    along = np.cos(angle) * gx + np.sin(angle) * gy
    across = np.cos(angle) * gy - np.sin(angle) * gx
    assert (across**2).mean() > 6 * (along**2).mean()


def test_band_of_a_layer_equals_the_whole_layer_enlarged(rng: np.random.Generator) -> None:
    canvas = Canvas((90, 70), 0.5, rng)
    layer = rng.integers(0, 255, canvas.cell_hw, dtype=np.uint8)
    whole = canvas.band(layer, 0, 70)
    np.testing.assert_allclose(canvas.band(layer, 20, 30), whole[20:50], atol=1)
    assert whole.shape == (70, 90)


def test_stamps_have_the_size_and_direction_of_their_kind(rng: np.random.Generator) -> None:
    round_ones = draw_stamps(KINDS["lymphocyte"], 0.25, rng)
    diameters = [2 * np.sqrt((one > 60).sum() / np.pi) * 0.25 for one in round_ones]
    assert np.mean(diameters) == pytest.approx(KINDS["lymphocyte"].diameter_um, rel=0.1)
    upright = draw_stamps(KINDS["spindle"], 0.25, rng)[8]  # turned by a quarter
    assert upright.shape[0] > 1.5 * upright.shape[1]


def test_stamp_lands_on_its_point_and_drops_points_off_the_layer(rng: np.random.Generator) -> None:
    layer = np.zeros((196, 296), np.uint8)
    stamps = draw_stamps(KINDS["lymphocyte"], 0.5, rng)
    stamp(layer, stamps, np.array([[168, 88], [10048, 88], [-752, 54]]), rng)
    y, x = np.nonzero(layer)
    assert x.mean() == pytest.approx(168, abs=1.5)
    assert y.mean() == pytest.approx(88, abs=1.5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"domain": "kidney"}, "liver, lymph_node"),
        ({"size_wh": (100, 1000)}, "256"),
        ({"size_wh": (300.5, 300)}, "whole"),
        ({"mpp": 5.0}, "0.2 to 1.1"),
        ({"mpp": float("nan")}, "0.2 to 1.1"),
    ],
)
def test_bad_argument_gets_one_line(arguments: dict[str, object], says: str) -> None:
    good: dict[str, object] = {"domain": "liver", "size_wh": (300, 300)}
    with pytest.raises(ConfigError, match=says) as caught:
        render_slide(**(good | arguments))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
