"""Corruptions: what they leave, what they do by hand, and that an image suffers alike alone and in a batch."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from foveal.data.corruptions import CORRUPTIONS, content_numbers, corrupt, find_corruptions, moved
from foveal.errors import UsageError

NAMES = list(CORRUPTIONS)


def pictures(count: int, height: int = 24, width: int = 20, channels: int = 3) -> np.ndarray:
    """Bright discs on a dark slope: something with edges, of which nothing is at an end of the range."""
    rng = np.random.default_rng(count)
    y, x = np.mgrid[:height, :width]
    middle = rng.uniform(0.3, 0.7, (count, 2, 1, 1))
    far = (y - middle[:, 0] * height) ** 2 + (x - middle[:, 1] * width) ** 2
    grey = np.where(far < (height / 4) ** 2, 150, 40) + 30 * x / width
    tint = rng.uniform(0.8, 1.0, (count, 1, 1, channels))
    return (grey[..., None] * tint).astype(np.uint8)


def damage(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.abs(before.astype(float) - after).mean())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_strength_hurts_more_and_an_image_alone_is_itself_in_a_batch(name, channels):
    corruption = CORRUPTIONS[name]
    before = pictures(40, channels=channels)
    kept, numbers = before.copy(), content_numbers(before)
    done = [corrupt(before, name, strength, numbers) for strength in corruption.strengths]
    assert (before == kept).all()  # the original is not touched
    for strength, after in zip(corruption.strengths, done, strict=True):
        assert after.shape == before.shape and after.dtype == np.uint8 and after.flags.c_contiguous
        assert (corrupt(before, name, strength, numbers) == after).all()
        order = np.array([17, 3, 39])
        alone = [corrupt(before[[row]], name, strength, numbers[[row]])[0] for row in order]
        assert (np.stack(alone) == after[order]).all()
        assert (corrupt(before[order], name, strength, numbers[order]) == after[order]).all()
    hurt = [damage(before, after) for after in done]
    assert all(mild < severe for mild, severe in itertools.pairwise(hurt)), hurt
    nothing = corrupt(before, name, corruption.clean, numbers)
    assert (nothing == before).all() and nothing is not before


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "rotation", "shift"])
def test_chance_goes_by_seed_and_content_and_not_by_strength(name):
    before = pictures(30)
    numbers, strength = content_numbers(before), CORRUPTIONS[name].strengths[3]
    after = corrupt(before, name, strength, numbers, seed=1)
    assert (corrupt(before, name, strength, numbers, seed=2) != after).any()
    same = np.repeat(before[:1], 30, axis=0)
    assert len({one.tobytes() for one in corrupt(same, name, strength, numbers)}) > 1  # by their numbers
    assert len({one.tobytes() for one in corrupt(same, name, strength, content_numbers(same))}) == 1


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    number=st.integers(0, 4),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    channels=st.sampled_from([1, 3]),
    value=st.sampled_from([0, 255, None]),
)
def test_any_size_and_any_content(name, number, height, width, channels, value):
    rng = np.random.default_rng(0)
    shape = (2, height, width, channels)
    before = rng.integers(0, 256, shape, np.uint8) if value is None else np.full(shape, value, np.uint8)
    numbers = content_numbers(before)
    after = corrupt(before, name, CORRUPTIONS[name].strengths[number], numbers)
    assert after.shape == shape
    if value is not None and name in ("gaussian_blur", "defocus", "rotation", "shift", "resolution", "contrast"):
        assert np.abs(after.astype(int) - value).max() <= 1  # a plain picture has nothing to move or to smooth


def test_jpeg_is_what_pillow_writes_and_reads():
    for channels, mode in ((1, "L"), (3, "RGB")):
        before = pictures(3, channels=channels)
        after = corrupt(before, "jpeg", 30, content_numbers(before))
        for own, image in zip(after, before, strict=True):
            file = io.BytesIO()
            Image.fromarray(image.squeeze(), mode=None).save(file, "JPEG", quality=30)
            assert Image.open(file).mode == mode
            assert (np.asarray(Image.open(file)).reshape(image.shape) == own).all()


def test_noise_has_the_deviation_that_it_says():
    grey = np.full((8, 64, 64, 1), 128, np.uint8)
    numbers = np.arange(8)
    noisy = corrupt(grey, "gaussian_noise", 0.1, numbers).astype(float)
    assert noisy.mean() == pytest.approx(128, abs=0.5) and noisy.std() == pytest.approx(25.5, rel=0.02)
    for value in (255 // 4, 128):  # √(value/255) of the deviation at white
        shot = corrupt(np.full_like(grey, value), "shot_noise", 0.1, numbers).astype(float)
        assert shot.mean() == pytest.approx(value, abs=0.6)
        assert shot.std() == pytest.approx(25.5 * np.sqrt(value / 255), rel=0.03)
    steps = np.unique(corrupt(grey, "shot_noise", 0.5, numbers))  # four photons are white: few levels
    assert steps.tolist() == [0, 64, 128, 191, 255]
    assert (corrupt(np.zeros_like(grey), "shot_noise", 0.5, numbers) == 0).all()


def test_blur_is_scipys_and_a_point_becomes_a_disc():
    before = pictures(2, height=40, width=40, channels=1)
    after = corrupt(before, "gaussian_blur", 0.05, content_numbers(before)).astype(float)
    wanted = gaussian_filter(before[..., 0].astype(float), (0, 2, 2), mode="reflect", truncate=3.0)
    assert np.abs(after[..., 0] - wanted).max() <= 0.5001
    point = np.zeros((1, 41, 41, 1), np.uint8)
    point[0, 20, 20] = 255
    disc = corrupt(point, "defocus", 4.5 / 41, np.zeros(1, np.int64))[0, ..., 0].astype(float)
    y, x = np.mgrid[-20:21, -20:21]
    far = np.hypot(y, x)
    assert (disc[far < 3.6] == round(255 / (np.pi * 4.5**2))).all() and (disc[far > 5.3] == 0).all()
    assert (disc == disc.T).all() and (disc == disc[::-1]).all()


def test_light_by_hand():
    before = np.array([0, 100, 200, 255], np.uint8).reshape(1, 2, 2, 1)  # mean 138.75
    numbers = np.zeros(1, np.int64)
    assert corrupt(before, "brightness", 0.2, numbers).ravel().tolist() == [51, 151, 251, 255]
    assert corrupt(before, "contrast", 0.5, numbers).ravel().tolist() == [69, 119, 169, 197]


def test_geometry_by_hand():
    before = pictures(60, channels=1)
    numbers = content_numbers(before)
    turned = corrupt(before, "rotation", 90, numbers)[:, 2:-2]  # the square in the middle turns onto itself
    square = before[:, 2:-2]
    left = (turned == np.rot90(square, 1, (1, 2))).all(axis=(1, 2, 3))
    right = (turned == np.rot90(square, -1, (1, 2))).all(axis=(1, 2, 3))
    assert (left ^ right).all() and 15 < left.sum() < 45
    shifted = corrupt(before, "shift", 0.1, numbers)
    reach = [(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)]
    fitting = [
        [step for step in reach if (moved(one[None], *step)[0] == after).all()]
        for one, after in zip(before, shifted, strict=True)
    ]
    lengths = {round(np.hypot(steps[0][0] / 24, steps[0][1] / 20) / 0.1, 1) for steps in fitting}
    assert min(lengths) > 0.7 and max(lengths) < 1.4 and len({steps[0] for steps in fitting}) > 8


def test_moved_by_hand():
    before = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)  # 0 1 2 / 3 4 5
    assert moved(before, 0, 1)[0, ..., 0].tolist() == [[0, 0, 1], [3, 3, 4]]
    assert moved(before, -1, 0)[0, ..., 0].tolist() == [[3, 4, 5], [3, 4, 5]]


def test_what_cannot_be_is_refused():
    before = pictures(2)
    numbers = content_numbers(before)
    with pytest.raises(UsageError, match=r'no corruption "gausian_noise".*Did you mean "gaussian_noise"'):
        find_corruptions(["gausian_noise"])
    with pytest.raises(UsageError, match="named twice"):
        find_corruptions(["jpeg", "JPEG"])
    with pytest.raises(UsageError, match="at least one"):
        find_corruptions([])
    assert [one.name for one in find_corruptions(["gaussian-blur", "jpeg"])] == ["gaussian_blur", "jpeg"]
    for name, strength in (("jpeg", 0), ("contrast", 1.2), ("gaussian_noise", -0.1), ("shift", float("nan"))):
        with pytest.raises(UsageError, match="The strength of"):
            corrupt(before, name, strength, numbers)
    with pytest.raises(UsageError, match="uint8"):
        corrupt(before.astype(float), "jpeg", 30, numbers)
    with pytest.raises(UsageError, match="one number an image"):
        corrupt(before, "jpeg", 30, numbers[:1])
    assert corrupt(before[:0], "defocus", 0.1, numbers[:0]).shape == (0, 24, 20, 3)


def test_the_table_of_the_module_is_that_of_the_code():
    import foveal.data.corruptions as module

    rows = [line for line in (module.__doc__ or "").splitlines() if line.startswith("`")]
    assert [row.split("`")[1] for row in rows] == NAMES
    for row, one in zip(rows, CORRUPTIONS.values(), strict=True):
        numbers = ", ".join(f"{strength * one.scale:g}" for strength in one.strengths)
        assert numbers in row, row
        assert list(one.strengths) == sorted(one.strengths, key=lambda at, one=one: abs(at - one.clean))
