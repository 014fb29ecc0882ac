"""What is special to the MobileNets: rounding, linear bottlenecks, where the shortcuts are, the two tables."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.channels import rounded
from foveal.models.blocks.squeeze_excitation import SqueezeExcitation
from foveal.models.mobilenet_v2 import InvertedResidual, mobilenet_v2
from foveal.models.mobilenet_v3 import mobilenet_v3


def test_channels_are_rounded_to_8_but_never_below_nine_tenths():
    assert [rounded(one) for one in (1, 8, 11, 12, 16, 17, 18, 22.4, 33.6, 44, 88.00000001)] == [
        *(8, 8, 16, 16, 16, 16, 24, 24, 32, 48, 88)
    ]
    assert all(rounded(one) % 8 == 0 and rounded(one) >= 0.9 * one for one in range(1, 2_000))


def test_rounding_is_torchvisions(torchvision):
    theirs = torchvision.models._utils._make_divisible
    assert all(rounded(tenths / 10) == theirs(tenths / 10, 8) for tenths in range(1, 20_000))


def shortcuts(network: nn.Module) -> list[int]:
    """Return the indices in `features` of the blocks with a shortcut."""
    features = network.get_submodule("features")
    return [index for index, block in enumerate(features) if getattr(block, "shortcut", False)]


def test_v2_has_ten_shortcuts_between_equal_bottlenecks():
    with torch.device("meta"):
        network = mobilenet_v2()
    assert shortcuts(network) == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    ends = ["features.1", "features.3", "features.6", "features.10", "features.13", "features.16", "features.17"]
    assert [network.stages[f"bottleneck{number}"] for number in range(1, 8)] == ends


@pytest.mark.parametrize("variant", ["small", "large"])
def test_v3_has_its_tables_shortcuts_gates_and_non_linearities(variant):
    with torch.device("meta"):
        network = mobilenet_v3(variant=variant)
    features = network.get_submodule("features")
    blocks = list(features)[1:-1]
    gates = [
        number for number, one in enumerate(blocks, 1) if any(isinstance(m, SqueezeExcitation) for m in one.modules())
    ]
    swishes = [
        number for number, one in enumerate(blocks, 1) if any(isinstance(m, nn.Hardswish) for m in one.modules())
    ]
    squeezed = [m.fc1.out_channels for m in network.modules() if isinstance(m, SqueezeExcitation)]
    assert (shortcuts(network), gates, swishes) == {
        "large": ([1, 3, 5, 6, 8, 9, 10, 12, 14, 15], [4, 5, 6, 11, 12, 13, 14, 15], [7, 8, 9, 10, 11, 12, 13, 14, 15]),
        "small": ([3, 5, 6, 8, 10, 11], [1, 4, 5, 6, 7, 8, 9, 10, 11], [4, 5, 6, 7, 8, 9, 10, 11]),
    }[variant]
    assert (
        squeezed
        == {
            "large": [24, 32, 32, 120, 168, 168, 240, 240],  # a quarter of the depthwise channels, to a multiple of 8
            "small": [8, 24, 64, 64, 32, 40, 72, 144, 144],
        }[variant]
    )
    norms = {(one.eps, one.momentum) for one in network.modules() if isinstance(one, nn.BatchNorm2d)}
    assert norms == {(1e-3, 0.01)}


def test_the_projection_is_linear():
    torch.manual_seed(0)
    block = InvertedResidual(8, 16, expansion=6, stride=1).eval()
    assert isinstance(block.conv[-1], nn.BatchNorm2d)
    y = block(torch.randn(4, 8, 6, 6))
    assert y.min() < 0  # no ReLU6 would let it
    with torch.device("meta"):
        for network in (mobilenet_v2(), mobilenet_v3(variant="large")):
            for block in list(network.get_submodule("features"))[1:-1]:
                last = list(block.modules())[-1]
                assert isinstance(last, nn.BatchNorm2d)


def test_the_shortcut_adds_the_input_and_leaves_it_alone():
    block = InvertedResidual(8, 8, expansion=6, stride=1).eval()
    x = torch.randn(2, 8, 6, 6)
    before = x.clone()
    assert torch.allclose(block(x), block.conv(x) + x)
    assert torch.equal(x, before)


def test_weights_are_torchvisions_in_size():
    torch.manual_seed(0)
    network = mobilenet_v2()
    first, dense = network.get_submodule("features.0.0"), network.get_submodule("classifier.1")
    assert first.weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)
    assert dense.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not dense.bias.any()


def test_an_unknown_variant_is_a_usage_error():
    with pytest.raises(UsageError, match="choose small or large"):
        mobilenet_v3(variant="medium")
    with pytest.raises(UsageError, match="no probability"):
        mobilenet_v2(dropout=1.5)
