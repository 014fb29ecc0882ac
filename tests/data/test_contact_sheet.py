"""A dataset in a notebook: its card says what is there, stays small, and nothing in it acts."""

from __future__ import annotations

import numpy as np
import pytest

import foveal
from card_reading import Card
from foveal.data.contact_sheet import MOST_CLASSES, notebook_card, strips
from foveal.data.dataset import Dataset
from foveal.data.summary import summarise
from foveal.progress import Progress

HOSTILE = ("<script>alert(1)</script>", "a\"b'c onerror=alert(2)", "\u202eevil", "été & co")


def photos(rng: np.random.Generator, count: int, classes: tuple[str, ...], side: int = 8) -> Dataset:
    pixels = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return foveal.load(pixels, np.arange(count) % len(classes), classes=classes)


def test_every_class_is_there_with_its_images(class_folders):
    card = Card(foveal.load(class_folders)._repr_html_())
    for name in ("apple", "lime", "plum"):
        assert f"{name}12 images" in card.text
        assert sum(f"of {name}: {name}/" in one["alt"] for one in card.images) == 8
    assert "36 images in 3 classes" in card.text
    assert "20×24 (height × width)" in card.text


def test_hostile_names_are_shown_as_text():
    card = Card(photos(np.random.default_rng(0), 16, HOSTILE)._repr_html_())
    assert "<script>alert(1)</script>" in card.text
    assert "\u202e" not in card.html
    assert len(card.images) == 16


@pytest.mark.parametrize(("classes", "side", "count"), [(1000, 16, 4000), (12, 200, 120)])
def test_a_card_stays_small(classes, side, count):
    """Noise is the worst case: nothing in it can be compressed."""
    dataset = photos(np.random.default_rng(0), count, tuple(f"class {number:04d}" for number in range(classes)), side)
    html = notebook_card(dataset)
    assert len(html) < 500_000
    card = Card(html)
    shown = {one["alt"].split(":")[0] for one in card.images}
    assert len(shown) == min(classes, MOST_CLASSES)
    if classes > MOST_CLASSES:
        assert "class 0012 4, " in card.text
        assert f"and {classes - MOST_CLASSES - 60:,} classes more" in card.text


def test_nothing_but_the_shown_images_is_read(class_folders, monkeypatch):
    dataset = foveal.load(class_folders)
    monkeypatch.setattr(type(dataset.images), "scan", lambda *_: pytest.fail("every image was read"))
    dataset._repr_html_()


def test_images_that_cannot_be_read_are_said(class_folders):
    (class_folders / "apple" / "00.png").write_bytes(b"no image")
    card = Card(foveal.load(class_folders)._repr_html_())
    assert card.text.count("cannot be read") == 1
    assert len(card.images) == 23


def test_pictures_are_spread_over_a_class_and_dealt_in_turn():
    dataset = photos(np.random.default_rng(0), 90, ("a", "b"))
    found = strips(dataset, per_class=4, most_characters=10**9, progress=Progress(silent=True))
    assert [one.record_id for one in found[0].pictures] == ["000000", "000030", "000058", "000088"]
    few = strips(dataset, per_class=40, most_characters=1, progress=Progress(silent=True))
    assert [len(one.pictures) for one in few] == [32, 32]  # the first 64, turn by turn


def test_the_summary_counts_what_the_columns_say():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 4, 5)).astype(np.uint8)
    dataset = foveal.load(
        pixels, ["a", "b", "a", "b", "a", "a"],
        groups=["p", "p", "q", None, "q", "r"], sources=["x", "y", "x", "x", "", "x"],
        splits=["train", "test", "train", "train", "test", "train"],
    )  # fmt: skip
    found = summarise(dataset, dataset.scan)
    first, second = found.classes
    assert (first.images, first.groups, first.splits) == (4, 3, {"train": 3, "test": 1})
    assert (second.images, second.groups, second.sources) == (2, 1, {"x": 1, "y": 1})
    assert (found.groups, found.ungrouped) == (3, 1)
    assert found.sources == {"x": 4, "(unknown)": 1, "y": 1}
    assert dict(found.facts()) == {
        "sizes": "4×5 (height × width)",
        "channels": "grey",
        "splits": "train 4, test 2",
        "groups": "3, and 1 images without",
        "sources": "x 4, (unknown) 1, y 1",
        "unreadable": "none",
    }
