"""foveal inspect."""

from __future__ import annotations

import json
import sys
from xml.etree import ElementTree

import pytest

import foveal
from foveal.cli.parsing import parse_input
from foveal.errors import UsageError
from foveal.models.catalog import find


def test_a_network_is_printed_as_a_tree_with_its_totals(foveal_cli):
    done = foveal_cli("inspect", "resnet50")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "ResNet-50 (v1.5) (resnet50, 2015), input 3×224×224"
    squeezed = [" ".join(line.split()) for line in lines]
    assert "1 … 5 5 × Bottleneck 1024×14×14 5,585,920 1.09 G 1.09 G 12.0 MB 267 16" in squeezed
    assert "parameters      25,557,032 (all trainable)" in lines
    assert "multiply-adds   4,089,184,256" in lines
    assert "receptive field 427×427 pixels, a cell every 32, on the last map of 2048×7×7" in lines


def test_depth_unfolds(foveal_cli):
    lengths = [len(foveal_cli("inspect", "cifar_resnet20", "--depth", depth).out.splitlines()) for depth in (0, 1, 2)]
    assert lengths[0] < lengths[1] < lengths[2]
    assert "layer1" in foveal_cli("inspect", "cifar_resnet20", "--depth", 0).out


def test_auxiliary_heads_are_said(foveal_cli):
    out = foveal_cli("inspect", "googlenet_2014", "--depth", 0).out
    assert "13,378,280 (all trainable; 6,998,552 without auxiliary heads, which serve training only)" in out


def test_input_classes_and_options_are_the_networks(foveal_cli):
    done = foveal_cli("inspect", "lenet5", "--input", "3x40x32", "--classes", 4, "-o", "activation=relu", "--json")
    told = json.loads(done.out)
    assert told["input"] == [3, 40, 32]
    assert told["output"] == "4"
    assert "ReLU" in {layer["type"] for layer in told["layers"]}
    assert told["parameters"] == sum(layer["parameters"] for layer in told["layers"])
    assert json.loads(foveal_cli("inspect", "lenet5", "--input", 40, "--json").out)["input"] == [1, 40, 40]


def test_several_stand_beside_each_other(foveal_cli):
    done = foveal_cli("inspect", "--compare", "resnet18", "densenet121", "vgg11")
    assert done.code == 0
    rows = {line.split("  ")[0]: line for line in done.out.splitlines()}
    for name in ("resnet18", "densenet121", "vgg11"):
        assert f"{find(name).parameters:,}" in rows["parameters"]
        assert f"{find(name).macs:,}" in rows["multiply-adds"]
    assert "dense block 1  256×56×56" in rows["stride 4"]
    assert len(json.loads(foveal_cli("inspect", "--compare", "lenet5", "mlp", "--json").out)) == 2


def test_a_drawing_is_written_once(foveal_cli, tmp_path):
    page = tmp_path / "net.svg"
    assert foveal_cli("inspect", "lenet5", "--svg", page).code == 0
    assert ElementTree.parse(page).getroot().tag.endswith("svg")
    again = foveal_cli("inspect", "lenet5", "--svg", page)
    assert (again.code, again.err) == (6, f"foveal: {page} exists already; choose another --svg.\n")
    picture = foveal_cli("inspect", "lenet5", "--svg", tmp_path / "net.png")
    assert (picture.code, list(tmp_path.iterdir())) == (2, [page])
    assert "writes an SVG drawing" in picture.err
    below_a_file = foveal_cli("inspect", "lenet5", "--svg", page / "net.svg")
    assert below_a_file.code == 6
    assert "Traceback" not in below_a_file.err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few digits."""
    return foveal.train("digits", model="simple_cnn", epochs=1, out=tmp_path_factory.mktemp("runs") / "lenet5")


def test_a_classifier_says_its_classes_and_preprocessing(foveal_cli, run, monkeypatch):
    done = foveal_cli("inspect", run.path)
    assert done.code == 0, done.err
    assert "classes         10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in done.out
    assert "image           grey, 8×8" in done.out
    assert "normalised by   mean" in done.out
    monkeypatch.chdir(run.path.parent)
    assert "a classifier" in foveal_cli("inspect", "./lenet5").out
    assert "a classifier" not in foveal_cli("inspect", "lenet5").out  # the name is the network's
    assert foveal_cli("inspect", "./lenet5", "--classes", 3).code == 2
    wrong = foveal_cli("inspect", "./lenet5", "--input", "3x8x8")
    assert (wrong.code, "takes images of 1 channel, not 3" in wrong.err) == (2, True)
    small = foveal_cli("inspect", "./lenet5", "--input", "1")
    assert "The classifier was trained on images of 1×8×8 and cannot take any of 1×1×1." in small.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("resnet5",), 2, 'Did you mean "resnet50"?'),
        (("resnet50", "vgg11"), 2, "--compare"),
        (("--compare", "resnet50"), 2, "two or more networks"),
        (("vgg16", "--input", "3x16x16"), 2, "needs at least 32×32 pixels, not 16×16"),
        (("lenet5_1998", "--input", "3x32x32"), 2, "takes grey images of 32×32"),
        (("lenet5", "--input", "3x"), 2, "--input is CHANNELSxHEIGHTxWIDTH"),
        (("lenet5", "-o", "activatoin=relu"), 2, 'Did you mean "activation"?'),
        (("./nowhere",), 5, "There is no run or classifier"),
    ],
)
def test_bad_input_is_one_sentence(foveal_cli, arguments, code, says):
    done = foveal_cli("inspect", *arguments)
    assert done.code == code
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not done.out


def test_from_python_a_module_a_name_and_a_classifier():
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    assert foveal.inspect(network, input=(1, 9, 9)).last_map == "2×7×7"
    assert foveal.inspect(network).input == (1, 224, 224)
    assert foveal.inspect("LeNet5", input=(3, 32, 32)).parameters == 62_006
    with pytest.raises(foveal.FovealError, match="by its name"):
        foveal.inspect(network, classes=3)
    with pytest.raises(foveal.FovealError, match="channels, height, width"):
        foveal.inspect(network, input=(1, 2, 3, 4))


def test_no_compiler_is_loaded_to_read_a_network():
    import subprocess

    code = "import sys, foveal; foveal.inspect('densenet121'); foveal.inspect('mobilenet_v3_small'); " \
           "print('torch._dynamo' in sys.modules)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "False\n", done.stderr


def test_three_by_a_side_is_asked_whether_it_means_channels():
    with pytest.raises(UsageError, match="write 3x224x224"):
        parse_input("3x224")
    assert parse_input("16x224") == (16, 224)
