"""Images of another place, held against the internal test; several answers to one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import foveal
from foveal.classifier.members import member_probabilities
from foveal.errors import UsageError
from foveal.evaluation.external import independent_difference
from foveal.evaluation.interval import wilson
from scene_pictures import scenes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> foveal.Run:
    out = tmp_path_factory.mktemp("external") / "run"
    return foveal.train("digits", model="lenet5", epochs=2, out=out, progress=False)


def other_place(n: int = 120) -> foveal.Dataset:
    """Digits turned upside down: the same classes, seen otherwise."""
    digits = foveal.load("digits")
    pixels = np.stack([np.asarray(digits.images.picture(row))[::-1] for row in range(n)])
    return foveal.load(pixels, [digits.classes[label] for label in digits.labels[:n].tolist()])


def test_an_external_evaluation_stands_beside_the_internal_one(trained: foveal.Run) -> None:
    before = (trained.path / "metrics.json").read_bytes()
    found = foveal.evaluate(
        trained.path, other_place(), name="upside-down", role="external", recalibrate=True, progress=False
    )
    told = found["external"]
    assert told["internal_n"] == 270
    assert told["difference"]["high"] < 0 and "lower" in told["sentence"]
    assert 0 <= told["drift"]["confidence_p"] <= 1
    assert found["recalibrated"]["measures"]["ece"]["value"] < found["calibration"]["after"]["ece"]["value"]
    assert "not changed" in found["recalibrated"]["sentence"]
    assert (trained.path / "metrics.json").read_bytes() == before


def test_recalibration_is_for_external_images_alone(trained: foveal.Run) -> None:
    with pytest.raises(UsageError, match="external"):
        foveal.evaluate(trained.path, other_place(), recalibrate=True, progress=False)


def test_the_difference_is_newcombes() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table II (a): 56/70 - 48/80, method 10.
    found = independent_difference(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_views_differ_and_are_the_same_again(trained: foveal.Run) -> None:
    classifier = foveal.Classifier.load(trained.path)
    pixels = np.stack([classifier.preprocess.geometry(foveal.load("digits").images.picture(row)) for row in range(8)])
    views = member_probabilities(classifier, pixels, "augment", passes=4)
    assert views.shape == (4, 8, 10)
    assert np.array_equal(views[0], classifier.probabilities(pixels)) and not np.array_equal(views[0], views[1])
    assert np.array_equal(views, member_probabilities(classifier, pixels, "augment", passes=4))


def test_a_network_without_dropout_is_not_asked_with_it(trained: foveal.Run) -> None:
    with pytest.raises(UsageError, match="no dropout"):
        member_probabilities(foveal.Classifier.load(trained.path), np.zeros((1, 32, 32, 1), np.uint8), "dropout")
    with pytest.raises(UsageError, match="training by folds"):
        member_probabilities(foveal.Classifier.load(trained.path), np.zeros((1, 32, 32, 1), np.uint8), "folds")


def test_dropout_is_left_on_and_the_network_as_it_was(tmp_path: Path) -> None:
    run = foveal.train("digits", model="simple_cnn", epochs=1, out=tmp_path / "run", progress=False)
    classifier = foveal.Classifier.load(run.path)
    height, width, channels = classifier.preprocess.height, classifier.preprocess.width, classifier.preprocess.channels
    pixels = np.random.default_rng(0).integers(0, 256, (5, height, width, channels), np.uint8)
    before = classifier.probabilities(pixels)
    passes = member_probabilities(classifier, pixels, "dropout", passes=3)
    assert not np.array_equal(passes[0], passes[1])
    assert np.array_equal(passes, member_probabilities(classifier, pixels, "dropout", passes=3))
    assert np.array_equal(before, classifier.probabilities(pixels))
    found = foveal.evaluate(run.path, other_place(), name="other", members="dropout", progress=False)
    assert found["uncertainty"]["passes"] == 20 and set(found["uncertainty"]["auc"]) >= {"mutual_information"}


def test_altered_copies_of_training_images_are_counted(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    pictures = scenes(90, 48, 5)
    for row, pixels in enumerate(pictures):
        place = home / ("train", "train", "val", "test")[row % 4] / "ab"[row % 3 == 0]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(place / f"{row}.png")
    for row, pixels in enumerate([*pictures[[0, 4, 5, 3]], *scenes(8, 48, 99)]):  # three learnt, one tested, eight new
        (elsewhere / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
        dimmed = Image.fromarray(pixels[..., 0]).point(lambda value: round(0.85 * value)).resize((40, 40))
        dimmed.save(elsewhere / "ab"[row % 2] / f"new{row}.png")
    run = foveal.train(home, model="mlp", epochs=1, size=(32, 32), out=tmp_path / "run", progress=False)
    found = foveal.evaluate(run.path, elsewhere, role="external", progress=False)
    assert "3 of 12 images show a picture that served training or validation" in found["note"]
    assert "so the figures are too good" in Path(found["page"]).read_text("utf-8")
    home.rename(tmp_path / "moved")
    found = foveal.evaluate(run.path, elsewhere, name="again", role="external", progress=False)
    assert "Near copies of training images were not looked for" in found["note"]
