"""The words, the drawings, the matrix and the thumbnails, each alone."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from foveal.report import confusion, curves, wording
from foveal.report.results import Answer, Scores
from foveal.report.thumbnails import MOST_CHARACTERS, make_thumbnails
from foveal.training.history import EpochRow
from foveal.web import curves as drawing
from foveal.web import svg
from foveal.web.thumbnails import thumbnail


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.981, "98.1\xa0%"),
        (1.0, "100.0\xa0%"),
        (0.99999, ">99.9\xa0%"),
        (0.0, "0.0\xa0%"),
        (1e-6, "<0.1\xa0%"),
        (None, "–"),
    ],
)
def test_percent_never_rounds_to_all_or_nothing(share, said) -> None:
    assert wording.percent(share) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.42, "0.4 s"),
        (42, "42 s"),
        (83, "1 min 23 s"),
        (59.7, "1 min 0 s"),
        (7500, "2 h 5 min"),
        (3599.6, "1 h 0 min"),
    ],
)
def test_duration(seconds, said) -> None:
    assert wording.duration(seconds) == said


def test_counts_and_moments() -> None:
    assert wording.counted(1, "image") == "1 image"
    assert wording.counted(12345, "class", "classes") == "12,345 classes"
    assert wording.moment("2026-11-21T21:50:00+01:00") == "21 November 2026, 20:50 UTC"
    assert wording.moment("yesterday") == "yesterday"


def test_nested_choices_become_flat_rows() -> None:
    assert wording.flat({"a": 1, "b": {"c": True, "d": []}}) == [("a", "1"), ("b.c", "yes"), ("b.d", "–")]


def test_printable_replaces_what_xml_or_the_eye_cannot_take() -> None:
    assert svg.printable("a\x00b\u202ec\udce9é") == "a\ufffdb\ufffdc\ufffdé"


def test_an_element_escapes_text_and_attributes() -> None:
    drawn = svg.element("text", "<b>", class_="a", text_anchor='"x"', x=1.50)
    assert drawn == '<text class="a" text-anchor="&#34;x&#34;" x="1.5">&lt;b&gt;</text>'


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.31), (0.98, 1.0), (0.0, 0.0), (0.1, 0.1), (0.0, 1e-9), (0.0, 1e9)])
def test_ticks_are_few_and_enclose(low, high) -> None:
    drawn = svg.ticks(low, high)
    assert drawn[0] <= low
    assert drawn[-1] >= high
    assert 2 <= len(drawn) <= 8


@pytest.mark.parametrize("last", [1, 2, 7, 20, 500])
def test_curves_stay_inside_their_frame(last) -> None:
    history = [EpochRow(n, 1 / n, 1 - 0.5 / n, 1.1 / n, 1 - 0.6 / n, 0.01, 1.0, 100.0, 0) for n in range(1, last + 1)]
    for panel in curves.panels(history, last):
        for values in (panel.train, panel.validation):
            assert all(drawing.TOP - 1 <= panel.y(value) <= drawing.HEIGHT - drawing.BOTTOM + 1 for value in values)
        assert all(drawing.LEFT <= panel.x(n) <= drawing.WIDTH - drawing.RIGHT for n in panel.epochs)
    assert len(curves.readings(history)) == last


def test_a_loss_that_is_not_a_number_leaves_a_gap() -> None:
    history = [
        EpochRow(1, 1.0, 0.5, float("nan"), 0.5, 0.1, 1.0, 100.0, 0),
        EpochRow(2, 0.5, 0.6, 0.7, 0.6, 0.1, 1.0, 100.0, 1),
    ]
    assert "nan" not in curves.curves_figure(curves.panels(history, 2), "")


def scores(matrix: list[list[int]]) -> Scores:
    names = tuple("abcdefgh"[: len(matrix)])
    return Scores(sum(map(sum, matrix)), None, None, None, (), tuple(map(tuple, matrix)), names, "")


def test_pairs_come_by_images_then_by_share_of_their_row() -> None:
    assert confusion.confused_pairs(scores([[90, 3, 0], [3, 1, 0], [0, 4, 1]])) == [(2, 1), (1, 0), (0, 1)]


def test_shading_grows_with_the_share_of_the_row() -> None:
    shades = [confusion.shading(number, 100) for number in (0, 1, 3, 10, 30, 60, 100)]
    assert shades == [0, 1, 2, 3, 4, 5, 6]
    assert confusion.shading(0, 0) == 0


def test_an_answer_with_an_unknown_class_is_in_no_cell() -> None:
    cells = confusion.images_by_cell(scores([[1, 0], [0, 0]]), [Answer("1", "a", "a", 0.9), Answer("2", "a", "z", 0.9)])
    assert list(cells) == [(0, 0)]


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [((8, 8), "L", (8, 8)), ((96, 40), "RGB", (96, 40)), ((3000, 1000), "RGB", (96, 32)), ((10, 4000), "L", (1, 96))],
)
def test_thumbnails_shrink_and_never_grow(size, mode, expected) -> None:
    picture = Image.new(mode, size, 7 if mode == "L" else (1, 2, 3))
    made = thumbnail(picture)
    assert (made.width, made.height) == expected
    assert picture.size == size
    stored = Image.open(io.BytesIO(base64.b64decode(made.address.partition(",")[2])))
    assert stored.size == expected


def test_thumbnails_stop_when_the_page_is_full() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    made = make_thumbnails(map(str, range(3000)), lambda record_id: Image.fromarray(noise))
    one = len(next(iter(made.values())).address)
    assert MOST_CHARACTERS <= one * len(made) < MOST_CHARACTERS + one
    assert list(made)[:2] == ["0", "1"]
