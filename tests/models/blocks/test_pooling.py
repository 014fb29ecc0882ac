"""The rarer poolings, against NumPy and torch, and their draws against their probabilities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.pooling import (
    FractionalMaxPool2d,
    GlobalAvgPool,
    GlobalMaxPool,
    MinPool2d,
    StochasticPool2d,
    first_pixels,
)
from foveal.models.blocks.squeeze_excitation import SqueezeExcitation


def windows(x: torch.Tensor, kernel: int, stride: int) -> np.ndarray:
    """Return the windows of `x` (B, C, H, W) as (B, C, H', W', kernel²), one at a time."""
    images = x.detach().numpy()
    rows, columns = (range(0, side - kernel + 1, stride) for side in images.shape[2:])
    cut = [[images[:, :, i : i + kernel, j : j + kernel].reshape(*images.shape[:2], -1) for j in columns] for i in rows]
    return np.array(cut).transpose(2, 3, 0, 1, 4)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_the_minimum_of_each_window(kernel, stride):
    x = torch.randn(2, 3, 9, 8)
    assert np.array_equal(MinPool2d(kernel, stride)(x).numpy(), windows(x, kernel, stride).min(-1))


def test_global_poolings_are_flat():
    x = torch.randn(2, 3, 5, 4)
    assert np.array_equal(GlobalMaxPool()(x).numpy(), x.numpy().max((2, 3)))
    assert np.allclose(GlobalAvgPool()(x).numpy(), x.numpy().mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_stochastic_pooling_gives_the_weighted_mean_in_evaluation(kernel, stride):
    x = torch.randn(2, 3, 9, 8).sub_(0.7)  # some windows have nothing above zero
    a = np.maximum(windows(x, kernel, stride), 0)
    total = a.sum(-1, keepdims=True)
    p = np.divide(a, total, out=np.zeros_like(a), where=total > 0)
    assert (total == 0).any()
    pooled = StochasticPool2d(kernel, stride).eval()(x)
    assert np.allclose(pooled.numpy(), (p * a).sum(-1), atol=1e-6)
    assert torch.isfinite(StochasticPool2d(2).eval()(torch.full((1, 1, 2, 2), 300.0).half())).all()


def test_stochastic_pooling_draws_in_proportion_while_training():
    torch.manual_seed(0)
    pool = StochasticPool2d(2).train()
    one = torch.tensor([[1.0, 2.0], [5.0, -3.0]])
    x = one.repeat(1, 20_000, 1, 1).view(1, 20_000, 2, 2).requires_grad_()
    drawn = pool(x).flatten()
    share = [float((drawn == value).float().mean()) for value in (1, 2, 5, 0)]
    assert share == pytest.approx([1 / 8, 2 / 8, 5 / 8, 0], abs=0.012)  # 3.5 standard errors
    assert drawn.mean().item() == pytest.approx(pool.eval()(one[None, None]).item(), abs=0.05)
    drawn.sum().backward()
    gradients = x.grad.flatten(2)[0]
    assert torch.equal(gradients.sum(-1), torch.ones(20_000))  # to the drawn pixel alone
    assert torch.equal((gradients * x.detach().flatten(2)[0]).sum(-1), drawn.detach())


def test_a_window_without_activation_gives_zero():
    nothing = -torch.rand(1, 2, 4, 4)
    for pool in (StochasticPool2d(2).train(), StochasticPool2d(2).eval()):
        assert not pool(nothing).any()


@pytest.mark.parametrize("ratio", [1.25, 1.5])
def test_windows_of_fractional_pooling_are_1_or_2_apart_and_cover_the_side(ratio):
    for size in range(2, 300):
        outputs = FractionalMaxPool2d(ratio).output_size(size)
        firsts = first_pixels(size, outputs)
        assert len(firsts) == outputs
        assert firsts[-1] == size - 2
        assert outputs == 1 or firsts[0] == 0
        assert {after - before for before, after in pairwise(firsts)} <= {1, 2}


@pytest.mark.parametrize("ratio", [1.5, 2.0])
def test_fractional_pooling_is_torchs_with_the_draw_fixed_at_a_half(ratio):
    pool = FractionalMaxPool2d(ratio).eval()
    for height in range(2, 40):
        x = torch.randn(2, 3, height, height + 3)
        size = (int(height / ratio), int((height + 3) / ratio))
        half = torch.full((2, 3, 2), 0.5)
        expected = nn.functional.fractional_max_pool2d(x, 2, size, _random_samples=half)
        assert torch.equal(pool(x), expected)
        assert pool.train()(x).shape == expected.shape
        pool.eval()


def test_fractional_pooling_draws_while_training_and_not_in_evaluation():
    torch.manual_seed(0)
    pool, x = FractionalMaxPool2d().train(), torch.randn(1, 4, 25, 25)
    assert not torch.equal(pool(x), pool(x))
    pool.eval()
    assert torch.equal(pool(x), pool(x))
    with pytest.raises(UsageError, match="not by 3"):
        FractionalMaxPool2d(3)


def test_squeeze_excitation_is_torchvisions(torchvision):
    theirs = torchvision.ops.SqueezeExcitation(12, 3, scale_activation=nn.Hardsigmoid)
    ours = SqueezeExcitation(12, 3, gate=nn.Hardsigmoid)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 12, 5, 4)
    assert torch.equal(ours(x), theirs(x))
    z = x.numpy().mean((2, 3))
    weights = {key: one.numpy().squeeze() for key, one in ours.state_dict().items()}
    hidden = np.maximum(z @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    factor = np.clip((hidden @ weights["fc2.weight"].T + weights["fc2.bias"]) / 6 + 0.5, 0, 1)
    assert np.allclose(ours(x).detach().numpy(), x.numpy() * factor[..., None, None], atol=1e-6)


PARTS = {
    "minimum": MinPool2d(2),
    "stochastic": StochasticPool2d(2),
    "fractional": FractionalMaxPool2d(),
    "average": GlobalAvgPool(),
    "maximum": GlobalMaxPool(),
}


@pytest.mark.parametrize("name", PARTS)
def test_each_exports_with_any_batch(name):
    pool = PARTS[name].eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(pool, (torch.randn(2, 3, 11, 11),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 3, 11, 11)
    assert torch.equal(program.module()(x), pool(x))
