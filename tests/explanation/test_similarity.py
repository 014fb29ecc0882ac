"""The linear CKA between stages, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explained import same_state, state_of
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.explanation.similarity import similarity

SIZE = (1, 6, 6)


class Staged(nn.Module):
    """A network of four stages: the second is the first turned and scaled, the last is the same for all images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
        self.turn = nn.Linear(5, 5)
        turned, _ = torch.linalg.qr(torch.randn(5, 5))
        self.turn.weight = nn.Parameter(3 * turned)
        self.relu = nn.ReLU(inplace=True)
        self.dead = nn.Linear(5, 2)
        nn.init.zeros_(self.dead.weight)
        self.stages = {"one": "first", "turned": "turn", "bent": "relu", "dead": "dead"}

    def forward(self, x: Tensor) -> Tensor:
        return self.dead(self.relu(self.turn(self.first(x))))


def normalise(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 255


def unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC of Song et al., by its three terms as they are printed."""
    k, other = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(other, 0)
    n, one = len(k), np.ones(len(k))
    first = np.trace(k @ other)
    second = (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ other @ one)
    return (first + second - third) / (n * (n - 3))


def test_it_is_what_plain_numpy_says_and_turning_changes_nothing():
    network = Staged().train()
    state = state_of(network)
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 1), dtype=np.uint8)
    batches = [images[:20], images[20:47], images[47:]]  # the last has three: too few
    found = similarity(network, SIZE, batches, normalise=normalise)
    assert (found.stages, found.images, found.batches) == (("one", "turned", "bent", "dead"), 47, 2)
    sums = np.zeros((3, 3))
    for batch in batches[:2]:
        with torch.no_grad():
            one = network.first(normalise(torch.from_numpy(batch)))
            turned = network.turn(one)
        outputs = [one.double().numpy(), turned.double().numpy(), turned.relu().double().numpy()]
        sums += [[unbiased(a, b) for b in outputs] for a in outputs]
    expected = sums / np.sqrt(np.outer(np.diag(sums), np.diag(sums)))
    np.testing.assert_allclose(found.values[:3, :3], expected, atol=1e-4)
    assert found.values[0, 1] == pytest.approx(1, abs=1e-4)
    assert found.values[0, 2] < 0.99
    assert np.isnan(found.values[3]).all()
    assert same_state(state, state_of(network))
    assert found.picture().width >= 420


class Noise(nn.Module):
    """Answers with other numbers each time."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.rand(len(x), 36) + 0 * x.flatten(1)[:, :1]


def test_what_is_unrelated_is_near_zero_though_the_images_are_few():
    """Of 8 images with 36 features the plain CKA of noise would be near 0.8."""
    network = nn.Sequential(nn.Flatten(), Noise())
    network.stages = {"image": "0", "noise": "1"}
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (8, 6, 6, 1), dtype=np.uint8) for _ in range(200)]
    torch.manual_seed(0)
    values = similarity(network, SIZE, batches, normalise=normalise).values
    assert values[0, 0] == pytest.approx(1)
    assert abs(values[0, 1]) < 0.1


def test_too_few_images_are_refused():
    with pytest.raises(UsageError, match="at least 4 images"):
        similarity(Staged(), SIZE, [np.zeros((3, 6, 6, 1), np.uint8)], normalise=normalise)
