"""Colour jitter, blur, noise and cutout, each against its formula in numpy or scipy."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from foveal.data.augment.batch import augment_batch
from foveal.data.augment.colour import PCA_AXES, PCA_VALUES, YIQ, colour_matrix, mean_colours, pca_shift
from foveal.data.augment.draws import Draws, Lot, hashes, image_seeds, normal
from foveal.data.augment.policy import Augment
from foveal.data.augment.texture import blur_weights, weighted


def seeds(count: int) -> torch.Tensor:
    return image_seeds(5, 1, torch.arange(count))


def pictures(count: int, channels: int, side: int = 12) -> torch.Tensor:
    rng = np.random.default_rng(channels)
    return torch.from_numpy(rng.integers(0, 256, (count, side, side, channels), np.uint8))


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def close(ours: torch.Tensor, theirs: np.ndarray) -> bool:
    """Whether all pixels agree but for the rounding of a half."""
    return bool(np.abs(ours.numpy().astype(int) - theirs.astype(int)).max() <= 1) and bool(
        (ours.numpy() != theirs).mean() < 0.002
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_is_a_factor(channels):
    images = pictures(6, channels)
    factors = Draws(seeds(6)).between(Lot.BRIGHTNESS, 0.6, 1.4).numpy()[:, None, None, None]
    assert close(augment_batch(images, Augment(brightness=0.4), seeds(6)), rounded(images.numpy() * factors))


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_is_a_factor_about_the_mean(channels):
    images = pictures(6, channels)
    x = images.numpy().astype(float)
    means = (x @ np.array(YIQ[0]) if channels == 3 else x[..., 0]).mean((1, 2))[:, None, None, None]
    factors = Draws(seeds(6)).between(Lot.CONTRAST, 0.5, 1.5).numpy()[:, None, None, None]
    assert close(augment_batch(images, Augment(contrast=0.5), seeds(6)), rounded((x - means) * factors + means))


def test_gamma_is_an_exponent():
    images = pictures(40, 1)
    exponents = np.exp(Draws(seeds(40)).between(Lot.GAMMA, -math.log(1.5), math.log(1.5)).numpy())
    assert 1 / 1.5 <= exponents.min() < 0.75
    assert 1.35 < exponents.max() <= 1.5
    expected = 255 * (images.numpy() / 255) ** exponents[:, None, None, None]
    assert close(augment_batch(images, Augment(gamma=0.5), seeds(40)), rounded(expected))


def test_tones_together_follow_the_formula():
    images, policy = pictures(6, 1), Augment(brightness=0.3, contrast=0.4, gamma=0.5)
    draws = Draws(seeds(6))
    b, c, g = (
        one.numpy()[:, None, None, None]
        for one in (
            draws.between(Lot.BRIGHTNESS, 0.7, 1.3),
            draws.between(Lot.CONTRAST, 0.6, 1.4),
            draws.between(Lot.GAMMA, -math.log(1.5), math.log(1.5)).exp(),
        )
    )
    x = images.numpy() / 255
    curve, pivot = x**g, x.mean((1, 2, 3), keepdims=True) ** g
    assert close(augment_batch(images, policy, seeds(6)), rounded(255 * b * (c * (curve - pivot) + pivot)))


def test_means_are_exact():
    x = pictures(2, 3, 40).permute(0, 3, 1, 2)
    assert torch.equal(mean_colours(x), x.double().mean((2, 3)))


def test_saturation_is_a_factor_about_the_grey():
    images = pictures(6, 3)
    x = images.numpy().astype(float)
    grey = (x @ np.array(YIQ[0]))[..., None]
    factors = Draws(seeds(6)).between(Lot.SATURATION, 0.2, 1.8).numpy()[:, None, None, None]
    assert close(augment_batch(images, Augment(saturation=0.8), seeds(6)), rounded((x - grey) * factors + grey))


def test_hue_keeps_greys_and_brightness_and_turns_the_circle():
    turns = torch.tensor([0.0, 1 / 3, -1 / 3, 1.0], dtype=torch.float64) * (2 * math.pi)
    matrix = colour_matrix(torch.ones(4, dtype=torch.float64), turns)
    assert torch.allclose(matrix.sum(2), torch.ones(4, 3, dtype=torch.float64), atol=1e-5)  # greys stay
    luma = torch.tensor(YIQ[0], dtype=torch.float64)
    assert torch.allclose(luma @ matrix, luma.expand(4, 3))
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(matrix[[0, 3]], eye.expand(2, 3, 3))
    assert torch.allclose(matrix[1] @ matrix[2], eye)
    start = colorsys.rgb_to_hsv(0.6, 0.4, 0.4)[0]
    for one in (1, 2):  # a third of the circle, one way and the other, as HSV names it
        red, green, blue = (matrix[one] @ torch.tensor([0.6, 0.4, 0.4], dtype=torch.float64)).tolist()
        turned = (colorsys.rgb_to_hsv(red, green, blue)[0] - start) % 1
        assert min(abs(turned - 1 / 3), abs(turned - 2 / 3)) < 0.08


def test_hue_and_saturation_reach_the_picture_as_their_matrix():
    images, policy = pictures(5, 3), Augment(hue=0.2, saturation=0.5)
    draws = Draws(seeds(5))
    turn = draws.between(Lot.HUE, -0.2, 0.2) * (2 * math.pi)
    matrix = colour_matrix(draws.between(Lot.SATURATION, 0.5, 1.5), turn).numpy()
    expected = np.einsum("bhwc,bdc->bhwd", images.numpy().astype(float), matrix)
    assert close(augment_batch(images, policy, seeds(5)), rounded(expected))


def test_pca_colour_is_alexnet_s_sum():
    axes, values = np.array(PCA_AXES), np.array(PCA_VALUES)
    assert np.allclose(axes.T @ axes, np.eye(3), atol=2e-3)
    alphas = np.array([[0.1, -0.2, 0.05], [0, 0, 0]])
    expected = np.stack([axes @ (alpha * values) for alpha in alphas])  # [p1 p2 p3] [α1λ1 α2λ2 α3λ3]ᵀ
    assert np.allclose(pca_shift(torch.from_numpy(alphas)).numpy(), expected)
    images = pictures(30, 3)
    drawn = normal(hashes(Draws(seeds(30)).keys(Lot.PCA_COLOUR), 3)).double() * 0.5
    moved = rounded(images.numpy() + 255 * pca_shift(drawn).numpy()[:, None, None])
    assert close(augment_batch(images, Augment(pca_colour=0.5), seeds(30)), moved)


@pytest.mark.parametrize("sides", [(20, 31), (3, 2), (1, 9)])
def test_blur_is_scipy_s_gaussian(sides):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (4, *sides, 3), np.uint8))
    sigmas = Draws(seeds(4)).between(Lot.BLUR, 0, 2)
    out = augment_batch(images, Augment(blur=2), seeds(4))
    for image, sigma, blurred in zip(images.numpy(), sigmas.tolist(), out, strict=True):
        expected = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="reflect", radius=(6, 6, 0))
        assert close(blurred, rounded(expected))


def test_no_sigma_is_no_blur():
    x = torch.rand(1, 1, 5, 5)
    assert torch.equal(weighted(x, 2, blur_weights(torch.zeros(1, dtype=torch.float64), 3).float()), x)


def test_noise_has_its_deviation_and_differs_from_image_to_image():
    images = torch.full((16, 32, 32, 3), 128, dtype=torch.uint8)
    noise = augment_batch(images, Augment(noise=0.05), seeds(16)).double() - 128
    assert noise.std().item() == pytest.approx(0.05 * 255, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.3)
    off = np.corrcoef(noise.flatten(1).numpy()) - np.eye(16)
    assert np.abs(off).max() < 0.09  # 5 standard deviations of 1/√3072
    across = np.corrcoef(noise.flatten(0, 2).numpy().T) - np.eye(3)
    assert np.abs(across).max() < 0.04


def test_cutout_covers_its_square_with_the_mean():
    images = pictures(200, 3, 20)
    out = augment_batch(images, Augment(cutout=0.3), seeds(200))
    kept = (out == images).all(3).numpy()
    full = 0
    for image, after, same in zip(images, out, kept, strict=True):
        rows, columns = np.nonzero(~same)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert max(height, width) <= 6
        mean = image.double().mean((0, 1)).round()
        box = after[rows.min() : rows.min() + height, columns.min() : columns.min() + width]
        assert (box == mean).all()
        full += height == width == 6
    expected = (15 / 20) ** 2  # middles whose square lies inside
    assert full / 200 == pytest.approx(expected, abs=0.12)
