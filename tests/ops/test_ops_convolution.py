"""Convolution in NumPy against torch, for every padding, stride, dilation and group; its gradients against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.padding import PADDINGS, padded_conv
from foveal.ops import conv2d, conv2d_backward, output_size, trace_conv2d

PREWITT = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]])


@st.composite
def cases(draw):
    groups = draw(st.integers(1, 3))
    channels, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    size = [d * (k - 1) + 1 + draw(st.integers(0, 6)) for k, d in zip(kernel, dilation, strict=True)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(channels, *size))
    weight = rng.normal(size=(outputs, channels // groups, *kernel))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, weight, rng.normal(size=outputs), options


@settings(max_examples=60, deadline=None)
@given(cases())
def test_it_computes_what_torch_does_and_so_does_its_backward_pass(case):
    x, weight, bias, options = case
    inputs = [torch.tensor(one, requires_grad=True) for one in (x[None], weight, bias)]
    expected = nn.functional.conv2d(*inputs, **options)
    out = conv2d(x, weight, bias, **options)
    assert out == pytest.approx(expected[0].detach().numpy(), abs=1e-12)
    gradient = np.random.default_rng(0).normal(size=out.shape)
    expected.backward(torch.tensor(gradient[None]))
    found = conv2d_backward(gradient, x, weight, **options)
    assert found.x == pytest.approx(inputs[0].grad[0].numpy(), abs=1e-12)
    assert found.weight == pytest.approx(inputs[1].grad.numpy(), abs=1e-12)
    assert found.bias == pytest.approx(inputs[2].grad.numpy(), abs=1e-12)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 2, 2), (2, 1, 1)])
def test_the_words_of_padding_are_those_of_the_networks(padding, kernel, stride, dilation):
    if padding == "same" and stride > 1:
        return  # there the networks pad alike on both sides: for an odd kernel the same, and asked below
    torch.manual_seed(0)
    layer = padded_conv(2, 3, kernel, padding=padding, stride=stride, dilation=dilation).double()
    x = torch.randn(2, 11, 12, dtype=torch.float64)
    expected = layer(x[None])[0].detach().numpy()
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    out = conv2d(x.numpy(), weight, bias, stride=stride, padding=padding, dilation=dilation)
    assert out == pytest.approx(expected, abs=1e-12)
    sides = [output_size(side, kernel, padding=padding, stride=stride, dilation=dilation) for side in (11, 12)]
    assert list(out.shape[1:]) == sides


def test_same_at_stride_2_pads_an_odd_kernel_alike_on_both_sides():
    x, weight = np.random.default_rng(1).normal(size=(1, 9, 9)), np.random.default_rng(2).normal(size=(1, 1, 5, 5))
    same = conv2d(x, weight, padding="same", stride=2)
    assert same == pytest.approx(conv2d(x, weight, padding=2, stride=2))


def test_networks_lay_the_kernel_as_it_is_and_mathematics_turns_it():
    step = np.array([[0, 0, 9, 9, 9]] * 5)
    assert conv2d(step, PREWITT).tolist() == [[-27, -27, 0]] * 3
    assert conv2d(step, PREWITT, flip=True).tolist() == [[27, 27, 0]] * 3
    from scipy.signal import convolve2d, correlate2d

    image = np.random.default_rng(0).integers(0, 5, (5, 5)).astype(float)
    kernel = np.random.default_rng(1).integers(-2, 3, (3, 3)).astype(float)
    for padding in ("valid", "same", "full"):
        assert conv2d(image, kernel, padding=padding) == pytest.approx(correlate2d(image, kernel, mode=padding))
        assert conv2d(image, kernel, padding=padding, flip=True) == pytest.approx(
            convolve2d(image, kernel, mode=padding)
        )


def test_the_gradient_by_the_image_is_a_full_convolution_with_the_kernel_turned():
    rng = np.random.default_rng(3)
    x, kernel, gradient = rng.normal(size=(6, 6)), rng.normal(size=(3, 3)), rng.normal(size=(4, 4))
    found = conv2d_backward(gradient, x, kernel)
    assert found.x == pytest.approx(conv2d(gradient, kernel, padding="full", flip=True))
    assert found.weight == pytest.approx(conv2d(x, gradient))
    turned = conv2d_backward(gradient, x, kernel, flip=True)
    assert turned.x == pytest.approx(conv2d(gradient, kernel, padding="full"))
    assert turned.weight == pytest.approx(conv2d(x, gradient)[::-1, ::-1])


def test_every_step_is_the_value_and_says_how():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.integers(-3, 4, (2, 4, 4)), rng.integers(-2, 3, (4, 1, 3, 3)), np.array([0, 1, 2, -3])
    traced = trace_conv2d(x, weight, bias, padding="same", groups=2)
    assert traced.value.shape == (4, 4, 4)
    assert len(traced.steps) == 64
    for step in traced.steps:
        assert step.value == traced.value[step.at] == (step.window * step.kernel).sum() + step.bias
    small = trace_conv2d([[1, 2], [3, 4]], [[1, -1]])
    assert str(small) == "(0, 0, 0)  1·1 + 2·(−1) = −1\n(0, 1, 0)  3·1 + 4·(−1) = −1"


@pytest.mark.parametrize(
    ("x", "weight", "options", "told"),
    [
        (np.zeros((2, 4, 4)), np.zeros((1, 3, 3, 3)), {}, "does not go with 2 channels"),
        (np.zeros((2, 2, 4, 4)), np.zeros((1, 2, 3, 3)), {}, r"not an array of \(2, 2, 4, 4\)"),
        (np.zeros((4, 4)), np.zeros((5, 5)), {}, "does not fit into 4×4 pixels"),
        (np.zeros((4, 4)), np.zeros((3, 3)), {"padding": "sane"}, 'Did you mean "same"'),
        (np.zeros((4, 4)), np.zeros((3, 3)), {"stride": 0}, "stride is a whole number from 1"),
        (np.zeros((4, 4)), np.zeros((3, 3)), {"bias": np.zeros(2)}, "2 biases"),
        (np.zeros((2, 4, 4)), np.zeros((3, 1, 3, 3)), {"groups": 2}, "cannot be shared among 2 groups"),
    ],
)
def test_what_does_not_go_together_is_refused(x, weight, options, told):
    with pytest.raises(UsageError, match=told):
        conv2d(x, weight, **options)


def test_the_worked_example_of_five_by_five():
    """The textbook's result, of which only the numbers are known, by an image of ours: cross-correlation it is."""
    image = np.array([[0, 1, 0, 0, 3], [3, 2, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 3, 0], [0, 0, 2, 0, 4]])
    prewitt = np.array([[1, 0, -1]] * 3)
    assert conv2d(image, prewitt).tolist() == [[3, 3, -3], [2, -1, 1], [-3, -3, -1]]
    assert conv2d(image, prewitt, flip=True).tolist() == [[-3, -3, 3], [-2, 1, -1], [3, 3, 1]]
