"""Deletion and insertion against a slow loop, and maps whose right order is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal.explanation.ask import ask_torch
from foveal.explanation.deletion import BLOCKS, STEPS, areas, curves
from foveal.explanation.target import Target


class Linear(nn.Module):
    """Its score for class 0 is a weighted sum of pixels; class 1 has none."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))

    def forward(self, x):
        return torch.stack([(x[:, 0] * self.weights).sum(dim=(1, 2)), torch.zeros(len(x))], dim=1)


@pytest.fixture
def scene():
    chance = np.random.default_rng(0)
    blocks = chance.normal(size=(BLOCKS, BLOCKS))
    weights = blocks.repeat(2, axis=0).repeat(2, axis=1) / 40  # one value a block of 2×2 pixels
    x = torch.tensor(chance.uniform(0.5, 1.5, size=(2, 1, 28, 28)), dtype=torch.float32)
    return Linear(weights), x, (weights * x[:, 0].numpy()).astype(np.float32)


def test_deletion_by_a_slow_loop(scene):
    network, x, contributions = scene
    (found, _) = curves(ask_torch(network), x, Target(torch.tensor([0, 0])), contributions)
    blocks = contributions[0].reshape(BLOCKS, 2, BLOCKS, 2).mean(axis=(1, 3))
    order = np.argsort(-blocks.ravel(), kind="stable")
    image, wanted = x[0].clone(), []
    for step in range(STEPS + 1):
        count = round(step * len(order) / STEPS)
        left = image.clone()
        for block in order[:count]:
            row, column = divmod(int(block), BLOCKS)
            left[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 0
        wanted.append(torch.softmax(network(left[None]), dim=1)[0, 0].item())
    np.testing.assert_allclose(found.deletion, wanted, atol=1e-6)
    assert areas(found.deletion) == pytest.approx(np.mean((np.array(wanted)[1:] + np.array(wanted)[:-1]) / 2), abs=1e-6)
    assert found.insertion[-1] == pytest.approx(wanted[0], abs=1e-6)  # all of the image has come
    assert found.deletion[-1] == pytest.approx(0.5, abs=1e-6)  # all of it has gone


def test_the_right_map_beats_itself_elsewhere_and_its_reverse_loses(scene):
    network, x, contributions = scene
    target = Target(torch.tensor([0, 0]))
    for right, wrong in zip(
        curves(ask_torch(network), x, target, contributions),
        curves(ask_torch(network), x, target, -contributions),
        strict=True,
    ):
        assert areas(right.deletion) < areas(right.moved_deletion).min()
        assert areas(right.moved_deletion).max() < areas(wrong.deletion)
        assert areas(right.insertion) > areas(wrong.insertion)


def test_equal_values_go_by_chance_and_the_seed_decides(scene):
    network, x, _ = scene
    flat, target = np.zeros((2, 28, 28), np.float32), Target(torch.tensor([0, 0]))
    first, again, other = (curves(ask_torch(network), x, target, flat, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.deletion, again.deletion)
    assert not np.array_equal(first.deletion, other.deletion)


def test_images_smaller_than_the_blocks():
    network = Linear(np.ones((5, 7)))
    (found,) = curves(ask_torch(network), torch.ones(1, 1, 5, 7), Target(torch.tensor([0])), np.ones((1, 5, 7)))
    assert np.all(np.diff(found.deletion) <= 1e-7)
