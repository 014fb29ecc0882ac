"""The quick layers against torch's own: outputs and gradients, every layout, and that the quick path is taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.models.blocks import quick


def both(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = ours(mine), theirs(other)
    torch.testing.assert_close(y, expected, atol=3e-7, rtol=1e-6)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=3e-7, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), expected.detach(), atol=3e-7, rtol=1e-6)


LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 6, 28, 28), (3, 16, 10, 10), (1, 1, 2, 2), (2, 3, 7, 6), (4, 1, 8, 8)])
def test_average_pooling(shape, layout):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=LAYOUTS[layout])
    both(quick.AvgPool2d(2), nn.AvgPool2d(2), x)


def test_other_windows_are_torchs():
    both(quick.AvgPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last))


def test_tanh_from_tiny_to_huge():
    magnitudes = torch.logspace(-30, 30, 500)
    x = torch.cat([magnitudes, -magnitudes, torch.zeros(1), torch.tensor([float("inf"), -float("inf")])])
    assert (quick.tanh(x).double() - x.double().tanh()).abs().max() <= 1.2e-7
    both(quick.Tanh(), nn.Tanh(), torch.randn(5, 7))
    assert quick.tanh(torch.tensor(float("nan"))).isnan()
    assert torch.equal(quick.tanh(x.double()), x.double().tanh())


def test_the_gradient_is_right():
    x = torch.randn(2, 2, 4, 4, dtype=torch.float32).to(memory_format=torch.channels_last).requires_grad_()
    with pytest.warns(UserWarning, match="double precision"):
        assert torch.autograd.gradcheck(lambda v: quick.AvgPool2d(2)(quick.tanh(v)), (x,), eps=1e-2, atol=1e-2)


def test_it_is_the_quick_path_that_training_takes(monkeypatch):
    def refuse(*_):
        raise AssertionError("torch's own was called")

    monkeypatch.setattr(nn.functional, "avg_pool2d", refuse)
    monkeypatch.setattr(torch, "tanh", refuse)
    x = torch.randn(2, 6, 28, 28).to(memory_format=torch.channels_last).requires_grad_()
    assert quick.AvgPool2d(2)(quick.Tanh()(x)).shape == (2, 6, 14, 14)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_zeroes_its_share_and_keeps_the_mean(p, layout):
    torch.manual_seed(0)
    x = torch.randn(20, 50, 20, 20).to(memory_format=LAYOUTS[layout]).requires_grad_()
    y = quick.Dropout(p)(x)
    dropped = y == 0
    assert y.stride() == x.stride()
    assert float(dropped.float().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / x.numel()) ** 0.5)
    torch.testing.assert_close(y[~dropped], (x / (1 - p))[~dropped], rtol=1e-4, atol=0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (~dropped) / (1 - p), rtol=1e-4, atol=0)
    neighbours = torch.corrcoef(torch.stack([dropped.flatten()[:-1], dropped.flatten()[1:]]).float())
    assert abs(float(neighbours[0, 1])) < 0.01


def test_dropout_is_drawn_anew_by_the_seed_and_does_nothing_outside_training():
    layer, x = quick.Dropout(0.5), torch.ones(3, 7)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("p", [0.0, 1e-7, 1 - 1e-7, 1.0])
def test_dropout_at_the_ends(p):
    torch.manual_seed(0)
    expected = torch.ones(4, 1_000) if p < 0.5 else torch.zeros(4, 1_000)
    torch.testing.assert_close(quick.Dropout(p)(torch.ones(4, 1_000)), expected)


def test_dropout_of_no_values():
    assert quick.Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)
