"""DenseNets: channels, connections, depths, and torchvision's initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.anatomy import layer_table
from foveal.models.catalog import create_model
from foveal.models.densenet import DenseBlock, cifar_densenet, densenet
from foveal.models.network import Network, parameter_count

CHANNELS = {  # before each transition, after it; and at the end
    121: [(256, 128), (512, 256), (1024, 512), 1024],
    161: [(384, 192), (768, 384), (2112, 1056), 2208],
    169: [(256, 128), (512, 256), (1280, 640), 1664],
    201: [(256, 128), (512, 256), (1792, 896), 1920],
    264: [(256, 128), (512, 256), (2304, 1152), 2688],
}


def on_meta(name: str) -> Network:
    with torch.device("meta"):
        return create_model(name)


def weighted(network: nn.Module) -> int:
    return sum(isinstance(one, nn.Conv2d | nn.Linear) for one in network.modules())


@pytest.mark.parametrize("depth", CHANNELS)
def test_channels_before_and_after_each_transition(depth):
    outputs = {row.name: row.output for row in layer_table(on_meta(f"densenet{depth}"), 3, 224, 224)}
    *transitions, last = CHANNELS[depth]
    for number, (side, (before, after)) in enumerate(zip((56, 28, 14), transitions, strict=True), 1):
        assert outputs[f"features.transition{number}.norm"] == f"{before}×{side}×{side}"
        assert outputs[f"features.transition{number}.pool"] == f"{after}×{side // 2}×{side // 2}"
    assert outputs["features.norm5"] == f"{last}×7×7"


def test_the_name_counts_the_weighted_layers_except_of_264_which_has_265():
    assert {depth: weighted(on_meta(f"densenet{depth}")) for depth in CHANNELS} == {
        121: 121,
        161: 161,
        169: 169,
        201: 201,
        264: 265,
    }
    assert weighted(on_meta("densenet_bc_100_12")) == 100


def test_a_block_of_l_layers_has_l_l_plus_1_over_2_connections_and_adds_nothing():
    """Layer by layer: what a layer sees is the block's input and every earlier layer's maps, untouched and in order."""
    torch.manual_seed(0)
    layers, growth = 5, 3
    block = DenseBlock(7, layers, growth, bottleneck=True).eval()
    seen, made = [], []
    for layer in block:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        layer.register_forward_hook(lambda _, inputs, output: made.append(output))
    x = torch.randn(2, 7, 4, 4)
    with torch.no_grad():
        y = block(x)
    connections = 0
    for number, (sees, maps) in enumerate(zip([*seen, y], [*made, None], strict=True)):
        sources = [x, *made[:number]]
        assert torch.equal(sees, torch.cat(sources, dim=1))
        if maps is not None:
            assert maps.shape[1] == growth
            connections += len(sources)
    assert connections == layers * (layers + 1) // 2


def test_connections_end_at_the_block():
    """A layer of block 2 has no way to the maps of block 1 but through the transition's 1×1."""
    network = on_meta("densenet121")
    assert network.get_submodule("features.denseblock2.denselayer1.conv1").in_channels == 128  # not 256 and more


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"depth": 100, "growth": 12}, 769_162),
        ({"depth": 100, "growth": 12, "classes": 100}, 800_032),
        ({"depth": 250, "growth": 24}, 15_324_406),
        ({"depth": 190, "growth": 40}, 25_624_430),
        ({"depth": 40, "growth": 12, "bottleneck": False, "reduction": 1.0}, 1_019_722),
        ({"depth": 100, "growth": 12, "bottleneck": False, "reduction": 1.0}, 6_979_642),
    ],
)
def test_the_papers_networks_for_cifar(options, parameters):
    with torch.device("meta"):
        network = cifar_densenet(**options)
    assert parameter_count(network) == parameters
    assert weighted(network) == options["depth"]


def test_the_first_weights_are_torchvisions_of_the_same_seed(torchvision):
    torch.manual_seed(5)
    ours = create_model("densenet121").state_dict()
    torch.manual_seed(5)
    theirs = torchvision.models.densenet121().state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(one, theirs[key]) for key, one in ours.items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 41}, r"6N \+ 4 layers .* not 41"),
        ({"depth": 4}, "not 4"),
        ({"depth": 42, "bottleneck": False}, r"3N \+ 4 layers"),
        ({"growth": 0}, "not 0"),
        ({"reduction": 0.0}, "not 0"),
        ({"reduction": 1.5}, "not 1.5"),
        ({"reduction": float("nan")}, "not nan"),
    ],
)
def test_what_cannot_be_made_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        cifar_densenet(**options)


def test_an_unknown_depth_is_said():
    with pytest.raises(UsageError, match="121, 161, 169, 201, 264 layers, not 120"):
        densenet(depth=120)
