"""One contract over the families: what is exported answers as torch does, for any number of images."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from foveal.engines.capture import capture, load_program, write_onnx, write_program
from foveal.engines.open_vino import write_openvino
from foveal.engines.parity import TOLERANCE, measure_parity, refuse_apart
from foveal.engines.runner import open_runner
from foveal.errors import ClassifierError, FovealError
from foveal.models.catalog import create_model

pytestmark = pytest.mark.usefixtures("engines_installed")

FAST = {"lenet5": (1, 32), "lenet5_1998": (1, 32), "mlp": (1, 28)}
SLOW = {  # what families need of an engine; tests/models asks ONNX Runtime for the smallest of each
    "simple_cnn": (3, 24),
    "alexnet_2012": (3, 227),  # two groups, LRN
    "googlenet_2014": (3, 96),  # auxiliary heads, which an export leaves out
    "inception_v3": (3, 139),  # pooling beside convolutions, concatenated
    "resnet18": (3, 64),
    "squeezenet1_1": (3, 64),  # pooling that rounds up
    "mobilenet_v3_small": (3, 64),  # squeeze-excitation, hard swish
    "efficientnet_lite0": (3, 64),  # TensorFlow's padding
    "convnext_tiny": (3, 64),  # layer normalisation, GELU
}


def lively(name: str, channels: int, side: int) -> nn.Module:
    """Return a network in eval mode that tells images apart, which one with untouched batch statistics hardly does."""
    torch.manual_seed(3)
    network = create_model(name, classes=10, channels=channels, size=(side, side))
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(6, channels, side, side))
    return network.eval()


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [
        *[(name, *shape) for name, shape in FAST.items()],
        *[pytest.param(name, *shape, marks=pytest.mark.slow) for name, shape in SLOW.items()],
    ],
)
def test_engines_answer_as_torch_does(name, channels, side, tmp_path):
    network = lively(name, channels, side)
    before = {key: one.clone() for key, one in network.state_dict().items()}
    program = capture(network, (channels, side, side))
    assert all(torch.equal(one, before[key]) for key, one in network.state_dict().items())
    file, graph = tmp_path / "model.onnx", tmp_path / "model.xml"
    write_onnx(program, file)
    write_openvino(file, graph)
    weights = graph.with_suffix(".bin").read_bytes()
    runners = {
        "onnx": open_runner("onnx", [file.read_bytes()], 1),
        "openvino": open_runner("openvino", [graph.read_bytes(), weights], 1),
    }
    x = torch.randn(5, channels, side, side)
    with torch.inference_mode():
        expected = network(x).numpy()
    scale = float(np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 1e-4 * scale, "the images are told apart"
    for engine, ask in runners.items():
        answers = ask(x.numpy())
        parity = measure_parity(expected, answers)
        # Twice what an export must keep: drawn weights magnify rounding, which differs between processors.
        assert parity.max_probability_difference <= 2 * TOLERANCE, engine
        assert parity.max_logit_difference <= 2e-4 * max(1, scale), engine
        assert (ask(x.numpy()) == answers).all(), f"{engine}: the same twice"
        alone = np.concatenate([ask(x[one : one + 1].numpy()) for one in range(5)])
        np.testing.assert_allclose(alone, answers, rtol=1e-4, atol=2e-5 * max(1, scale), err_msg=engine)


def test_torch_export_keeps_the_network(tmp_path):
    network = lively("lenet5", 1, 32)
    file = tmp_path / "model.pt2"
    write_program(capture(network, (1, 32, 32)), file)
    x = torch.randn(7, 1, 32, 32)
    with torch.inference_mode():
        np.testing.assert_allclose(load_program(file)(x).numpy(), network(x).numpy(), rtol=0, atol=1e-5)


def test_no_file_names_a_folder_of_this_machine(tmp_path):
    from pathlib import Path

    program = capture(lively("mlp", 1, 28), (1, 28, 28))
    write_onnx(program, tmp_path / "model.onnx")
    write_program(program, tmp_path / "model.pt2")
    import foveal

    for file in ("model.onnx", "model.pt2"):
        content = (tmp_path / file).read_bytes()
        for place in (Path(foveal.__file__).parent, Path(torch.__file__).parent):
            assert str(place).encode() not in content, file


class Erring(nn.Module):
    """Uses an operator that ONNX has not."""

    def forward(self, x):
        return torch.special.i1(x).flatten(1)[:, :3]


class Deciding(nn.Module):
    """Computes by what it sees."""

    def forward(self, x):
        return (x if x.sum() > 0 else -x).flatten(1)[:, :3]


def test_an_operator_that_is_lacking_is_named(tmp_path):
    with pytest.raises(ClassifierError, match=r"^ONNX lacks the operator prims.bessel_i1, which this network uses"):
        write_onnx(capture(Erring(), (1, 4, 4)), tmp_path / "model.onnx")


def test_a_network_that_decides_by_its_input_is_refused_and_not_frozen(capfd):
    with pytest.raises(ClassifierError, match="depends on the images' values") as caught:
        capture(Deciding(), (1, 4, 4))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # not the graph that torch came as far as


def test_garbage_is_no_engine():
    for name, contents in (("onnx", [b"garbage"]), ("openvino", [b"<net/>", b""])):
        with pytest.raises(ClassifierError) as caught:
            open_runner(name, contents, 1)
        assert "\n" not in str(caught.value)


def test_answers_that_differ_are_refused():
    logits = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    same, off = copy.copy(logits) + np.float32(1e-6), logits + np.float32([0, 0, 1e-2])
    refuse_apart(measure_parity(logits, same), "ONNX Runtime")
    with pytest.raises(FovealError, match=r"probabilities differ by up to 2\.\de-03 on 40 images"):
        refuse_apart(measure_parity(logits, off), "ONNX Runtime")
    off[3] = np.nan
    with pytest.raises(FovealError, match="nothing was kept"):
        refuse_apart(measure_parity(logits, off), "ONNX Runtime")
    assert measure_parity(logits, logits[:, ::-1]).label_agreement < 1


CTRL_C_AFTER_TWO_RUNNERS = """
import signal, sys
import numpy as np
from pathlib import Path
from foveal.engines.open_vino import OpenVinoRunner

graph, weights = (Path(one).read_bytes() for one in sys.argv[1:])
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
first, second = OpenVinoRunner(graph, weights, 1), OpenVinoRunner(graph, weights, 1)
for runner in (first, second):
    runner(np.zeros((1, 1, 32, 32), np.float32))
del first, runner
del second
signal.raise_signal(signal.SIGINT)
print("heard", len(heard))
"""


def test_ctrl_c_is_heard_after_openvino_came_and_went(tmp_path):
    """OpenVINO's own signal stacks, put back in the wrong order, would make it a segmentation fault."""
    write_onnx(capture(lively("lenet5", 1, 32), (1, 32, 32)), tmp_path / "model.onnx")
    write_openvino(tmp_path / "model.onnx", tmp_path / "model.xml")
    files = [str(tmp_path / name) for name in ("model.xml", "model.bin")]
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C_AFTER_TWO_RUNNERS, *files],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "heard 1\n"), done.stderr
