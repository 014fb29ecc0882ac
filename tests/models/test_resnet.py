"""ResNet v1 and v1.5, ResNeXt, Wide ResNet: what sets them apart, and the initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.anatomy import layer_table
from foveal.models.catalog import create_model
from foveal.models.resnet import BasicBlock, Bottleneck, resnet


def macs(name: str) -> int:
    with torch.device("meta"):
        return sum(row.macs for row in layer_table(create_model(name), 3, 224, 224))


def test_v1_and_v1_5_share_weights_but_are_two_functions():
    torch.manual_seed(0)
    new, old = create_model("resnet50").eval(), create_model("resnet50_v1").eval()
    old.load_state_dict(new.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        apart = (new(x) - old(x)).abs().max() / new(x).abs().max()
    assert apart > 0.01
    # one 1×1 and one shortcut less on the large map, in each of three stages: the paper's 3.8 · 10⁹
    assert (macs("resnet50"), macs("resnet50_v1")) == (4_089_184_256, 3_857_973_248)


@pytest.mark.parametrize(
    ("name", "strides"), [("resnet50", [(1, 1), (1, 2), (1, 2), (1, 2)]), ("resnet50_v1", [(1, 1)] + [(2, 1)] * 3)]
)
def test_where_a_bottleneck_halves_the_map(name, strides):
    with torch.device("meta"):
        network = create_model(name)
    blocks = [network.get_submodule(f"layer{stage}.0") for stage in (1, 2, 3, 4)]
    assert [(block.conv1.stride[0], block.conv2.stride[0]) for block in blocks] == strides


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (34, 16), (50, 16), (101, 33), (152, 50)])
def test_the_depth_counts_convolutions_and_the_dense_layer_but_no_shortcuts(depth, blocks):
    with torch.device("meta"):
        network = resnet(depth=depth)
    weighted = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(weighted) == depth
    assert sum(isinstance(module, BasicBlock | Bottleneck) for module in network.modules()) == blocks


@pytest.mark.parametrize(
    ("name", "inner", "groups"),
    [
        ("resnet50", (64, 128, 256, 512), 1),
        ("resnext50_32x4d", (128, 256, 512, 1024), 32),
        ("resnext101_64x4d", (256, 512, 1024, 2048), 64),
        ("wide_resnet50_2", (128, 256, 512, 1024), 1),
    ],
)
def test_what_is_widened_lies_inside_the_block(name, inner, groups):
    with torch.device("meta"):
        network = create_model(name)
    last = [network.get_submodule(f"layer{stage}")[-1] for stage in (1, 2, 3, 4)]
    assert tuple(block.conv2.out_channels for block in last) == inner
    assert {block.conv2.groups for block in last} == {groups}
    assert [block.conv3.out_channels for block in last] == [256, 512, 1024, 2048]


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_the_first_weights_are_torchvisions_of_the_same_seed(name, torchvision):
    torch.manual_seed(5)
    ours = create_model(name).state_dict()
    torch.manual_seed(5)
    theirs = torchvision.models.get_model(name, weights=None).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(one, theirs[key]) for key, one in ours.items())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_with_zeroed_norms_every_block_that_keeps_the_shape_is_the_identity(name):
    network = create_model(name, options={"zero_init_residual": "yes"}).eval()
    block = network.get_submodule("layer2.1")
    x = torch.rand(1, 128 if name == "resnet18" else 512, 5, 5)  # after a ReLU nothing is negative
    with torch.no_grad():
        assert torch.equal(block(x), x)
        assert not torch.equal(create_model(name).eval().get_submodule("layer2.1")(x), x)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 20}, "18, 34, 50, 101, 152 layers, not 20"),
        ({"depth": 18, "groups": 32}, "which ResNet-18 has not"),
        ({"depth": 34, "stride_in_1x1": True}, "which ResNet-34 has not"),
        ({"groups": 0}, "0 groups of 64"),
        ({"groups": 1024, "base_width": 64}, "cannot be made"),
    ],
)
def test_what_cannot_be_made_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        resnet(**options)
