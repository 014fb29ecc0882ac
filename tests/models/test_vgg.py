"""VGG against table 1 of its paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.anatomy import layer_table
from foveal.models.network import parameter_count
from foveal.models.vgg import vgg
from gallery_members import on_meta

MILLIONS = {11: 133, 13: 133, 16: 138, 19: 144}  # table 2
BLOCKS = ["64×224×224", "128×112×112", "256×56×56", "512×28×28", "512×14×14"]


@pytest.mark.parametrize("depth", MILLIONS)
def test_depth_counts_the_layers_with_weights_and_table_2_their_millions(depth):
    network = on_meta(f"vgg{depth}")
    convolutions = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
    dense = [one for one in network.modules() if isinstance(one, nn.Linear)]
    assert len(convolutions) + len(dense) == depth
    assert {(one.kernel_size, one.stride, one.padding) for one in convolutions} == {((3, 3), (1, 1), (1, 1))}
    assert int(parameter_count(network) / 1e6 + 0.5) == MILLIONS[depth]
    maps = {row.name: row.output for row in layer_table(network, 3, 224, 224)}
    assert [maps[network.stages[f"block{number}"]] for number in range(1, 6)] == BLOCKS


def test_most_of_vgg16_is_dense():
    network = on_meta("vgg16")
    assert parameter_count(network.get_submodule("features")) == 14_714_688
    assert parameter_count(network.get_submodule("classifier")) == 123_642_856


def test_batch_norm_stands_between_convolution_and_relu_and_the_convolution_keeps_its_bias():
    features = list(on_meta("vgg13_bn").get_submodule("features"))
    for index, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            assert [type(one) for one in features[index + 1 : index + 3]] == [nn.BatchNorm2d, nn.ReLU]


def test_first_weights_are_torchvisions():
    torch.manual_seed(0)
    network = vgg(depth=11, classes=10)
    conv, dense = network.get_submodule("features.18"), network.get_submodule("classifier.3")
    assert conv.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert dense.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not any(one.any() for name, one in network.named_parameters() if name.endswith("bias"))


def test_a_depth_that_there_is_not_is_said():
    with pytest.raises(UsageError, match="no VGG-12; choose 11, 13, 16, 19"):
        vgg(depth=12)
