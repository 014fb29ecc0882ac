"""Weights in a network for other classes and for grey images, and what torchvision's own loading does beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save as make_safetensors
from weight_files import pth, random_weights, shaken

import foveal
from foveal.errors import ClassifierError, UsageError
from foveal.models.catalog import create_model
from foveal.models.weights import pretrained
from foveal.models.weights.adapting import options_for
from foveal.models.weights.adding import add
from foveal.preprocess import Preprocess


@pytest.fixture
def kept(tmp_path):
    """Return a function that keeps random weights of a model as ``MODEL.mine``, and returns them."""

    def keep(model, **options):
        tensors = random_weights(model, seed=2, **options)
        file = tmp_path / f"{model}.safetensors"
        file.write_bytes(make_safetensors(tensors))
        add(file, as_name=f"{model}.mine")
        return tensors

    return keep


def test_another_number_of_classes_gets_a_new_last_layer(kept):
    tensors = kept("mobilenet_v3_small")
    torch.manual_seed(5)
    network = create_model("mobilenet_v3_small", pretrained="mine", classes=5)
    for name, own in network.state_dict().items():
        if name == "classifier.3.weight":
            assert own.shape == (5, 1024) and 0.009 < own.std() < 0.011
        elif name == "classifier.3.bias":
            assert own.tolist() == [0.0] * 5
        else:
            assert torch.equal(own, tensors[name]), name
    torch.manual_seed(5)
    again = create_model("mobilenet_v3_small", pretrained="mine", classes=5)
    assert torch.equal(again.state_dict()["classifier.3.weight"], network.state_dict()["classifier.3.weight"])


def test_a_grey_network_answers_as_the_colour_network_on_three_equal_channels(kept):
    kept("squeezenet1_1")
    grey = create_model("squeezenet1_1", pretrained="mine", channels=1).eval()
    colour = create_model("squeezenet1_1", pretrained="mine").eval()
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(grey(x), colour(x.expand(2, 3, 64, 64)), atol=1e-5, rtol=1e-5)
    with pytest.raises(UsageError, match=r"colour \(3\) or grey \(1\) images, not for 4"):
        create_model("squeezenet1_1", pretrained="mine", channels=4)


def test_grey_preprocessing_is_near_the_colour_path_and_equal_where_mean_and_deviation_are():
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    for name, apart in (("resnet18", 0.25), ("efficientnet_lite0", 1e-6)):
        weights = pretrained(name)
        grey = weights.preprocess(1).normalise(ramp)
        colour = weights.preprocess(3).normalise(ramp.expand(1, 16, 16, 3))
        assert (grey - colour).abs().max() <= apart, name


def test_torchvisions_googlenet_with_its_transform(torchvision, tmp_path, listed):
    """torchvision turns transform_input on with its weights: a load by hand must, too; and aux heads are dropped."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False, transform_input=True)
    content = pth(shaken(theirs))
    (tmp_path / "g.pth").write_bytes(content)
    listed(content, "googlenet.imagenet1k_v1")
    assert add(tmp_path / "g.pth")[0].auxiliary
    ours = create_model("googlenet", pretrained=True, size=(64, 64)).eval()
    assert ours.auxiliary == ()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)
    with_heads = create_model("googlenet", pretrained=True, options={"auxiliary": True})
    assert torch.equal(with_heads.state_dict()["aux1.fc2.weight"], theirs.state_dict()["aux1.fc2.weight"])
    with pytest.raises(UsageError, match="need transform_input=True, not False"):
        create_model("googlenet", pretrained=True, options={"transform_input": False})


def test_grey_images_of_a_network_that_transforms_its_input_see_the_same(listed, tmp_path):
    content = pth(random_weights("googlenet"))
    (tmp_path / "g.pth").write_bytes(content)
    weights = listed(content, "googlenet.imagenet1k_v1")
    add(tmp_path / "g.pth")
    assert options_for(weights, 1, {})["transform_input"] is False
    pixels = torch.randint(0, 256, (1, 64, 64, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def answer(channels: int) -> torch.Tensor:
        network = create_model("googlenet", pretrained=True, channels=channels, size=(64, 64)).eval()
        with torch.inference_mode():
            return network(weights.preprocess(channels).normalise(pixels.expand(1, 64, 64, channels)))

    assert torch.allclose(answer(1), answer(3), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_weights_without_a_head_are_for_training_only(listed, tmp_path):
    content = pth(random_weights("vgg16"))
    (tmp_path / "v.pth").write_bytes(content)
    listed(content, "vgg16.imagenet1k_features")
    add(tmp_path / "v.pth")
    with pytest.raises(UsageError, match="has no layers that answer with classes"):
        foveal.Classifier.pretrained("vgg16", "imagenet1k_features")
    network = create_model("vgg16", pretrained="imagenet1k_features", classes=4)
    assert network.state_dict()["classifier.6.weight"].shape == (4, 4096)


def test_a_classifier_of_published_weights_is_one_like_any_other(kept, tmp_path):
    kept("squeezenet1_1")
    classifier = foveal.Classifier.pretrained("squeezenet1_1", "mine", device="cpu", progress=False)
    assert len(classifier.classes) == 1000
    assert classifier.preprocess == pretrained("squeezenet1_1").preprocess()
    assert classifier.provenance["weights"] == "squeezenet1_1.mine" and classifier.provenance["source"] == "by hand"
    classifier.save(tmp_path / "c")
    loaded = foveal.Classifier.load(tmp_path / "c", device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    assert loaded.predict(picture)[0].probabilities == classifier.predict(picture)[0].probabilities
    assert loaded.preprocess == Preprocess(
        3, 224, 224, 224, 224, "crop", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), short_side=256
    )


def test_weights_that_are_not_here_are_not_made_up():
    with pytest.raises(ClassifierError, match="foveal weights fetch resnet18"):
        from foveal.models.weights.cache import load

        load(pretrained("resnet18"))
