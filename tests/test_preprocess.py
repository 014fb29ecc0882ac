"""Geometry, normalisation and the stored form of a Preprocess."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.errors import UsageError
from foveal.preprocess import Preprocess, array_picture

FITS = ("letterbox", "crop", "stretch")

ADDED = {"short_side", "interpolation"}  # since 0.1.0, with defaults that change nothing


def preprocess(channels: int = 1, frame: int = 32, content: int | None = None, fit: str = "letterbox") -> Preprocess:
    content = frame if content is None else content
    return Preprocess(channels, frame, frame, content, content, fit, (0.5,) * channels, (0.25,) * channels)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def test_mnist_in_its_frame_keeps_every_pixel() -> None:
    images = noise(5, 28, 28, 1)
    framed = preprocess(content=28).geometry_of_arrays(images)
    assert framed.shape == (5, 32, 32, 1)
    assert np.array_equal(framed[:, 2:30, 2:30], images)
    framed[:, 2:30, 2:30] = 0
    assert not framed.any()


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    box=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    margin=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    channels=st.sampled_from([(1, 1), (1, 3), (3, 1), (3, 3)]),
    fit=st.sampled_from(FITS),
)
def test_arrays_and_pictures_go_the_same_way(
    size: tuple[int, int], box: tuple[int, int], margin: tuple[int, int], channels: tuple[int, int], fit: str
) -> None:
    given_channels, wanted = channels
    frame = (box[0] + margin[0], box[1] + margin[1])
    geometry = Preprocess(wanted, *frame, *box, fit, (0.0,) * wanted, (1.0,) * wanted)
    images = noise(2, *size, given_channels)
    together = geometry.geometry_of_arrays(images)
    assert together.shape == (2, *frame, wanted)
    assert together.dtype == np.uint8
    for image, result in zip(images, together, strict=True):
        assert np.array_equal(geometry.geometry(array_picture(image)), result)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
def test_lines_and_points_fit_too(fit: str, size: tuple[int, int]) -> None:
    line = preprocess(fit=fit).geometry(Image.new("L", size, 255))
    assert line.shape == (32, 32, 1)
    assert line.any()


def test_letterbox_keeps_the_proportions_and_leaves_black_bars() -> None:
    result = preprocess(fit="letterbox").geometry(Image.new("L", (60, 30), 255))[..., 0]
    assert (result[8:24] == 255).all()
    assert not result[:8].any()
    assert not result[24:].any()


def test_crop_shows_the_centre_and_stretch_shows_all() -> None:
    thirds = np.repeat(np.array([[50, 150, 250]], np.uint8), 32, axis=1).repeat(32, axis=0)[..., None]  # (32, 96, 1)
    cropped = preprocess(fit="crop").geometry_of_arrays(thirds[None])[0, ..., 0]
    assert (cropped == 150).all()
    stretched = preprocess(fit="stretch").geometry_of_arrays(thirds[None])[0, ..., 0]
    assert [int(np.median(stretched[:, column])) for column in (2, 16, 29)] == [50, 150, 250]


def test_colour_becomes_grey_by_luma_and_grey_becomes_colour_by_repetition() -> None:
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    assert (preprocess(1).geometry(red) == 76).all()  # 0.299 · 255, ITU-R 601-2
    grey = preprocess(3).geometry(Image.new("L", (32, 32), 9))
    assert grey.shape == (32, 32, 3)
    assert (grey == 9).all()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    fit=st.sampled_from(["letterbox", "crop", "stretch"]),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    short_side=st.sampled_from([0, 40]),
)
def test_grey_is_fitted_as_the_same_picture_in_colour(
    size: tuple[int, int], fit: Any, interpolation: Any, short_side: int
) -> None:
    rng = np.random.default_rng(size[0] * 100 + size[1])
    picture = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
    short_side = short_side if fit == "crop" else 0
    preprocess = Preprocess(
        3, 32, 36, 32, 36, fit, (0.5,) * 3, (0.5,) * 3, short_side=short_side, interpolation=interpolation
    )
    assert np.array_equal(preprocess.geometry(picture), preprocess.geometry(picture.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_against_numpy(channels: int) -> None:
    pixels = noise(4, 5, 7, channels)
    mean, std = (0.1, 0.5, 0.9)[:channels], (0.2, 0.3, 0.4)[:channels]
    kept = pixels.copy()
    x = Preprocess(channels, 5, 7, 5, 7, "crop", mean, std).normalise(torch.from_numpy(pixels))
    expected = (pixels / 255 - np.array(mean)) / np.array(std)
    assert x.shape == (4, channels, 5, 7)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(x.permute(0, 2, 3, 1).numpy() - expected).max() < 1e-5
    assert np.array_equal(pixels, kept)


def test_the_stored_form_goes_there_and_back_through_json() -> None:
    one = Preprocess(3, 64, 48, 60, 40, "crop", (0.1, 0.2, 0.3), (1, 0.5, 0.25))
    assert Preprocess.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": 2}, "1 (grey) or 3 (colour) channels here, not 2"),
        ({"channels": "1"}, "whole numbers"),
        ({"channels": True}, "whole numbers"),
        ({"height": "32"}, "whole numbers"),
        ({"height": 32.0}, "whole numbers"),
        ({"width": None}, "whole numbers"),
        ({"height": 27}, "must fit into the frame 27×32"),
        ({"content_width": 0}, "must fit into the frame"),
        ({"height": 10_000, "width": 10_000}, "more than 89 megapixels"),
        ({"fit": "squash"}, 'fit is "letterbox", "crop" or "stretch", not \'squash\''),
        ({"fit": ["crop"]}, "fit is"),
        ({"mean": [0.1, 0.2]}, "one number a channel"),
        ({"mean": []}, "one number a channel"),
        ({"std": []}, "one number a channel"),
        ({"mean": "1"}, "finite numbers"),
        ({"mean": [math.nan]}, "finite numbers"),
        ({"std": [math.inf]}, "finite numbers"),
        ({"std": [math.nan]}, "finite numbers"),
        ({"mean": [[0.1]]}, "finite numbers"),
        ({"std": [0]}, "std above zero"),
        ({"std": [-1.0]}, "std above zero"),
        ({"mean": 0.5}, "damaged"),
        ({"mean": None}, "damaged"),
        ({"rotate": 90}, "damaged"),
    ],
)
def test_a_damaged_stored_form_is_refused(change: dict[str, Any], words: str) -> None:
    stored = {**preprocess(content=28).to_dict(), **change}
    with pytest.raises(UsageError) as caught:
        Preprocess.from_dict(stored)
    assert words in str(caught.value)


def test_a_stored_form_of_an_earlier_foveal_means_what_it_meant() -> None:
    earlier = {name: value for name, value in preprocess().to_dict().items() if name not in ADDED}
    assert Preprocess.from_dict(earlier) == preprocess()


def test_a_short_side_goes_with_crop_and_covers_the_box() -> None:
    stored = preprocess().to_dict()
    with pytest.raises(UsageError, match="goes with the fit crop"):
        Preprocess.from_dict({**stored, "fit": "letterbox", "short_side": 64})
    with pytest.raises(UsageError, match="no shorter than the content box"):
        Preprocess.from_dict({**stored, "fit": "crop", "short_side": 1})
    with pytest.raises(UsageError, match='"bilinear" or "bicubic"'):
        Preprocess.from_dict({**stored, "interpolation": "nearest"})


def test_an_incomplete_stored_form_is_refused() -> None:
    whole = preprocess().to_dict()
    for field in whole.keys() - ADDED:
        with pytest.raises(UsageError, match=field):
            Preprocess.from_dict({name: value for name, value in whole.items() if name != field})
    for nonsense in ([], None, "channels"):
        with pytest.raises(UsageError, match="damaged"):
            Preprocess.from_dict(nonsense)
