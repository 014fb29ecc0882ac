"""Networks of timm, by `timm:NAME`."""

from __future__ import annotations

import pytest
import torch

from foveal.errors import MissingPartError, UsageError
from foveal.models.catalog import create_model, find
from foveal.models.foreign import timm_network


def test_a_network_of_timm_is_timms(timm):
    torch.manual_seed(0)
    network = create_model("timm:resnet10t", classes=5, channels=1, size=(64, 48))
    torch.manual_seed(0)
    own = timm.create_model("resnet10t", num_classes=5, in_chans=1)
    x = torch.randn(2, 1, 64, 48)
    assert torch.equal(network.eval()(x), own.eval()(x))
    modules = dict(network.named_modules())
    assert list(network.stages) == ["act1", "layer1", "layer2", "layer3", "layer4"]
    assert all(place in modules for place in network.stages.values())


def test_what_timm_says_of_a_network(timm):
    entry = find("timm:convnext_atto")
    assert (entry.native_input, entry.native_size, entry.native_classes) == ((3, 224, 224), (224, 224), 1000)
    assert find("timm:inception_v3").native_size == (299, 299)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mobilenetv3_small_050", "convnext_atto.d2_in1k"])
def test_other_families_of_timm(timm, name):
    network = create_model(f"timm:{name}", classes=4, size=(64, 64), options={"drop_rate": "0.1"})
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 4)
    assert network.stages


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("timm:resnet10", {}, 'timm has no network "resnet10". Did you mean "resnet1'),
        ("timm:resnet10t.nonsense", {}, 'timm has no "resnet10t.nonsense": Invalid pretrained tag (nonsense)'),
        ("timm:hf-hub:somebody/model", {}, 'timm has no network "hf-hub:somebody/model".'),
        ("timm:resnet10t", {"depth": 3}, "timm cannot make resnet10t so: TypeError: "),
        ("timm:resnet10t", {"pretrained": "true"}, "option pretrained is not offered here; weights are drawn anew."),
        ("timm:resnet10t", {"checkpoint-path": "x.pth"}, "option checkpoint_path is not offered here"),
    ],
)
def test_one_sentence_for_what_timm_has_not(timm, name, options, says):
    with pytest.raises(UsageError) as caught:
        create_model(name, classes=3, options=options)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ModuleNotFoundError("No module named 'timm'", name="timm"),
            "need timm, which is not installed: pip install 'foveal[timm]'",
        ),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "nms does not exist); it needs the build of torchvision that belongs to torch",
        ),
    ],
)
def test_one_sentence_without_timm(monkeypatch, error, says):
    def fail(name: str):
        raise error

    monkeypatch.setattr(timm_network.importlib, "import_module", fail)
    with pytest.raises(MissingPartError) as caught:
        find("timm:resnet18")
    assert says in str(caught.value) and "\n" not in str(caught.value)
