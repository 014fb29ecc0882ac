"""One contract over the whole gallery: the published numbers, the oracles' outputs, and what every network must keep.

Counts are taken on torch's `meta` device, which computes shapes only; passes are made by the smallest network of
each family, by the others when the slow tests run. ``FOVEAL_RERECORD=1`` writes the golden file of state-dict
shapes anew, from torchvision.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from foveal.engines.capture import INPUT, capture, write_onnx
from foveal.errors import UsageError
from foveal.models.anatomy import inspect_network
from foveal.models.catalog import create_model, find
from foveal.models.network import Heads, parameter_count
from gallery_members import EVERY, OF_ONE_INPUT, SMALLEST, batch, each, lively, on_meta, pass_size, total_loss

GOLDEN = Path(__file__).parent / "golden" / "torchvision_state_dicts.json.gz"
LITES = {f"efficientnet_lite{number}": f"tf_efficientnet_lite{number}" for number in range(5)}
WITHOUT_INITIALISATION = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def golden() -> dict[str, dict[str, list[int]]]:
    """Return network → key → shape of torchvision's state dicts."""
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


OF_TORCHVISION = sorted(golden()) if GOLDEN.is_file() else []


# --- counted on the meta device ---


@pytest.mark.parametrize("name", EVERY)
def test_parameters_are_those_of_the_catalog(name):
    entry, network = find(name), on_meta(name)
    assert parameter_count(network, without=network.auxiliary) == entry.parameters
    assert parameter_count(network) - entry.parameters == entry.auxiliary_parameters


@pytest.mark.parametrize("name", EVERY)
def test_multiply_adds_and_receptive_field_are_those_of_the_catalog(name):
    entry = find(name)
    anatomy = inspect_network(on_meta(name), *entry.native_input)
    assert anatomy.macs == entry.macs
    assert (*anatomy.receptive_field, *anatomy.stride) == (entry.receptive_field,) * 2 + (entry.stride,) * 2
    assert anatomy.parameters - anatomy.auxiliary_parameters == entry.parameters
    assert anatomy.auxiliary_parameters == entry.auxiliary_parameters


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_keys_and_shapes_are_torchvisions(name):
    state = {key: list(tensor.shape) for key, tensor in on_meta(name).state_dict().items()}
    assert state == golden()[name]


def test_the_golden_file_is_of_this_torchvision(torchvision):
    def shapes(name: str) -> dict[str, list[int]]:
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None, **WITHOUT_INITIALISATION.get(name, {}))
        return {key: list(tensor.shape) for key, tensor in network.state_dict().items()}

    ours = sorted(set(torchvision.models.list_models(module=torchvision.models)) & set(EVERY))
    recorded = {name: shapes(name) for name in ours}
    if os.environ.get("FOVEAL_RERECORD"):
        GOLDEN.write_bytes(gzip.compress(json.dumps(recorded, separators=(",", ":")).encode(), 9, mtime=0))
    assert golden() == recorded
    assert len(recorded) == 39


@pytest.mark.parametrize("name", sorted(set(EVERY) - OF_ONE_INPUT))
@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (7, 5)])
def test_any_class_count_channels_and_size(name, classes, channels):
    entry = find(name)
    for height, width in (entry.native_input[1:], (entry.smallest, entry.smallest + 37)):
        if min(height, width) < 12 and entry.family == "simple":
            continue  # too small for some of their words; see their own tests
        with torch.device("meta"):
            network = create_model(name, classes=classes, channels=channels, size=(height, width)).eval()
            assert network(torch.empty(3, channels, height, width)).shape == (3, classes)


@pytest.mark.parametrize("name", [name for name in EVERY if find(name).smallest > 1])
def test_the_smallest_input_is_the_smallest(name):
    entry = find(name)
    with pytest.raises(UsageError, match=f"needs at least {entry.smallest}×{entry.smallest} pixels"):
        create_model(name, size=(entry.smallest + 9, entry.smallest - 1))
    side, channels = entry.smallest - 1, entry.native_input[0]
    options = {"classes": 3, "channels": channels, "height": side, "width": side, **entry.options()}
    with torch.device("meta"), pytest.raises((RuntimeError, UsageError)):
        entry.build()(**options).eval()(torch.empty(1, channels, side, side))


@pytest.mark.parametrize("name", EVERY)
def test_stages_name_modules_and_the_last_is_the_output(name):
    network = on_meta(name).eval()
    modules = dict(network.named_modules())
    assert [module for module in network.stages.values() if module not in modules] == []
    assert len(set(network.stages.values())) == len(network.stages)
    assert list(network.stages)[-1] == "output"
    outputs = {}
    last = modules[network.stages["output"]]
    last.register_forward_hook(lambda module, inputs, output: outputs.update(last=output))
    logits = network(torch.empty(2, *find(name).native_input, device="meta"))
    assert outputs["last"] is logits


# --- passes ---


@pytest.mark.parametrize("name", each(OF_TORCHVISION))
def test_outputs_equal_torchvisions(name, torchvision):
    same_outputs(name, torchvision.models.get_model(name, weights=None, **WITHOUT_INITIALISATION.get(name, {})))


@pytest.mark.parametrize("name", each(sorted(LITES)))
def test_outputs_equal_timms(name, timm):
    same_outputs(name, timm.create_model(LITES[name]))


@torch.inference_mode()
def same_outputs(name: str, theirs: nn.Module) -> None:
    """Assert that our network and `theirs` answer alike with the same random weights, to 1e-5 of the answer's scale."""
    ours = lively(create_model(name)).eval()
    theirs.load_state_dict(ours.state_dict())
    x = batch(2, 3, pass_size(name), seed=4)
    expected = theirs.eval()(x)
    assert expected.std() > 1e-3, "the oracle answers with a constant: nothing would be compared"
    assert (ours(x) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", each(EVERY))
def test_every_parameter_gets_a_gradient_and_one_image_alone_equals_itself_in_a_batch(name):
    torch.manual_seed(1)
    size, channels = pass_size(name), find(name).native_input[0]
    network = create_model(name, classes=10, size=size)
    x = batch(4, channels, size)
    answer = network(x)
    total_loss(answer, torch.arange(4)).backward()
    still = [key for key, one in network.named_parameters() if one.grad is None or not one.grad.abs().sum()]
    assert still == []
    logits = answer.logits if isinstance(answer, Heads) else answer
    assert 0 < logits.std() < 100, "an untrained network must neither be silent nor explode"
    network.eval()
    with torch.no_grad():
        together = network(x)
        alone = torch.cat([network(one[None]) for one in x[:2]])
    assert (together[:2] - alone).abs().max() < 1e-5 * max(1, float(alone.abs().max()))


@pytest.mark.parametrize("name", each(EVERY))
def test_the_seed_decides_the_weights(name):
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return create_model(name, classes=10).state_dict()

    first, same = weights(5), weights(5)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert all(torch.isfinite(one).all() for one in first.values())
    if name in SMALLEST:
        other = weights(6)
        assert any(not torch.equal(first[key], other[key]) for key in first)


# --- what carries a network elsewhere ---


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of its compiler
@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_torch_compile_takes_it_whole(name):
    """The whole graph is captured and differentiable code made of it; only one is compiled to machine code here."""
    torch._dynamo.reset()  # it would take the next network for the last one with other numbers, and give up
    network = lively(create_model(name, classes=10, size=pass_size(name))).eval()
    x = batch(2, find(name).native_input[0], pass_size(name))
    compiled = torch.compile(network, fullgraph=True, backend="inductor" if name == "cifar_resnet20" else "aot_eager")
    with torch.no_grad():
        assert (compiled(x) - network(x)).abs().max() < 1e-5 * max(1, float(network(x).abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_torch_export_and_onnx_keep_the_answers(name, tmp_path):
    """torch.export takes every network, ONNX Runtime the smallest of each family, at any batch size."""
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime (foveal[onnx])")
    size, channels = pass_size(name), find(name).native_input[0]
    network = lively(create_model(name, classes=10, size=size)).eval()
    x = batch(3, channels, size)
    with torch.no_grad():
        expected = network(x)
        program = capture(network, (channels, *size))
        answers = [program.module()(x)]
    if name in SMALLEST:
        file = tmp_path / "network.onnx"
        write_onnx(program, file)
        session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        answers.append(torch.as_tensor(session.run(None, {INPUT: x.numpy()})[0]))
    for answer in answers:
        assert (answer - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))
