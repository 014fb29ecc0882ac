"""Moved pictures: whole pixels exactly, quarter turns exactly, the rest as scipy samples it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from foveal.data.augment.batch import augment_batch
from foveal.data.augment.draws import Draws, Lot, image_seeds
from foveal.data.augment.elastic import Elastic
from foveal.data.augment.geometry import Moves, Sampling, WholePixels, draw_moves, mirrored, source_map
from foveal.data.augment.policy import PRESETS, Augment

CPU = torch.device("cpu")
ALL = slice(None)


def seeds(count: int) -> torch.Tensor:
    return image_seeds(11, 0, torch.arange(count))


def pictures(count: int, height: int, width: int, channels: int) -> torch.Tensor:
    rng = np.random.default_rng(height * width)
    return torch.from_numpy(rng.integers(1, 256, (count, height, width, channels), np.uint8))


def still(count: int = 1) -> Moves:
    """Moves that leave every picture as it is."""
    return draw_moves(Augment(), Draws(seeds(count)), 8, 8)


def sampled(x: torch.Tensor, moves: Moves, fill: str = "black") -> torch.Tensor:
    """`x` (b, C, H, W) after one sampling, rounded."""
    return Sampling(moves, None, *x.shape[2:], fill, CPU)(x.float(), ALL).round().to(x.dtype)


def test_flips_are_torch_s():
    images = pictures(4, 5, 7, 3)
    own = seeds(4)
    assert torch.equal(augment_batch(images, Augment(horizontal_flip=1), own), images.flip(2))
    assert torch.equal(augment_batch(images, Augment(vertical_flip=1), own), images.flip(1))
    both = augment_batch(images, Augment(horizontal_flip=1, vertical_flip=1), own)
    assert torch.equal(both, images.flip(1, 2))


@pytest.mark.parametrize("name", ["horizontal_flip", "vertical_flip"])
def test_flips_are_as_frequent_as_asked(name):
    image = torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8)[None, :, :, None].expand(1000, 2, 2, 1)
    for probability in (0.5, 0.1):
        out = augment_batch(image, Augment.from_dict({name: probability}), seeds(1000))
        flipped = (out[:, 0, 0, 0] != 0).double().mean().item()
        assert flipped == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / 1000))


@settings(deadline=None, max_examples=40)
@given(
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    policy=st.builds(
        Augment,
        horizontal_flip=st.sampled_from([0, 0.5]),
        vertical_flip=st.sampled_from([0, 0.5]),
        pad_crop=st.floats(0, 0.5),
        translation=st.floats(0, 0.5),
        fill=st.sampled_from(["black", "reflect"]),
    ),
)
def test_whole_pixels_are_moved_as_the_sampling_would(sides, policy):
    x = pictures(6, *sides, 3).permute(0, 3, 1, 2).contiguous()
    moves = draw_moves(policy, Draws(seeds(6)), *sides)
    assert torch.equal(WholePixels(policy, moves, *sides, CPU)(x, ALL), sampled(x, moves, policy.fill))


@pytest.mark.parametrize("fill", ["black", "reflect"])
def test_a_padded_crop_is_a_piece_of_the_padded_picture(fill):
    images = pictures(30, 16, 16, 1)
    out = augment_batch(images, Augment(pad_crop=0.125, fill=fill), seeds(30))
    found = set()
    for before, after in zip(images.numpy(), out.numpy(), strict=True):
        how = {"mode": "constant"} if fill == "black" else {"mode": "symmetric"}
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), **how)
        places = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[y : y + 16, x : x + 16], after)]
        assert len(places) == 1
        found.update(places)
    assert len(found) > 10


@pytest.mark.parametrize("sampling", [False, True])
def test_translation_by_whole_pixels_is_a_shift(sampling):
    x = pictures(1, 9, 11, 3).permute(0, 3, 1, 2).contiguous()
    moves = replace(still(), translation=torch.tensor([[3, -2]]))  # right and up
    policy = Augment(translation=0.5)
    out = sampled(x, moves) if sampling else WholePixels(policy, moves, 9, 11, CPU)(x, ALL)
    expected = torch.zeros_like(x)
    expected[:, :, :-2, 3:] = x[:, :, 2:, :-3]
    assert torch.equal(out, expected)


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("side", [8, 9, 224])
def test_quarter_turns_are_torch_s(quarters, side):
    x = pictures(1, side, side, 3).permute(0, 3, 1, 2)
    moves = replace(still(), radians=torch.tensor([quarters * math.pi / 2], dtype=torch.float64))
    assert torch.equal(sampled(x, moves, "reflect"), x.rot90(quarters, (2, 3)))


def test_a_doubled_scale_shows_the_middle():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    x[:, :, 2:6, 2:6] = 200
    moves = replace(still(), scale=torch.tensor([2.0], dtype=torch.float64))
    assert sampled(x, moves)[0, 0, 1:-1, 1:-1].eq(200).all()


def test_a_crop_shows_its_piece():
    x = pictures(1, 8, 8, 1).permute(0, 3, 1, 2)
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    moves = replace(still(), crop=half, crop_middle=torch.tensor([[2.0, -2.0]], dtype=torch.float64))
    grid = Sampling(moves, None, 8, 8, "black", CPU).grid(ALL)
    pixels = (grid + 1) * 4 - 0.5  # where each output pixel comes from, x and y
    assert pixels[0, 0, :, 0].tolist() == pytest.approx([3.75 + 0.5 * step for step in range(8)])
    assert pixels[0, :, 0, 1].tolist() == pytest.approx([-0.25 + 0.5 * step for step in range(8)])
    assert sampled(x, moves, "reflect").shape == x.shape


@settings(deadline=None, max_examples=30)
@given(sides=st.tuples(st.integers(8, 60), st.integers(8, 60)), smallest=st.floats(0.05, 1))
def test_resized_crops_have_the_area_and_fit(sides, smallest):
    height, width = sides
    moves = draw_moves(Augment(resized_crop=smallest), Draws(seeds(200)), height, width)
    assert moves.crop.max() <= 1
    area = moves.crop.prod(1)
    assert smallest - 1e-9 <= area.min() <= area.max() <= 1 + 1e-9
    edges = moves.crop_middle.abs() + moves.crop * torch.tensor([width, height]) / 2
    assert (edges <= torch.tensor([width, height]) / 2 + 1e-9).all()
    if height == width:
        aspect = moves.crop[:, 0] / moves.crop[:, 1]
        assert 3 / 4 - 1e-9 <= aspect.min() <= aspect.max() <= 4 / 3 + 1e-9


def test_areas_of_crops_are_uniform():
    area = draw_moves(Augment(resized_crop=0.6), Draws(seeds(4000)), 32, 32).crop.prod(1)
    assert area.mean().item() == pytest.approx(0.8, abs=0.01)
    assert area.std().item() == pytest.approx(0.4 / math.sqrt(12), abs=0.01)


def test_strengths_are_limits():
    moves = draw_moves(Augment(rotation_deg=20, zoom=0.3, translation=0.1, pad_crop=0.2), Draws(seeds(2000)), 20, 40)
    assert moves.radians.aminmax() == pytest.approx((-math.pi / 9, math.pi / 9), abs=0.01)
    assert moves.scale.aminmax() == pytest.approx((0.7, 1.3), abs=0.01)
    assert moves.translation.amax(0).tolist() == [4, 2]
    assert moves.translation.amin(0).tolist() == [-4, -2]
    assert moves.padding.amax(0).tolist() == [8, 4]


@pytest.mark.parametrize("fill", ["black", "reflect"])
def test_all_at_once_is_scipy_s_sampling(fill):
    policy = Augment(0.5, 0.5, 0.1, 0.5, 40, 0.1, 0.2, fill=fill)
    images = pictures(12, 21, 30, 1)
    images = torch.from_numpy(ndimage.uniform_filter(images.numpy(), (0, 5, 5, 0)))
    out = augment_batch(images, policy, seeds(12))
    maps = source_map(draw_moves(policy, Draws(seeds(12)), 21, 30)).numpy()
    middle = np.array([14.5, 10])
    for image, (turn, start), after in zip(images, zip(maps[:, :, :2], maps[:, :, 2], strict=True), out, strict=True):
        matrix, shift = turn[::-1, ::-1], (start + middle - turn @ middle)[::-1]  # y before x
        mode = "grid-constant" if fill == "black" else "reflect"
        expected = ndimage.affine_transform(image[:, :, 0].double().numpy(), matrix, shift, order=1, mode=mode)
        assert np.abs(expected - after[:, :, 0].double().numpy()).max() <= 0.51


def test_mirrored_lines_repeat_the_edge():
    assert mirrored(torch.arange(-4, 7), 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]


def test_black_is_outside_and_the_mirror_image_is_not():
    images = torch.full((50, 20, 20, 3), 200, dtype=torch.uint8)
    turned = Augment(rotation_deg=30, translation=0.2)
    assert augment_batch(images, turned, seeds(50)).eq(0).flatten(1).any(1).double().mean() > 0.9
    assert augment_batch(images, replace(turned, fill="reflect"), seeds(50)).eq(200).all()
    bright = replace(turned, brightness=0.9, contrast=0.9)  # what is black stays black
    assert augment_batch(images, bright, seeds(50)).eq(0).flatten(1).any(1).double().mean() > 0.9


def test_x_rays_are_never_flipped():
    assert PRESETS["xray"].horizontal_flip == PRESETS["xray"].vertical_flip == 0
    image = torch.zeros(1000, 32, 32, 1, dtype=torch.uint8)
    image[:, 4:28, 18:28] = 255  # the heart, on the right of the picture
    image[:, 4:10, 4:28] = 255
    out = augment_batch(image, PRESETS["xray"], seeds(1000)).double().squeeze(3)
    assert (out[:, 12:, 16:].sum((1, 2)) > out[:, 12:, :16].sum((1, 2))).all()
    assert (out[:, :16, :16].sum((1, 2)) > out[:, 16:, :16].sum((1, 2))).all()
    moves = draw_moves(PRESETS["xray"], Draws(seeds(1000)), 32, 32)
    assert (torch.linalg.det(source_map(moves)[:, :, :2]) > 0).all()


def test_elastic_displacements_are_as_strong_and_smooth_as_asked():
    sigma = 4.0
    field = Elastic(Draws(seeds(200)).keys(Lot.ELASTIC), 1.5, sigma, 64, 48)(ALL)  # (200, 2, 64, 48)
    assert field.shape == (200, 2, 64, 48)
    assert field.std().item() == pytest.approx(1.5, rel=0.03)
    assert field.mean().item() == pytest.approx(0, abs=0.05)
    flat = field.double()
    for away in (2, 4, 8):  # noise smoothed by a Gaussian has the autocorrelation exp(-d² / 4σ²)
        correlation = (flat[..., away:] * flat[..., :-away]).mean() / (flat**2).mean()
        assert correlation.item() == pytest.approx(math.exp(-(away**2) / (4 * sigma**2)), abs=0.03)
    assert abs((flat[:, 0] * flat[:, 1]).mean().item()) < 0.1


def test_elastic_moves_pixels_by_its_field():
    keys = Draws(seeds(2)).keys(Lot.ELASTIC)
    elastic = Elastic(keys, 1.0, 3.0, 12, 14)
    grid = Sampling(still(2), elastic, 12, 14, "black", CPU).grid(ALL)
    pixels = (grid.double() + 1) * torch.tensor([7.0, 6.0]) - 0.5
    y, x = np.mgrid[:12, :14]
    field = elastic(ALL).double()
    assert torch.allclose(pixels[..., 0], torch.tensor(x) + field[:, 0], atol=1e-4)
    assert torch.allclose(pixels[..., 1], torch.tensor(y) + field[:, 1], atol=1e-4)
