"""The table of published weights, held against torchvision's and timm's own, and their preprocessing byte for byte."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.errors import UsageError
from foveal.models.catalog import checked_options, find
from foveal.models.weights import pretrained
from foveal.models.weights.published import PUBLISHED, imagenet_classes, known_by, published_for
from foveal.models.weights.timm_files import MODELS, TIMM
from foveal.models.weights.torchvision_files import FULL, TORCHVISION
from installed import photograph_file

MODEL_NAMES = {ours: theirs for theirs, ours in MODELS.items()}


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    return [Image.open(photograph_file(name)).convert("RGB") for name in ("chelsea", "coffee")]


def test_every_architecture_with_weights_has_one_default_and_options_that_it_takes():
    for model in {one.model for one in PUBLISHED.values()}:
        known = published_for(model)
        assert [one.default for one in known] == [True] + [False] * (len(known) - 1), model
        for one in known:
            assert checked_options(find(model), one.options) == dict(one.options), one.name
            assert one.preprocess().channels == 3 and one.preprocess(1).channels == 1
            assert all(url.startswith("https://") for url in one.urls) and one.urls
            assert one.licence


def test_a_pickle_of_the_catalog_always_has_a_hash():
    for one in PUBLISHED.values():
        assert one.file.endswith(".safetensors") or len(one.sha256) in (8, 64)
    assert all(known_by(one) is not None for one in FULL)
    assert known_by("0" * 64) is None


def test_torchvision_says_the_same_of_its_files(torchvision):
    theirs = {}
    for model in {one.model for one in TORCHVISION}:
        for weights in torchvision.models.get_model_weights(model):
            theirs[f"{model}.{weights.name.lower()}"] = weights
    assert theirs.keys() == {one.name for one in TORCHVISION}
    for one in TORCHVISION:
        weights = theirs[one.name]
        metrics = weights.meta["_metrics"]["ImageNet-1K"]
        assert one.urls == (weights.url,) and weights.url.endswith(one.file)
        assert one.sha256.startswith(one.file.rsplit("-", 1)[1].removesuffix(".pth"))
        for ours, key in ((one.top1, "acc@1"), (one.top5, "acc@5")):
            assert ours == metrics[key] or (ours is None and math.isnan(metrics[key]))
        assert one.default == (weights is type(weights).DEFAULT), one.name
        transform = weights.transforms()
        assert (transform.crop_size, transform.resize_size) == ([one.size], [one.short_side])
        assert transform.interpolation.value == one.interpolation
        assert np.allclose([*transform.mean, *transform.std], [*one.mean, *one.std], atol=1e-6)


def test_timm_says_the_same_of_its_files(timm):
    for one in TIMM:
        config = timm.get_pretrained_cfg(one.file.removesuffix(".safetensors"))
        assert one.urls == (f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors",)
        assert config.num_classes == 1000 and config.label_offset is None
        assert (one.size, one.size) == tuple(config.input_size[1:])
        assert one.short_side == math.floor(one.size / config.crop_pct)
        assert (one.fit == "stretch") == (config.crop_mode == "squash")
        assert (one.interpolation, one.mean, one.std) == (config.interpolation, config.mean, config.std)
        said = {"apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "cc-by-nc-4.0": "CC-BY-NC-4.0"}
        assert one.licence.startswith(said[config.license])


def test_torchvisions_preprocessing_byte_for_byte(torchvision, pictures):
    transforms = torchvision.transforms
    for name in {one.preprocess(): one for one in TORCHVISION}.values():
        ours = name.preprocess()
        model, tag = name.model, name.tag.upper()
        preset = torchvision.models.get_model_weights(model)[tag].transforms()
        for picture in pictures:
            resized = transforms.functional.resize(
                picture, preset.resize_size, interpolation=preset.interpolation, antialias=True
            )
            theirs = transforms.functional.center_crop(resized, preset.crop_size)
            pixels = ours.geometry(picture)
            assert np.array_equal(pixels, np.asarray(theirs)), name.name
            tensor = ours.normalise(torch.from_numpy(pixels[None].copy()))[0]
            assert torch.allclose(tensor, preset(picture), atol=1e-5, rtol=1e-5)


def test_timms_preprocessing_byte_for_byte(timm, pictures):
    from timm.data import create_transform, resolve_data_config

    for one in {one.preprocess(): one for one in TIMM}.values():
        config = timm.get_pretrained_cfg(one.file.removesuffix(".safetensors")).to_dict()
        steps = create_transform(**resolve_data_config({}, pretrained_cfg=config)).transforms
        geometry, normalise = steps[:-2], steps[-2:]
        for picture in pictures:
            theirs = picture
            for step in geometry:
                theirs = step(theirs)
            pixels = one.preprocess().geometry(picture)
            assert np.array_equal(pixels, np.asarray(theirs)), one.name
            for step in normalise:
                theirs = step(theirs)
            tensor = one.preprocess().normalise(torch.from_numpy(pixels[None].copy()))[0]
            assert torch.allclose(tensor, theirs, atol=1e-5, rtol=1e-5)


def test_the_classes_are_imagenets(torchvision):
    names = imagenet_classes()
    assert len({name.lower() for name in names}) == len(names) == 1000
    theirs = torchvision.models.AlexNet_Weights.DEFAULT.meta["categories"]
    assert [(a, b) for a, b in zip(names, theirs, strict=True) if a != b] == [("Cardigan Welsh corgi", "Cardigan")]


def test_a_tag_is_found_under_its_names():
    assert pretrained("resnet50") == pretrained("resnet50", "default") == pretrained("ResNet50", "IMAGENET1K-V2")
    assert pretrained("resnet50.a1_in1k") == pretrained("resnet50", "a1_in1k")
    assert pretrained("resnet50").protocol == (
        "ImageNet-1k validation, one crop, short side 232, centre 224; torchvision's figures"
    )


@pytest.mark.parametrize(
    ("name", "tag", "says"),
    [
        (
            "resnet18",
            "imagenet1k_v2",
            'no weights "imagenet1k_v2" for resnet18. Did you mean "imagenet1k_v1"? There are:',
        ),
        ("lenet5", None, "There are no published weights for lenet5"),
        ("../../x", None, 'There is no model "../../x".'),
        ("resnet51", None, 'There is no model "resnet51". Did you mean "resnet5'),
    ],
)
def test_an_unknown_name_is_told_what_there_is(name, tag, says):
    with pytest.raises(UsageError, match="no") as caught:
        pretrained(name, tag)
    assert says in str(caught.value)
