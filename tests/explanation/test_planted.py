"""Planted images: the subject is where they say, the mark goes with its class, and explanations find both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from foveal.errors import UsageError
from foveal.explanation.located import located
from foveal.explanation.planted import MARGIN, SIDE, Planted, plant_digits
from foveal.explanation.shortcuts import ShortcutTally


def small_digits(count: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 8×8 digits, each pixel 3×3 pixels large."""
    digits = load_digits()
    images = (digits.images[start : start + count] * 255 / 16).astype(np.uint8)
    return images.repeat(3, axis=1).repeat(3, axis=2), digits.target[start : start + count]


def test_masks_and_boxes_are_where_the_ink_is():
    digits, labels = small_digits(40)
    planted = plant_digits(digits, labels, seed=3)
    assert planted.images.shape == planted.masks.shape == (40, SIDE, SIDE)
    assert (planted.masks.sum(axis=(1, 2)) == (digits >= 64).sum(axis=(1, 2))).all()
    for image, mask, box, own in zip(planted.images, planted.masks, planted.boxes, planted.box_masks, strict=True):
        top, left, bottom, right = box
        assert min(top, left) >= MARGIN
        assert max(bottom, right) <= SIDE - MARGIN
        assert own.sum() == (bottom - top) * (right - left)
        assert (own & mask).sum() == mask.sum()
        assert image[mask].mean() > 1.3 * image[~mask].mean()
    assert len({tuple(box) for box in planted.boxes}) > 30
    assert not planted.marked.any()


def test_it_repeats_to_the_bit_and_the_seed_decides():
    digits, labels = small_digits(10)
    first, again, other = (plant_digits(digits, labels, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any(axis=(1, 2)).all()


def test_the_mark_goes_with_its_class_alone():
    digits, labels = small_digits(200)
    planted = plant_digits(digits, labels, marked_class=4, marked_share=0.5)
    assert set(labels[planted.marked]) == {4}
    assert planted.marked.sum() == round(0.5 * (labels == 4).sum())
    corners = planted.images[:, planted.mark]
    assert (corners[planted.marked] == 255).all()
    assert not (corners[~planted.marked] == 255).all(axis=1).any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda digits: (digits.astype(float), {}), "uint8"),
        (lambda digits: (digits * 0, {}), "one of them has no pixel"),
        (lambda digits: (digits, {"side": 30}), "need images of 40 pixels"),
        (lambda digits: (digits, {"marked_share": 1.5}), "between 0 and 1"),
    ],
)
def test_what_is_refused(change, says):
    digits, labels = small_digits(3)
    digits, options = change(digits)
    with pytest.raises(UsageError, match=says):
        plant_digits(digits, labels, **options)


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
        learned = plant_digits(*few_classes(1400, 0), marked_class=marked_class, seed=1)
        asked = plant_digits(*few_classes(397, 1400), marked_class=marked_class, seed=2)
        network, x, y = trained(learned, 8), normalised(asked.images), torch.from_numpy(asked.labels)
        with torch.no_grad():
            assert (network(x).argmax(dim=1) == y).float().mean() > 0.75
        maps = grad_cam(network, x, y).numpy()
        if marked_class is None:
            found = located(maps, asked.box_masks)
            assert found.area < 0.15
            assert found.pointing.low > 4 * found.area
            assert found.energy.low > 2 * found.area
        tally = ShortcutTally(("0", "1", "2"))
        for rows in np.array_split(np.arange(len(y)), 3):
            tally.add(asked.images[rows][..., None], maps[rows], asked.labels[rows])
        views[marked_class] = tally.view()
    assert ("1", "corners") not in views[None].flagged
    assert ("1", "corners") in views[1].flagged
    assert all(label == "1" for label, zone in views[1].flagged if zone != "text")  # a digit is writing itself
    (corner,) = [one for one in views[1].findings if one.startswith("1: ") and "in the corners" in one]
    assert corner.endswith("it may be a shortcut.")
