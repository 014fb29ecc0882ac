"""The CIFAR ResNets: both kinds of shortcut, and their counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.catalog import create_model
from foveal.models.cifar_resnet import PaddedShortcut, cifar_resnet
from foveal.models.network import parameter_count

COUNTS = {  # with shortcuts A and B
    20: (269_722, 272_474),
    32: (464_154, 466_906),
    44: (658_586, 661_338),
    56: (853_018, 855_770),
    110: (1_727_962, 1_730_714),
}


@pytest.mark.parametrize("depth", COUNTS)
def test_counts_with_both_shortcuts(depth):
    with torch.device("meta"):
        both = [create_model(f"cifar_resnet{depth}", options={"shortcut": kind}) for kind in "AB"]
        plain = create_model(f"cifar_resnet{depth}")
    assert tuple(parameter_count(network) for network in both) == COUNTS[depth]
    assert parameter_count(plain) == COUNTS[depth][0]  # the paper's CIFAR networks all have option A
    assert sum(isinstance(one, nn.Conv2d | nn.Linear) for one in plain.modules()) == depth


def test_the_1202_layers_of_the_paper():
    with torch.device("meta"):
        assert parameter_count(cifar_resnet(depth=1202)) == 19_421_274


@pytest.mark.parametrize("side", [8, 7])
def test_option_a_in_numpy(side):
    x = np.random.default_rng(0).normal(size=(2, 3, side, side))
    expected = np.zeros((2, 8, (side + 1) // 2, (side + 1) // 2))
    for row in range(0, side, 2):
        for column in range(0, side, 2):
            expected[:, :3, row // 2, column // 2] = x[:, :, row, column]
    assert np.array_equal(PaddedShortcut(3, 8, 2)(torch.from_numpy(x)).numpy(), expected)


def test_a_block_with_option_a_adds_its_input_subsampled():
    torch.manual_seed(0)
    network = create_model("cifar_resnet20").eval()
    block = network.get_submodule("layer2.0")
    nn.init.zeros_(block.bn2.weight)  # the branch gives nothing: what remains is the shortcut
    x = torch.rand(1, 16, 6, 6)
    with torch.no_grad():
        y = block(x)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2])
    assert y.shape == (1, 32, 3, 3) and not y[:, 16:].any()


def test_weights_are_he_normal():
    torch.manual_seed(0)
    network = create_model("cifar_resnet110")
    convolutions = [one for one in network.modules() if isinstance(one, nn.Conv2d)][1:]
    for one in convolutions:
        assert one.weight.std().item() == pytest.approx((2 / (9 * one.out_channels)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 18}, r"6n \+ 2 layers .* not 18"),
        ({"depth": 2}, "not 2"),
        ({"depth": -4}, "not -4"),
        ({"depth": 60_002}, "not 60002"),
        ({"shortcut": "C"}, 'not "C"'),
    ],
)
def test_what_cannot_be_made_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        cifar_resnet(**options)
