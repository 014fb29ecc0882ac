"""The statistics of images: known images have known ones, and a change moves those that it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, zoom
from scipy.stats import norm

from foveal.classifier.image_statistics import NormalScores, aspects_of, measure, statistics_of
from scene_pictures import scenes


def column(pixels: np.ndarray, name: str) -> np.ndarray:
    of = {one.name: one.columns for one in statistics_of(*pixels.shape[1:])}
    return measure(pixels)[:, of[name]]


def test_an_image_worked_by_hand():
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[:, :, 4:] = 200  # dark left, light right
    assert column(image, "brightness") == pytest.approx(100 / 255)
    assert column(image, "contrast") == pytest.approx(100 / 255)
    assert column(image, "share of black") == pytest.approx(np.sqrt(0.5))
    assert column(image, "share of white") == pytest.approx(0)
    assert column(image, "skewness of brightness") == pytest.approx(0, abs=1e-6)
    # Two of six second differences across are 200 or -200, none down.
    assert column(image, "sharpness") == pytest.approx(np.log((200**2 / 3 + 1) / (100**2 + 16)))
    cells = column(image, "layout of light and dark").reshape(4, 4)
    assert cells == pytest.approx(np.tile([-1, -1, 1, 1], (4, 1)), abs=1e-3)
    assert column(image, "left-right asymmetry") == pytest.approx(2, abs=2e-3)
    assert column(image, "up-down asymmetry") == pytest.approx(0)
    directions = column(image, "directions of edges")[0]
    assert directions.argmax() == 0 and directions[0] > 0.98
    assert column(image.transpose(0, 2, 1, 3), "directions of edges")[0].argmax() == 4


def test_colourfulness_is_that_of_hasler_and_suesstrunk():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    red, green, blue = np.moveaxis(pixels.astype(float), -1, 0)
    first, second = red - green, (red + green) / 2 - blue
    axes = (1, 2)
    spread, mean = np.hypot(first.std(axes), second.std(axes)), np.hypot(first.mean(axes), second.mean(axes))
    assert column(pixels, "colourfulness")[:, 0] == pytest.approx((spread + 0.3 * mean) / 255, rel=1e-5)
    grey = np.repeat(pixels[..., :1], 3, axis=3)
    assert column(grey, "colourfulness") == pytest.approx(0)
    both = [measure(grey), measure(grey[..., :1])]
    assert np.delete(both[0], 5, axis=1) == pytest.approx(both[1], rel=1e-3, abs=1e-4)


def test_blur_lowers_sharpness_step_by_step():
    sharp = scenes(8).astype(float)
    blurred = [gaussian_filter(sharp, (0, sigma, sigma, 0)) for sigma in (0, 0.5, 1, 1.5, 2, 3, 4)]
    found = np.stack([column(np.rint(one).astype(np.uint8), "sharpness")[:, 0] for one in blurred])
    assert (np.diff(found, axis=0) < 0).all()


def test_turning_inverting_and_enlarging_move_what_they_should():
    images = scenes(6)
    turned = np.rot90(images, axes=(1, 2))
    half_turn = np.roll(column(images, "directions of edges"), 4, axis=1)
    assert column(turned, "directions of edges") == pytest.approx(half_turn, abs=1e-5)
    assert column(turned, "left-right asymmetry") == pytest.approx(column(images, "up-down asymmetry"), abs=1e-6)
    layout = "layout of light and dark"
    assert column(255 - images, layout) == pytest.approx(-column(images, layout), abs=1e-4)
    assert column(255 - images, "sharpness") == pytest.approx(column(images, "sharpness"), abs=1e-5)
    enlarged = np.stack([zoom(one[16:48, 16:48, 0], 2, order=1) for one in images])[..., None]
    assert (column(enlarged, "sharpness") < column(images, "sharpness")).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 256]),
)
def test_any_size_gives_finite_numbers_of_each_image_alone(height, width, channels, seed, levels):
    pixels = np.random.default_rng(seed).integers(0, levels, (5, height, width, channels), dtype=np.uint8)
    found = measure(pixels)
    assert found.shape == (5, statistics_of(height, width, channels)[-1].columns.stop)
    assert np.isfinite(found).all()
    assert all(np.array_equal(measure(pixels[row : row + 1])[0], found[row]) for row in range(5))
    assert measure(pixels[:0]).shape == (0, found.shape[1])


def test_grey_in_three_channels_is_measured_to_the_bit_as_beside_a_picture_in_colour():
    rng = np.random.default_rng(4)
    grey = rng.integers(0, 256, (3, 32, 32, 1), np.uint8).repeat(3, axis=3)
    colour = rng.integers(0, 256, (1, 32, 32, 3), np.uint8)
    assert np.array_equal(measure(grey), measure(np.concatenate([grey, colour]))[:3])


def test_aspects_name_columns_that_exist_and_cover_all():
    count = statistics_of(224, 224, 3)[-1].columns.stop
    aspects = aspects_of(224, 224, 3)
    *kinds, everything = aspects
    assert everything.columns == slice(0, count)
    covered = [column for one in kinds for column in range(one.columns.start, one.columns.stop)]
    assert covered == list(range(count))
    assert len(aspects_of(224, 224, 1)) == len(aspects) - 1  # without colour


def test_normal_scores_tame_heavy_tails_and_go_on_beyond_them():
    rng = np.random.default_rng(0)
    values = np.stack([np.exp(2 * rng.normal(size=5_000)), np.full(5_000, 3.0)], axis=1)
    ends = 1 / 5_001
    scores = norm.ppf(np.linspace(ends, 1 - ends, 65))
    knots = np.quantile(values, np.linspace(0, 1, 65), axis=0).T
    found = NormalScores(knots, scores, np.array([0.01, 0.5]))(values)
    assert found[:, 0].std() == pytest.approx(1, abs=0.1)
    assert (np.diff(found[values[:, 0].argsort(), 0]) >= 0).all()
    assert found[:, 1] == pytest.approx(0, abs=1e-9)
    beyond = np.array([[2 * values[:, 0].max(), 4.0], [-1e3, 2.5]])
    assert NormalScores(knots, scores, np.array([0.01, 0.5]))(beyond)[:, 1] == pytest.approx([2, -1])
    assert NormalScores(knots, scores, np.array([0.01, 0.5]))(beyond)[0, 0] > 6
