"""Padding, against a convolution written in NumPy, PyTorch's own words, and TensorFlow's rule by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.padding import PADDINGS, MaxPool2dSame, output_size, padded_conv, reach, tensorflow_padding


def by_hand(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Return the pixels before and after a side, found by trying: the fewest with which ⌈size / stride⌉ windows fit."""
    reached = 1 + dilation * (kernel - 1)
    if padding == "valid":
        return 0, 0
    if padding == "full":
        return reached - 1, reached - 1
    if padding == "same" and stride > 1:
        return ((reached - 1) // 2,) * 2
    total = 0
    while len(range(0, size + total - reached + 1, stride)) < -(-size // stride):
        total += 1
    return total // 2, total - total // 2


def convolve(x: np.ndarray, weight: np.ndarray, pairs: list[tuple[int, int]], stride: int, dilation: int) -> np.ndarray:
    """Return the convolution of `x` (C, H, W), padded by `pairs`, with `weight` (O, C, k, k), window by window."""
    x = np.pad(x, [(0, 0), *pairs])
    reached = 1 + dilation * (weight.shape[-1] - 1)
    rows, columns = (range(0, side - reached + 1, stride) for side in x.shape[1:])
    windows = [[x[:, i : i + reached : dilation, j : j + reached : dilation] for j in columns] for i in rows]
    return np.einsum("hwckl,ockl->ohw", np.array(windows), weight)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 2, 1), (4, 1, 1), (2, 3, 1), (3, 2, 2)]
)
def test_a_convolution_is_numpys(padding, kernel, stride, dilation):
    torch.manual_seed(0)
    height, width = 9, 12
    conv = padded_conv(2, 3, kernel, padding=padding, stride=stride, dilation=dilation, bias=False).double()
    x = torch.randn(2, 2, height, width, dtype=torch.float64)
    pairs = [by_hand(size, kernel, stride, dilation, padding) for size in (height, width)]
    expected = [convolve(image.numpy(), conv.weight.detach().numpy(), pairs, stride, dilation) for image in x]
    given = conv(x).detach().numpy()
    assert np.abs(given - np.stack(expected)).max() < 1e-12
    sizes = [output_size(size, kernel, padding=padding, stride=stride, dilation=dilation) for size in (height, width)]
    assert list(given.shape[2:]) == sizes


def test_tensorflows_pairs():
    assert tensorflow_padding(224, 3, 2) == (0, 1)
    assert tensorflow_padding(112, 5, 2) == (1, 2)
    assert tensorflow_padding(15, 3, 2) == (1, 1)
    assert tensorflow_padding(7, 1, 2) == (0, 0)  # a kernel smaller than the stride: never negative
    for size in range(1, 12):
        for kernel, stride, dilation in ((1, 1, 1), (2, 1, 1), (3, 2, 1), (5, 2, 1), (3, 3, 2), (5, 4, 1)):
            assert tensorflow_padding(size, kernel, stride, dilation) == by_hand(size, kernel, stride, dilation, "tf")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_same_at_stride_1_is_torchs_word_and_tensorflows(kernel):
    ours, tensorflows = (padded_conv(1, 2, kernel, padding=one) for one in ("same", "tensorflow"))
    theirs = nn.Conv2d(1, 2, kernel, padding="same")
    ours.load_state_dict(theirs.state_dict())
    tensorflows.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 1, 8, 7)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert torch.allclose(tensorflows(x), theirs(x), atol=1e-6)


def test_torchs_own_convolution_wherever_it_pads_alike():
    assert type(padded_conv(1, 1, 5, padding="tensorflow")) is nn.Conv2d
    assert type(padded_conv(1, 1, 5, padding="same", stride=2)) is nn.Conv2d
    assert type(padded_conv(1, 1, 5, padding="tensorflow", stride=2)) is not nn.Conv2d


def test_max_pooling_with_same_never_takes_the_padding():
    x = -1 - torch.rand(2, 3, 8, 9)
    expected = nn.functional.max_pool2d(nn.functional.pad(x, (1, 1, 0, 1), value=-9.0), 3, 2)
    pooled = MaxPool2dSame(3, 2)(x)
    assert pooled.shape == (2, 3, 4, 5)
    assert torch.equal(pooled, expected)
    assert MaxPool2dSame(2)(x).shape == (2, 3, 4, 5)


def test_timms_layer_gives_the_same(timm):
    ours = padded_conv(4, 8, 5, padding="tensorflow", stride=2, groups=4)
    theirs = timm.layers.Conv2dSame(4, 8, 5, stride=2, groups=4)
    theirs.load_state_dict(ours.state_dict())
    for side in (13, 14):
        x = torch.randn(2, 4, side, side + 3)
        assert torch.equal(ours(x), theirs(x))


def test_an_unknown_padding_names_the_nearest():
    with pytest.raises(UsageError, match=r'choose valid, same, tensorflow, full\. Did you mean "same"'):
        padded_conv(1, 1, 3, padding="sames")
    assert reach(3, dilation=2) == 5


@pytest.mark.parametrize(
    "layer", [padded_conv(3, 4, 5, padding="tensorflow", stride=2), MaxPool2dSame(3, 2)], ids=["convolution", "pooling"]
)
def test_it_exports_with_any_batch(layer):
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(layer, (torch.randn(2, 3, 14, 14),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 3, 14, 14)
    assert torch.equal(program.module()(x), layer(x))
