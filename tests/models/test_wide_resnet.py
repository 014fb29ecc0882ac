"""Wide ResNets for CIFAR: how the depth is counted, and pre-activation against a pass written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.catalog import create_model
from foveal.models.network import parameter_count
from foveal.models.wide_resnet import WideBlock, wide_resnet


@pytest.mark.parametrize(("depth", "widen"), [(16, 8), (40, 4), (28, 10)])
def test_the_depth_counts_the_three_shortcuts_and_no_dense_layer(depth, widen):
    with torch.device("meta"):
        network = create_model(f"wrn_{depth}_{widen}")
    sides = [one.kernel_size[0] for one in network.modules() if isinstance(one, nn.Conv2d)]
    assert len(sides) == depth and sides.count(1) == 3
    assert network.get_submodule("fc").in_features == 64 * widen


def test_a_hundred_classes():
    with torch.device("meta"):
        assert parameter_count(create_model("wrn_28_10", classes=100)) == 36_536_884


@pytest.mark.parametrize(("inputs", "width", "stride"), [(4, 8, 2), (4, 8, 1), (4, 4, 1)])
def test_a_block_is_norm_relu_convolution_twice(inputs, width, stride):
    torch.manual_seed(0)
    block = WideBlock(inputs, width, stride, dropout=0.0).eval().double()
    for norm in (block.bn1, block.bn2):
        nn.init.normal_(norm.weight), nn.init.normal_(norm.bias), nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(2, inputs, 6, 6, dtype=torch.float64)

    def activated(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        return ((x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).clamp(min=0)

    with torch.no_grad():
        first = activated(x, block.bn1)
        hidden = nn.functional.conv2d(first, block.conv1.weight, stride=stride, padding=1)
        branch = nn.functional.conv2d(activated(hidden, block.bn2), block.conv2.weight, padding=1)
        # a shortcut that changes the shape sees the activated input; the identity sees the input itself
        shortcut = x if inputs == width else nn.functional.conv2d(first, block.shortcut.weight, stride=stride)
        untouched = x.clone()
        assert torch.allclose(block(x), branch + shortcut, rtol=1e-12, atol=1e-12)
        assert torch.equal(x, untouched)


def test_dropout_stands_between_the_convolutions_and_only_where_asked():
    torch.manual_seed(0)
    with_it = create_model("wrn_16_8", options={"dropout": "0.3"})
    assert [one.p for one in with_it.modules() if isinstance(one, nn.Dropout)] == [0.3] * 6
    assert not any(isinstance(one, nn.Dropout) for one in create_model("wrn_16_8").modules())
    block = WideBlock(4, 4, 1, dropout=0.5)
    nn.init.zeros_(block.bn2.weight), nn.init.ones_(block.bn2.bias)  # the second convolution would see ones
    seen = []
    block.conv2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(torch.randn(2, 4, 9, 9))
    assert set(seen[0].unique().tolist()) == {0, 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 20}, r"6n \+ 4 layers .* not 20"),
        ({"depth": 4}, "not 4"),
        ({"widen": 0}, "not 0"),
        ({"dropout": 1.0}, "no probability"),
    ],
)
def test_what_cannot_be_made_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        wide_resnet(**options)
