"""The shortcut view: zones by hand, shares beside areas, streaming, and what is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from foveal.errors import UsageError
from foveal.explanation.shortcuts import ShortcutTally, picture_box, text_marks, zones_of
from foveal.preprocess import Preprocess

SIDE = 50


def dark(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(20, 90, (count, SIDE, SIDE, 1), dtype=np.uint8)


def tally_of(pixels, maps, numbers, parts=1):
    tally = ShortcutTally(("normal", "covid-19"))
    for rows in np.array_split(np.arange(len(maps)), parts):
        tally.add(pixels[rows], maps[rows], numbers[rows])
    return tally.view()


def test_zones_by_hand():
    zones = zones_of(dark(1)[0])
    assert zones["border"].mean() == pytest.approx(0.36)
    assert zones["corners"].mean() == pytest.approx(0.16)
    assert not zones["text"].any()
    assert not zones["padding"].any()
    framed = zones_of(dark(1)[0], (10, 0, 40, 50))
    assert framed["padding"].sum() == 20 * 50
    assert not (framed["padding"] & (framed["border"] | framed["corners"])).any()
    assert framed["border"][10:13].all()


@pytest.mark.parametrize("fit", ["letterbox", "crop", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(30, 30), (61, 20), (20, 61), (97, 96), (1, 300)])
def test_the_picture_lies_where_preprocessing_puts_it(fit, height, width):
    preprocess = Preprocess(1, 36, 32, 28, 30, fit, (0.5,), (0.5,))
    white = preprocess.geometry(Image.new("L", (width, height), 255))
    top, left, bottom, right = picture_box(preprocess, height, width)
    wanted = np.zeros_like(white)
    wanted[top:bottom, left:right] = 255
    np.testing.assert_array_equal(white, wanted)


def test_text_marks_are_letters_at_the_edge_and_nothing_else():
    picture = Image.fromarray(np.random.default_rng(1).integers(60, 120, (224, 224), dtype=np.uint8))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(16)
    draw.text((8, 6), "L  AP", fill=255, font=font)
    draw.text((100, 104), "R", fill=255, font=font)  # in the middle: left alone
    draw.rectangle((150, 170, 223, 223), fill=250)  # large
    draw.line((40, 216, 130, 216), fill=255)  # long
    found = text_marks(np.asarray(picture)[..., None])
    assert found[6:24, 8:60].mean() > 0.4
    found[2:28, 2:66] = False
    assert not found.any()


def test_shares_stand_beside_areas_and_what_exceeds_them_is_flagged():
    count = 40
    chance = np.random.default_rng(2)
    maps = chance.random((count, SIDE, SIDE)).astype(np.float32)
    numbers = np.arange(count) % 2
    maps[numbers == 1, :10, :10] += 20  # covid-19: in one corner
    maps[0] = -1  # nothing spoke for the class
    view = tally_of(dark(count), maps, numbers, parts=3)
    normal, covid = view.classes
    assert (normal.label, normal.n, normal.silent, covid.silent) == ("normal", 20, 1, 0)
    shares = {zone.zone: zone for zone in normal.zones}
    assert [*shares] == ["border", "corners"]  # no image has the others
    assert shares["border"].share.n == 19
    assert shares["border"].share.low < 0.36 < shares["border"].share.high
    assert shares["border"].ratio.value == pytest.approx(1, abs=0.02)
    corner = next(zone for zone in covid.zones if zone.zone == "corners")
    positive = maps[numbers == 1].astype(float)
    wanted = positive[:, zones_of(dark(1)[0])["corners"]].sum(axis=1) / positive.sum(axis=(1, 2))
    assert corner.share.value == pytest.approx(wanted.mean())
    assert ("covid-19", "corners") in view.flagged
    assert all(label == "covid-19" for label, _ in view.flagged)
    assert f"covid-19: {100 * corner.share.value:.0f} % (" in "".join(view.findings)
    assert covid.findings()[0].endswith("what the area explains: it may be a shortcut.")
    assert "36 % of the image (n = 19)." in normal.findings()[0]
    assert json.loads(json.dumps(view.to_dict()))["classes"][1]["zones"][0]["zone"] == "border"


def test_mean_maps_count_each_image_alike_and_batches_do_not_matter():
    maps = np.random.default_rng(3).normal(size=(8, SIDE, SIDE))
    numbers = np.zeros(8, np.int64)
    whole, parts = tally_of(dark(8), maps, numbers), tally_of(dark(8), maps * 7, numbers, parts=4)
    view, other = whole.classes[0], parts.classes[0]
    np.testing.assert_allclose(view.signed, other.signed)
    np.testing.assert_allclose(view.unsigned.mean(), 1)
    np.testing.assert_allclose(view.signed, np.mean([one / np.abs(one).mean() for one in maps], axis=0))
    assert whole.findings == parts.findings == tally_of(dark(8), maps, numbers).findings


def test_what_lies_on_padding_is_a_finding():
    maps = np.ones((12, SIDE, SIDE))
    maps[:, :10] = 9

    def view_of(count):
        tally = ShortcutTally(("normal", "covid-19"))
        tally.add(dark(count), maps[:count], np.ones(count, np.int64), boxes=[(10, 0, 40, SIDE)] * count)
        return tally.view()

    assert not view_of(9).flagged  # too few to be sure
    view = view_of(12)
    assert ("covid-19", "padding") in view.flagged
    assert "on the black bars of the padding, which are 40 % of the image" in view.findings[0]


def test_what_is_refused():
    tally = ShortcutTally(("normal",))
    maps, numbers = np.ones((2, SIDE, SIDE)), np.zeros(2, np.int64)
    with pytest.raises(UsageError, match="do not match"):
        tally.add(dark(2)[..., 0], maps, numbers)
    with pytest.raises(UsageError, match="not finite"):
        tally.add(dark(2), maps * np.nan, numbers)
    tally.add(dark(2), maps, numbers)
    with pytest.raises(UsageError, match=r"have been \(50, 50\) until now"):
        tally.add(dark(2)[:, :40], maps[:, :40], numbers)
