"""One contract over every network of the catalog: what holds for one holds for the next fifty."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.anatomy import layer_table
from foveal.models.catalog import CATALOG, create_model, find
from foveal.models.network import parameter_count

EVERY = sorted(CATALOG)
OF_ONE_INPUT = {"lenet5_1998"}  # one size, grey, and classes as many as it has codes: see its own tests
PARAMETERS = {
    "lenet5": 61_706,
    "lenet5_1998": 60_000,
    "simple_cnn_p4": 40_630,
    "simple_cnn_p5": 15_770,
    "simple_cnn_p6": 43_706,
    "simple_cnn_p7": 173_930,
    "simple_cnn_p8": 225_482,
    "simple_cnn_p9": 225_034,
    "simple_cnn_p11": 347_146,
    "simple_cnn_p13": 347_146,
}


def sizes_of(name: str) -> list[tuple[int, int]]:
    return [find(name).native_input[1:], (37, 29)]


def batch(count: int, channels: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", EVERY)
def test_parameters_at_the_native_input_are_those_of_the_catalog(name):
    entry = find(name)
    channels, *size = entry.native_input
    network = create_model(name, classes=entry.native_classes, channels=channels, size=tuple(size))
    assert parameter_count(network) == entry.parameters == PARAMETERS.get(name, entry.parameters)


@pytest.mark.parametrize("name", sorted(set(EVERY) - OF_ONE_INPUT))
@pytest.mark.parametrize(("classes", "channels"), [(2, 3), (7, 1)])
def test_any_class_count_channels_and_size(name, classes, channels):
    for size in sizes_of(name):
        network = create_model(name, classes=classes, channels=channels, size=size)
        assert network(batch(3, channels, size)).shape == (3, classes)


@pytest.mark.parametrize("name", EVERY)
def test_every_parameter_gets_a_gradient_and_one_image_alone_equals_itself_in_a_batch(name):
    torch.manual_seed(1)
    size = sizes_of(name)[0]
    network = create_model(name, size=size)
    x = batch(8, 1, size)
    nn.functional.cross_entropy(network(x), torch.arange(8)).backward()
    still = [key for key, one in network.named_parameters() if one.grad is None or not one.grad.abs().sum()]
    assert still == []
    network.eval()
    with torch.no_grad():
        together = network(x)
        alone = torch.cat([network(one[None]) for one in x])
    assert (together - alone).abs().max() < 1e-5 * max(1, float(alone.abs().max()))


@pytest.mark.parametrize("name", EVERY)
def test_the_seed_decides_the_weights(name):
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return create_model(name).state_dict()

    first, same, other = weights(5), weights(5), weights(6)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", EVERY)
def test_stages_name_modules_and_the_last_is_the_output(name):
    network = create_model(name)
    modules = dict(network.named_modules())
    assert [stage for stage, module in network.stages.items() if module not in modules] == []
    assert len(set(network.stages.values())) == len(network.stages)
    outputs = {}
    handle = modules[list(network.stages.values())[-1]].register_forward_hook(
        lambda module, inputs, output: outputs.update(last=output)
    )
    size = sizes_of(name)[0]
    logits = network.eval()(batch(2, 1, size))
    handle.remove()
    assert torch.equal(outputs["last"], logits)


@pytest.mark.parametrize("name", EVERY)
def test_the_layer_table_adds_up_and_leaves_the_network_as_it_found_it(name):
    size = sizes_of(name)[0]
    network = create_model(name)
    network.train()
    next(iter(network.children())).eval()  # a mixed mode must come back as it was
    before = {key: module.training for key, module in network.named_modules()}
    buffers = {key: one.clone() for key, one in network.named_buffers()}
    table = layer_table(network, 1, *size)
    assert sum(row.parameters for row in table) == parameter_count(network)
    assert table[-1].output == "10"
    assert {key: module.training for key, module in network.named_modules()} == before
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(one, buffers[key]) for key, one in network.named_buffers())


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(UsageError, match='Did you mean "lenet5"'):
        create_model("lenet6")
    with pytest.raises(UsageError, match='Did you mean "activation"'):
        create_model("lenet5", options={"activatoin": "relu"})
    with pytest.raises(UsageError, match='Did you mean "sigmoid"'):
        create_model("lenet5", options={"activation": "sigmiod"})
    with pytest.raises(UsageError, match='fixes "spec"'):
        create_model("simple_cnn_p4", options={"spec": "conv8"})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet5_1998", {"codes": 3}),
        ("mlp", {"dropout": "much"}),
        ("mlp", {"dropout": 1.0}),
        ("mlp", {"dropout": -0.1}),
        ("mlp", {"dropout": float("nan")}),
        ("mlp", {"dropout": True}),
        ("mlp", {"dropout": None}),
        ("mlp", {"hidden": "12 x"}),
        ("mlp", {"hidden": ""}),
        ("mlp", {"hidden": "0"}),
        ("mlp", {"hidden": "999999999999"}),
        ("lenet5", {"activation": 3}),
    ],
)
def test_a_wrong_option_is_a_usage_error(name, options):
    with pytest.raises(UsageError):
        create_model(name, options=options)


@pytest.mark.parametrize(
    "arguments",
    [{"classes": 0}, {"classes": -2}, {"channels": 0}, {"size": (15, 32)}, {"size": (0, 32)}, {"size": (-3, 5)}],
)
def test_an_impossible_input_is_a_usage_error(arguments):
    with pytest.raises(UsageError):
        create_model("lenet5", **arguments)


def test_text_becomes_the_type_of_the_default():
    network = create_model("mlp", options={"dropout": "0.5", "hidden": 16})
    assert network.get_submodule("dropout1").p == 0.5
    assert network.get_submodule("fc1").out_features == 16


@pytest.mark.parametrize("spelling", ["simple-cnn-p4", "SIMPLE_CNN_P4", "Simple-CNN_p4"])
def test_dashes_and_case_are_equal(spelling):
    assert find(spelling) is CATALOG["simple_cnn_p4"]


def test_listing_the_catalog_loads_no_torch():
    code = (
        "import sys; from foveal.models.catalog import CATALOG; [str(one) for one in CATALOG.values()];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
