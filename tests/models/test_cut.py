"""A cut network answers as the whole does, heads by name have their published sizes, and depth is told right."""

from __future__ import annotations

import pytest
import torch

from foveal.errors import UsageError
from foveal.models.catalog import CATALOG, create_model
from foveal.models.cut import cut_before, cut_before_head, steps
from foveal.models.depth import by_stage, decaying_shares, last_block, last_layers
from foveal.models.network import parameter_count
from gallery_members import EVERY, SMALLEST, batch, each, pass_size

WITHOUT = {"mlp": "no feature map", "lenet5_1998": "answers with penalties"}


@pytest.mark.parametrize("name", each(EVERY))
def test_trunk_and_head_answer_as_the_network_does(name):
    size = pass_size(name)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = create_model(name, size=size).eval()
        x = batch(2, CATALOG[name].native_input[0], size)
        whole = network(x)
        cut = cut_before_head(network)
        assert torch.equal(cut.head(cut.trunk(x)), whole)
        middle = cut_before(network, len(steps(network)) // 2)
        assert torch.equal(middle.head(middle.trunk(x)), whole)
    own = dict(network.named_parameters())
    assert {id(one) for one in cut.head.parameters()} == {id(own[name]) for name in cut.head_names}
    last = list(own)[-1].rpartition(".")[0]
    assert cut.head_names == {key for key in own if key.rpartition(".")[0] == last}
    staged = [name for _, names in by_stage(network) for name in names]
    assert len(staged) == len(set(staged)) and set(staged) >= cut.head_names


def test_dropout_before_the_new_layer_goes_with_the_head_and_flattening_with_the_trunk():
    cut = cut_before_head(create_model("vgg11"), {"classifier.6.weight", "classifier.6.bias"})
    assert cut.place == "classifier.5"  # the dropout before the last layer
    assert cut_before_head(create_model("resnet18")).trunk(torch.zeros(1, 3, 64, 64)).shape == (1, 512)
    assert cut_before_head(create_model("efficientnet_b0")).place == "classifier.0"
    assert cut_before_head(create_model("convnext_tiny")).place == "classifier.2"  # its normalisation is kept


@pytest.mark.parametrize(
    ("model", "head", "classes", "parameters"),
    [
        ("resnet50", "dense128", 2, 262_530),
        ("vgg16", "flatten256", 5, 6_424_069),
        ("densenet121", "dense256", 3, 263_171),
    ],
)
def test_heads_by_name_have_the_sizes_that_courses_print(model, head, classes, parameters):
    network = create_model(model, classes=classes, options={"head": head})
    names = cut_before_head(network, [name for name, _ in network.named_parameters() if name.startswith("head.")])
    assert sum(one.numel() for one in names.head.parameters()) == parameters
    assert parameter_count(network.get_submodule("head")) == parameters
    features = create_model(model).state_dict()
    kept = {name: one.shape for name, one in network.state_dict().items() if not name.startswith("head.")}
    assert kept.items() <= {name: one.shape for name, one in features.items()}.items()
    assert network.stages["output"] in dict(network.named_modules())


@pytest.mark.parametrize("name", sorted(SMALLEST))
@pytest.mark.parametrize("head", ["linear", "flatten256"])
def test_every_family_takes_a_head_by_name_or_says_why_not(name, head):
    size = pass_size(name)
    if name in WITHOUT:
        with pytest.raises(UsageError, match=WITHOUT[name]):
            create_model(name, options={"head": head})
        return
    network = create_model(name, classes=4, size=size, options={"head": head})
    assert network.eval()(batch(2, CATALOG[name].native_input[0], size)).shape == (2, 4)


def test_an_unknown_head_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r'no head "dense265".*dense256'):
        create_model("resnet18", options={"head": "dense265"})


@pytest.mark.parametrize(
    ("model", "block", "below"),
    [
        ("vgg11", "block5", "features.16"),
        ("resnet18", "conv5_x", "layer4"),
        ("densenet121", "dense block 4", "features.denseblock4"),
        ("efficientnet_lite0", "stage8", "blocks.6"),
        ("mobilenet_v2", "bottleneck7", "features.17"),
        ("alexnet", "conv5", "features.10"),
    ],
)
def test_the_last_block_is_the_last_stage_with_wide_convolutions_and_all_after_it(model, block, below):
    network = create_model(model)
    head = cut_before_head(network).head_names
    name, learning = last_block(network, head)
    own = [key for key, _ in network.named_parameters()]
    assert name == block and learning == set(own[next(at for at, key in enumerate(own) if key.startswith(below)) :])


def test_layers_are_counted_from_the_head_downwards():
    network = create_model("vgg16")
    head = cut_before_head(network).head_names
    four = last_layers(network, 4, head)
    assert {name.rpartition(".")[0] for name in four - head} == {
        "features.26",
        "features.28",
        "classifier.0",
        "classifier.3",
    }
    with pytest.raises(UsageError, match="15 layers below its head; 16"):
        last_layers(network, 16, head)
    normed = last_layers(create_model("resnet18"), 1, {"fc.weight", "fc.bias"})
    assert normed - {"fc.weight", "fc.bias"} == {"layer4.1.conv2.weight", "layer4.1.bn2.weight", "layer4.1.bn2.bias"}


def test_rates_fall_from_stage_to_stage():
    network = create_model("resnet18")
    shares = decaying_shares(network, [name for name, _ in network.named_parameters()], 0.5)
    assert shares["fc.weight"] == 1 and shares["layer4.0.conv1.weight"] == 0.5 and shares["conv1.weight"] == 0.5**5
