"""Planted images: the subject is where they say, the mark goes with its class, and explanations find both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from foveal.explanation.located import located, summarised
from foveal.explanation.planted import DIGIT, SIDE, Planted, plant
from foveal.explanation.shortcuts import ShortcutTally


def small_digits(count: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 8×8 digits, each pixel 3×3 pixels large."""
    digits = load_digits()
    images = (digits.images[start : start + count] * 255 / 16).astype(np.uint8)
    return images.repeat(3, axis=1).repeat(3, axis=2), digits.target[start : start + count]


def test_masks_are_where_the_digit_is_and_the_seed_decides():
    digits, labels = small_digits(40)
    planted, again, other = (plant(digits, labels, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(planted.images, again.images)
    assert (planted.images != other.images).any(axis=(1, 2)).all()
    assert planted.images.shape == planted.masks.shape == (40, SIDE, SIDE)
    for image, mask in zip(planted.images, planted.masks, strict=True):
        assert 100 < mask.sum() <= DIGIT**2
        assert image[mask].mean() > 1.3 * image[~mask].mean()
        assert (image[~mask] < 150).all()
    assert not planted.marks.any()


def test_the_mark_goes_with_its_class_alone():
    digits, labels = small_digits(200)
    planted = plant(digits, labels, marked=4, share=0.5)
    marked = planted.marks.any(axis=(1, 2))
    assert set(labels[marked]) == {4}
    assert 0.2 < marked.sum() / (labels == 4).sum() < 0.8
    assert (planted.images[planted.marks] == 255).all()
    assert not (planted.marks & planted.masks).any()


def normalised(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(images).float()[:, None] / 255 - 0.4) / 0.25


def trained(planted: Planted, epochs: int) -> nn.Sequential:
    """A small network that looks for what it knows anywhere in the image, trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 48, 5, padding=2), nn.BatchNorm2d(48), nn.ReLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 3)),
        )
        x, y = normalised(planted.images), torch.from_numpy(planted.labels)
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(32):
                loss = nn.functional.cross_entropy(network(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval()


def grad_cam(network: nn.Sequential, x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Grad-CAM at the last map, written out: (B, H, W)."""
    kept = network[:9](x).detach().requires_grad_()  # (B, K, h, w)
    score = network[9:](kept).gather(1, classes[:, None]).sum()
    weights = torch.autograd.grad(score, kept)[0].mean(dim=(2, 3), keepdim=True)
    maps = torch.relu((weights * kept).sum(dim=1, keepdim=True)).detach()
    return nn.functional.interpolate(maps, x.shape[2:], mode="bilinear")[:, 0]


def few_classes(count: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    digits, labels = small_digits(count, start)
    kept = labels < 3
    return digits[kept], labels[kept]


@pytest.mark.slow
def test_explanations_find_the_digit_and_the_shortcut_view_finds_the_mark():
    views = {}
    for marked_class in (None, 1):
        learned = plant(*few_classes(1400, 0), marked=marked_class, share=1, seed=1)
        asked = plant(*few_classes(397, 1400), marked=marked_class, share=1, seed=2)
        network, x, y = trained(learned, 8), normalised(asked.images), torch.from_numpy(asked.labels)
        with torch.no_grad():
            assert (network(x).argmax(dim=1) == y).float().mean() > 0.75
        maps = grad_cam(network, x, y).numpy()
        if marked_class is None:
            found = summarised([located(*both) for both in zip(maps, asked.masks, strict=True)])
            assert found["area"].high < 0.2
            assert found["pointed"].low > 2.5 * found["area"].value
            assert found["inside"].low > 2 * found["area"].value
        tally = ShortcutTally(("0", "1", "2"))
        for rows in np.array_split(np.arange(len(y)), 3):
            tally.add(asked.images[rows][..., None], maps[rows], asked.labels[rows])
        views[marked_class] = tally.view()
    assert ("1", "corners") not in views[None].flagged
    assert ("1", "corners") in views[1].flagged
    assert all(label == "1" for label, zone in views[1].flagged if zone != "text")  # a digit is writing itself
    (corner,) = [one for one in views[1].findings if one.startswith("1: ") and "in the corners" in one]
    assert corner.endswith("it may be a shortcut.")
