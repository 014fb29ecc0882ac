"""The catalog: names, options, inputs that cannot be, the layer table. The gallery has a contract of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from foveal.errors import UsageError
from foveal.models.anatomy import layer_table
from foveal.models.catalog import CATALOG, create_model, find
from foveal.models.network import parameter_count
from gallery_members import EVERY, each, pass_size


@pytest.mark.parametrize("name", each(EVERY))
def test_the_layer_table_adds_up_and_leaves_the_network_as_it_found_it(name):
    size, channels = pass_size(name), find(name).native_input[0]
    network = create_model(name, classes=10, size=size)
    network.train()
    next(iter(network.children())).eval()  # a mixed mode must come back as it was
    before = {key: module.training for key, module in network.named_modules()}
    buffers = {key: one.clone() for key, one in network.named_buffers()}
    table = layer_table(network, channels, *size)
    assert sum(row.parameters for row in table) == parameter_count(network, without=network.auxiliary)
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


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": 2.5}, {"classes": True}, {"classes": "5"}, {"channels": 1.0}, {"size": 64}, {"size": [67, 67, 3]},
        {"options": [1]}, {"pretrained": 3}, {"name": None},
    ],
)  # fmt: skip
def test_an_argument_of_a_wrong_type_is_a_usage_error(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        create_model(**{"name": "resnet18", **arguments})
