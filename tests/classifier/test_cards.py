"""Predictions and classifiers in a notebook."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from card_reading import Card
from foveal.classifier.prediction import Prediction, Predictions
from small_classifiers import make_classifier

HOSTILE = ("<script>alert(1)</script>", "a\"b'c onerror=alert(2)", "\u202eevil")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "<photo>.png"
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(path)
    return path


def test_predictions_are_a_list_that_shows_its_images():
    images = np.random.default_rng(0).integers(0, 256, (30, 20, 18)).astype(np.uint8)
    said = make_classifier().predict(images)
    assert isinstance(said, list)
    card = Card(said._repr_html_())
    assert len(card.images) == 24
    assert "30 predictions" in card.text
    assert "and 6 more" in card.text
    part = Card(said[5:7]._repr_html_())
    assert [one["alt"] for one in part.images] == ["the image #5", "the image #6"]
    assert part.images[0]["src"] == card.images[5]["src"]
    alone = Card(said[3]._repr_html_())
    assert not alone.images
    assert f"{said[3].label}{said[3].probability:.1%}" in alone.text
    assert pickle.loads(pickle.dumps(said)) == said


def test_a_picture_is_shown_only_while_it_is_the_one_that_was_predicted(photo):
    one = make_classifier().predict(photo)[0]
    assert len(Card(one._repr_html_()).images) == 1
    Image.new("L", (20, 20), 9).save(photo)
    assert not Card(one._repr_html_()).images
    photo.unlink()
    assert photo.name in Card(one._repr_html_()).text
    image = np.zeros((20, 18), np.uint8)
    said = make_classifier().predict([image])
    image[:] = 255
    assert not Card(said._repr_html_()).images


def test_probabilities_are_never_rounded_to_certainty():
    one = Prediction("a", 0.99996, {"a": 0.99996, "b": 0.00004, "c": 0.0}, "#0", "", "")
    assert "a>99.9% b<0.1% c0.0%" in Card(one._repr_html_()).text


def test_hostile_names_are_shown_as_text():
    classifier = replace(make_classifier(), classes=HOSTILE, provenance={"dataset": HOSTILE[0], "train_images": 3})
    for drawn in (classifier, classifier.predict(np.zeros((20, 18), np.uint8))):
        card = Card(drawn._repr_html_())
        assert HOSTILE[0] in card.text
        assert "\u202e" not in card.html


def test_a_classifier_shows_what_it_is():
    card = Card(make_classifier(channels=3)._repr_html_())
    for words in (
        "Simple CNN",
        "colour, 16×16 in 20×18",
        "3 classes: apple, lime, plum",
        "not saved yet",
        "trained on",
    ):
        assert words in card.text
    assert len(card.html) < 30_000


def test_nothing_to_show_is_no_error():
    assert "0 predictions" in Card(Predictions()._repr_html_()).text
