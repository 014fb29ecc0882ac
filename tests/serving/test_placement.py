"""Where a picture's pixels lie in the network's frame: as `Preprocess.geometry` really puts them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foveal.preprocess import Fit, Interpolation, Preprocess
from foveal.serving.children.heat_map import over_picture
from foveal.serving.children.placement import placed

SIZES = ((64, 64), (200, 90), (90, 200), (31, 57), (640, 480), (7, 300), (32, 48))


def preprocess(fit: Fit, short_side: int = 0, interpolation: Interpolation = "bilinear") -> Preprocess:
    return Preprocess(1, 70, 80, 64, 72, fit, (0.5,), (0.5,), short_side, interpolation)


WAYS = (
    preprocess("letterbox"),
    preprocess("stretch"),
    preprocess("crop"),
    preprocess("crop", 90),
    preprocess("letterbox", interpolation="bicubic"),
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.fit} {way.short_side} {way.interpolation}")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_pixel_lies_where_it_is_said_to(way: Preprocess, size: tuple[int, int]) -> None:
    """Each axis is drawn as a ramp of brightness: its value in the frame tells from where in the picture it came."""
    width, height = size
    where = placed(way, width, height)
    left, top, right, bottom = where.framed
    for axis in (0, 1):
        length = size[axis]
        ramp = np.linspace(20, 250, length)
        pixels = np.tile(ramp, (height, 1)) if axis == 0 else np.tile(ramp[:, None], (1, width))
        frame = way.geometry(Image.fromarray(pixels.round().astype(np.uint8)))[:, :, 0]
        outside = frame.astype(int)
        inside = outside[top:bottom, left:right].copy()
        outside[top:bottom, left:right] = 0
        assert inside.min() > 0 and not outside.any(), "the frame's margin is where it is said to be"
        row = inside.mean(axis=axis)  # along the axis
        start, end = where.seen[axis], where.seen[axis + 2]
        centres = start + (np.arange(len(row)) + 0.5) * (end - start) / len(row)
        expected = np.interp(centres - 0.5, np.arange(length), ramp)
        margin = max(2, len(row) // 8)  # where scaling has no neighbour, it differs
        step = 230 / max(1, length - 1)
        error = np.abs(row - expected)[margin:-margin]
        assert error.size == 0 or error.max() <= 1.5 + 0.6 * step * max(1, (end - start) / len(row))


def test_facts_name_the_whole_picture_and_what_is_seen_of_it() -> None:
    facts = placed(preprocess("crop", 90), 200, 100).to_dict()
    assert facts["scaled_from"] == [200, 100] and facts["scaled_to"] == [180, 90]
    assert facts["seen"] == [60.0, 14.44, 140.0, 85.56]
    assert facts["framed"] == [4, 3, 76, 67]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("way", WAYS[:4], ids=lambda way: f"{way.fit} {way.short_side}")
def test_a_map_comes_back_over_the_picture_and_is_dark_where_nothing_was_looked_at(
    way: Preprocess, size: tuple[int, int]
) -> None:
    where = placed(way, *size)
    shares = np.zeros((70, 80), np.float32)
    left, top, right, bottom = where.framed
    shares[top:bottom, left:right] = 1
    shown = np.asarray(over_picture(shares, where, 1024))
    assert shown.shape == size[::-1]
    inside = np.zeros(shown.shape, bool)
    start, end = (round(one) for one in where.seen[:2]), (max(1, round(one)) for one in where.seen[2:])
    (x0, y0), (x1, y1) = start, end
    inside[y0 : max(y0 + 1, y1), x0 : max(x0 + 1, x1)] = True
    assert (shown[inside] == 255).all() and not shown[~inside].any()
    small = over_picture(shares, where, 20)
    assert max(small.size) <= 20
