"""Pooling in NumPy against torch and the networks' own layers; gradients against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.pooling import FractionalMaxPool2d, MinPool2d, StochasticPool2d
from foveal.ops import (
    average_pool2d,
    average_pool2d_backward,
    fractional_max_pool2d,
    global_average_pool,
    global_max_pool,
    max_pool2d,
    max_pool2d_backward,
    min_pool2d,
    stochastic_pool2d,
    trace_pool2d,
)


@st.composite
def cases(draw):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    size = [side + draw(st.integers(0, 6)) for side in kernel]
    x = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=(2, *size))
    return x, kernel, {"stride": stride, "padding": padding}


@settings(max_examples=60, deadline=None)
@given(cases())
def test_it_computes_what_torch_does_and_so_does_its_backward_pass(case):
    x, kernel, options = case
    image = torch.tensor(x[None], requires_grad=True)
    for ours, back, theirs in (
        (max_pool2d, max_pool2d_backward, nn.functional.max_pool2d),
        (average_pool2d, average_pool2d_backward, nn.functional.avg_pool2d),
    ):
        image.grad = None
        expected = theirs(image, kernel, **options)
        out = ours(x, kernel, **options)
        assert out == pytest.approx(expected[0].detach().numpy(), abs=1e-12)
        gradient = np.random.default_rng(0).normal(size=out.shape)
        expected.backward(torch.tensor(gradient[None]))
        assert back(gradient, x, kernel, **options) == pytest.approx(image.grad[0].numpy(), abs=1e-12)
    smallest = MinPool2d(kernel, **options)(image.detach())[0].numpy()
    assert min_pool2d(x, kernel, **options) == pytest.approx(smallest)


def test_the_worked_examples():
    assert max_pool2d([[1, 3], [2, 4]], 2).tolist() == [[4]]
    assert average_pool2d([[1, 3], [2, 4]], 2).tolist() == [[2.5]]
    assert (max_pool2d([[2, 5], [1, 8]], 2).item(), min_pool2d([[2, 5], [1, 8]], 2).item()) == (8, 1)
    assert max_pool2d(np.arange(25).reshape(5, 5), 3, stride=2).tolist() == [[12, 14], [22, 24]]  # overlapping


def test_of_equal_values_the_first_gets_the_gradient_and_an_average_spreads_it():
    x = [[5, 5], [1, 5]]
    assert max_pool2d_backward([[1.0]], x, 2).tolist() == [[1, 0], [0, 0]]
    assert average_pool2d_backward([[1.0]], x, 2).tolist() == [[0.25, 0.25], [0.25, 0.25]]


def test_global_pools():
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    assert global_average_pool(x) == pytest.approx(nn.AdaptiveAvgPool2d(1)(torch.tensor(x)).flatten().numpy())
    assert global_max_pool(x) == pytest.approx(x.reshape(3, -1).max(axis=1))


def test_stochastic_pooling_draws_by_share_and_predicts_the_mean():
    x = np.random.default_rng(0).normal(size=(2, 6, 6))
    layer = StochasticPool2d(2).eval()
    assert stochastic_pool2d(x, 2) == pytest.approx(layer(torch.tensor(x[None]))[0].numpy(), abs=1e-6)
    window = np.array([[1.0, 2.0], [-4.0, 5.0]])
    rng = np.random.default_rng(1)
    drawn = [stochastic_pool2d(window, 2, rng=rng).item() for _ in range(4_000)]
    shares = [np.mean(np.array(drawn) == value) for value in (1, 2, 5)]
    assert shares == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)
    assert np.mean(drawn) == pytest.approx(stochastic_pool2d(window, 2).item(), abs=0.1)
    assert stochastic_pool2d(-np.ones((2, 2)), 2, rng=rng).item() == stochastic_pool2d(-np.ones((2, 2)), 2).item() == 0


@pytest.mark.parametrize(("side", "outputs"), [(9, 6), (10, 7), (25, 16), (5, 2)])
def test_fractional_pooling_is_torchs_for_the_same_draws(side, outputs):
    x = torch.randn(1, 2, side, side, dtype=torch.float64)
    samples = torch.tensor([[[0.3, 0.8], [0.3, 0.8]]], dtype=torch.float64)  # width, height
    expected = nn.functional.fractional_max_pool2d(x, 2, outputs, _random_samples=samples)[0].numpy()
    assert fractional_max_pool2d(x[0].numpy(), outputs, samples=(0.8, 0.3)) == pytest.approx(expected)
    layer = FractionalMaxPool2d(1.5).eval()
    assert fractional_max_pool2d(x[0].numpy(), layer.output_size(side)) == pytest.approx(layer(x)[0].numpy())


def test_every_step_is_the_value_and_says_how():
    traced = trace_pool2d([[1, 3, 0], [2, 4, 0]], "max", (2, 2), stride=1)
    assert str(traced) == "(0, 0, 0)  max(1, 3, 2, 4) = 4\n(0, 0, 1)  max(3, 0, 4, 0) = 4"
    mean = trace_pool2d([[1, 3], [2, 4]], "average", 2)
    assert str(mean) == "(0, 0, 0)  average(1, 3, 2, 4) = 2.5"


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="more than half a window"):
        max_pool2d(np.zeros((4, 4)), 2, padding=2)
    with pytest.raises(UsageError, match="does not fit into 2×2"):
        max_pool2d(np.zeros((2, 2)), 3)
    with pytest.raises(UsageError, match='There is no pooling "mean"'):
        trace_pool2d(np.zeros((2, 2)), "mean", 2)
    with pytest.raises(UsageError, match="cannot become 4 windows"):
        fractional_max_pool2d(np.zeros((4, 4)), 4)
