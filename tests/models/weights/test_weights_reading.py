"""The gotchas of published files, each on a checkpoint of that shape made here; and what is refused."""

from __future__ import annotations

import re
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save as make_safetensors
from weight_files import pth, random_weights, same, sha256

from foveal.errors import ClassifierError
from foveal.models.catalog import create_model
from foveal.models.weights.cache import expected_tensors
from foveal.models.weights.published import pretrained
from foveal.models.weights.reading import fitted, read_tensors


def converted(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    expected, _ = expected_tensors(pretrained(name), tensors)
    return fitted(tensors, expected, "the file")


def test_counters_of_batch_normalisation_may_be_missing():
    whole = random_weights("resnet18")
    old = {name: one for name, one in whole.items() if not name.endswith("num_batches_tracked")}
    assert len(old) == len(whole) - 20
    assert same(converted("resnet18", old), whole)


def test_densenets_old_names():
    whole = random_weights("densenet121")
    old = {re.sub(r"(denselayer\d+)\.(norm|conv)([12])\.", r"\1.\2.\3.", name): one for name, one in whole.items()}
    old = {name: one for name, one in old.items() if "num_batches_tracked" not in name}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert same(converted("densenet121", old), whole)
    assert same(converted("densenet121", whole), whole)


@pytest.mark.parametrize("model", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_kept_where_the_file_has_them_and_may_be_missing(model):
    whole = random_weights(model, auxiliary=True)
    assert same(converted(model, whole), whole)
    without = {name: one for name, one in whole.items() if not name.startswith(("aux1.", "aux2.", "AuxLogits."))}
    assert len(without) < len(whole)
    assert same(converted(model, without), without)


def test_half_precision_becomes_single():
    whole = random_weights("squeezenet1_1")
    half = converted("squeezenet1_1", {name: one.half() for name, one in whole.items()})
    assert all(one.dtype == torch.float32 for one in half.values())
    assert all(torch.equal(half[name], one.half().float()) for name, one in whole.items())


def test_timms_vgg():
    whole = random_weights("vgg11")
    theirs = {}
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    shapes = {"pre_logits.fc1.weight": (4096, 512, 7, 7), "pre_logits.fc2.weight": (4096, 4096, 1, 1)}
    for name, one in whole.items():
        layer, _, member = name.rpartition(".")
        there = f"{names.get(layer, layer)}.{member}"
        theirs[there] = one.reshape(shapes.get(there, one.shape))
    assert same(converted("vgg11", theirs), whole)


def test_resnet_and_densenet_of_timm_have_our_names(timm):
    for model in ("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121"):
        with torch.device("meta"):
            theirs, ours = timm.create_model(model).state_dict(), create_model(model).state_dict()
        assert {name: one.shape for name, one in theirs.items()} == {name: one.shape for name, one in ours.items()}


@pytest.mark.parametrize("wrap", ["state_dict", "model", "module."])
def test_wrappers_are_opened(wrap, listed):
    whole = random_weights("squeezenet1_1")
    if wrap == "module.":
        value: object = OrderedDict((f"module.{name}", one) for name, one in whole.items())
    else:
        value = {wrap: whole, "epoch": 90, "args": {"lr": 0.1}}
    content = pth(value)
    listed(content)
    assert same(converted("squeezenet1_1", read_tensors(content, "some.pth")), whole)


def test_a_pickle_that_is_not_listed_is_not_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    content = pth({"a": torch.zeros(1), "b": Evil()})
    with pytest.raises(ClassifierError, match=r"is not a file of the catalog \(its SHA-256 begins [0-9a-f]{16}\)"):
        read_tensors(content, "some.pth")
    assert not (tmp_path / "ran").exists()


def test_even_a_listed_pickle_runs_nothing(tmp_path, listed):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    content = pth({"a": torch.zeros(1), "b": Evil()})
    listed(content)
    with pytest.raises(ClassifierError, match=r"some\.pth cannot be read: Weights only load failed"):
        read_tensors(content, "some.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": torch.zeros(1), "epoch": 3}, "some.pth holds also what is no tensor: epoch."),
        ([torch.zeros(1)], "some.pth holds no tensors by name, but list."),
        ({}, "some.pth holds no tensors by name, but dict."),
        ({"state_dict": {"a": "text"}}, "some.pth holds also what is no tensor: a."),
    ],
)
def test_what_is_no_state_dict_is_refused(value, says, listed):
    content = pth(value)
    listed(content)
    with pytest.raises(ClassifierError) as caught:
        read_tensors(content, "some.pth")
    assert str(caught.value) == says


def test_a_damaged_file_says_so(small_file, listed):
    cut = small_file[: len(small_file) // 2]
    listed(cut)
    with pytest.raises(ClassifierError, match=r"some\.pth cannot be read: "):
        read_tensors(cut, "some.pth")
    whole = make_safetensors({"a": torch.zeros(100)})
    for broken in (whole[:50], whole[:-8], b"\xff" * 64):
        with pytest.raises(ClassifierError, match=r"some\.safetensors is no whole safetensors file"):
            read_tensors(broken, "some.safetensors")
    with pytest.raises(ClassifierError, match="is empty"):
        read_tensors(b"", "some.pth")
    with pytest.raises(ClassifierError, match="no weight file that Foveal reads"):
        read_tensors(b"x", "some.h5")


def test_another_architecture_says_which_names_differ():
    with pytest.raises(ClassifierError) as caught:
        converted("resnet18", random_weights("squeezenet1_1"))
    assert str(caught.value) == (
        "the file holds another architecture: it lacks conv1.weight, bn1.weight, bn1.bias and 99 more; it has also "
        "classifier.1.bias, classifier.1.weight, features.0.bias and 49 more."
    )
    wide = random_weights("squeezenet1_1")
    wide["features.0.bias"] = torch.zeros(65)
    with pytest.raises(ClassifierError, match=r"features.0.bias is \(65,\), not \(64,\)"):
        converted("squeezenet1_1", wide)


def test_numbers_that_are_none_are_refused():
    broken = random_weights("squeezenet1_1")
    broken["features.0.bias"][3] = float("nan")
    with pytest.raises(ClassifierError, match=r"no numbers .* in features.0.bias"):
        converted("squeezenet1_1", broken)


@pytest.mark.parametrize("kind", [torch.int8, torch.int32, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_refused_and_not_converted(kind):
    quantised = random_weights("squeezenet1_1")
    quantised["features.0.bias"] = quantised["features.0.bias"].to(kind)
    name = str(kind).removeprefix("torch.")
    with pytest.raises(ClassifierError, match=rf"the file holds {name} in features.0.bias, which is no weight"):
        converted("squeezenet1_1", quantised)


def test_the_hash_of_the_tests_is_the_one_that_is_used(listed, small_file):
    assert listed(small_file).sha256 == sha256(small_file)
