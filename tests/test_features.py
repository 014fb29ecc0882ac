"""Features: computed once an image, kept by content, never trusted when damaged, and no worse off without a disk."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from foveal.data.images import ImageArray
from foveal.errors import OutputError
from foveal.features import Extractor, Features, extract
from foveal.features import cache as feature_cache
from foveal.preprocess import Preprocess
from foveal.progress import Progress

PREPROCESS = Preprocess(1, 8, 8, 8, 8, "letterbox", (0.5,), (0.25,))


class Counting:
    """A trunk that counts what it is asked: the mean of each image's rows."""

    def __init__(self) -> None:
        self.asked, self.opened, self.batches = 0, 0, []

    def open(self, x: np.ndarray) -> Counting:
        self.opened += 1
        assert x.ndim == 4
        return self

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.asked += len(x)
        self.batches.append(len(x))
        return x.mean(axis=3)[:, 0]  # (B, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def images() -> ImageArray:
    return ImageArray(np.random.default_rng(0).integers(0, 256, (70, 8, 8, 1), dtype=np.uint8))


def run(images: ImageArray, rows: np.ndarray | None = None, **more: object) -> tuple[Features, Counting]:
    trunk, rows = Counting(), np.arange(len(images)) if rows is None else rows
    facts, preprocess = more.pop("facts", {"weights": "a"}), more.pop("preprocess", PREPROCESS)
    digests = images.scan(Progress(silent=True)).digests[rows]
    progress = more.pop("progress", Progress(silent=True))
    extractor = Extractor(facts, preprocess, trunk.open)
    return extract(extractor, images, rows, digests, progress, memory_gib=4, scratch=Path()), trunk


def expected(images: ImageArray, rows: np.ndarray) -> np.ndarray:
    return PREPROCESS.normalise_array(images.pixels[rows]).mean(axis=3)[:, 0]


def test_features_are_computed_once_and_then_read(images):
    first, trunk = run(images)
    assert first.computed == 70 and trunk.opened == 1
    assert np.array_equal(first.values, expected(images, np.arange(70)))
    assert set(trunk.batches) == {32}  # a short batch is asked as a full one: the same arithmetic
    again, idle = run(images)
    assert again.computed == idle.opened == 0 and np.array_equal(again.values, first.values)
    assert again.seen.tolist() == first.seen.tolist() and len(set(again.seen.tolist())) == 70


def test_another_order_more_images_and_copies_cost_only_what_is_new(images):
    run(images, np.arange(40))
    rows = np.array([60, 3, 3, 39, 50])
    found, trunk = run(images, rows)
    assert found.computed == 2 and trunk.asked == 32
    assert np.array_equal(found.values, expected(images, rows))


def test_other_weights_or_other_preprocessing_are_other_features(images, cache):
    run(images)
    for more in ({"facts": {"weights": "b"}}, {"preprocess": Preprocess(1, 8, 8, 8, 8, "letterbox", (0.4,), (0.25,))}):
        assert run(images, **more)[0].computed == 70
    assert len(list(cache.iterdir())) == 3


def test_what_is_made_beside_of_the_same_pixels_is_kept_for_who_asks_next(images):
    def sums(x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.uint8
        return x.sum(axis=(1, 2, 3), dtype=np.float64)[:, None] / 3

    rows, silent = np.arange(40), Progress(silent=True)
    digests = images.scan(silent).digests
    beside = Extractor({"what": "sums"}, PREPROCESS, lambda _: sums, of_pixels=True)
    options = {"memory_gib": 4, "scratch": Path()}
    features = Extractor({"weights": "a"}, PREPROCESS, Counting().open)
    extract(features, images, rows, digests[rows], silent, beside=[beside], **options)
    found = extract(beside, images, np.arange(45), digests[:45], silent, **options)
    assert found.computed == 5 and found.values.dtype == np.float64
    assert np.array_equal(found.values, sums(images.pixels[:45]))


def test_what_is_kept_beside_already_is_not_made_again(images):
    made = []

    def means(pixels: np.ndarray) -> np.ndarray:
        made.extend(pixels[:, 0, 0, 0].tolist())
        return pixels.mean(axis=(1, 2, 3))[:, None]

    other = Preprocess(
        1, 4, 4, 4, 4, "stretch", (0.0,), (1.0,)
    )  # of another size: the images are decoded once for both
    silent, options = Progress(silent=True), {"memory_gib": 4, "scratch": Path()}
    digests = images.scan(silent).digests
    beside = Extractor({"what": "means"}, other, lambda _: means, of_pixels=True, lanes=3)
    extract(beside, images, np.arange(20), digests[:20], silent, **options)
    features = Extractor({"weights": "a"}, PREPROCESS, Counting().open)
    extract(features, images, np.arange(40), digests[:40], silent, beside=[beside], **options)
    assert len(made) == 40
    found = extract(beside, images, np.arange(40), digests[:40], silent, **options)
    small = np.stack([other.geometry(images.picture(row)) for row in range(40)])
    assert found.computed == 0 and np.array_equal(found.values, means(small))


def test_many_lanes_keep_the_order_and_an_error_in_one_ends_all(images):
    class Slow(Counting):
        def __call__(self, x: np.ndarray) -> np.ndarray:
            time.sleep(0.02 * float(x[0, 0, 0, 0] > 0))  # so that batches overtake each other
            return super().__call__(x)

    silent, rows, trunk = Progress(silent=True), np.arange(70), Slow()
    digests = images.scan(silent).digests
    extractor = Extractor({}, PREPROCESS, trunk.open, batch=4, lanes=5)
    found = extract(extractor, images, rows, digests, silent, memory_gib=4, scratch=Path())
    assert np.array_equal(found.values, expected(images, rows)) and trunk.opened == 1

    def broken(x: np.ndarray) -> np.ndarray:
        raise ValueError(f"no {len(x)} today")

    extractor = Extractor({"broken": True}, PREPROCESS, lambda _: broken, batch=4, lanes=5)
    with pytest.raises(ValueError, match="no 4 today"):
        extract(extractor, images, rows, digests, silent, memory_gib=4, scratch=Path())


def test_what_was_computed_before_a_stop_is_kept(images):
    class Stopped(Counting):
        def __call__(self, x: np.ndarray) -> np.ndarray:
            if self.asked >= 40:
                raise KeyboardInterrupt
            return super().__call__(x)

    silent, rows, trunk = Progress(silent=True), np.arange(70), Stopped()
    digests = images.scan(silent).digests
    options = {"memory_gib": 4, "scratch": Path()}
    with pytest.raises(KeyboardInterrupt):
        extract(Extractor({}, PREPROCESS, trunk.open, batch=8), images, rows, digests, silent, **options)
    again = extract(Extractor({}, PREPROCESS, Counting().open, batch=8), images, rows, digests, silent, **options)
    assert again.computed == 30 and np.array_equal(again.values, expected(images, rows))


def test_a_part_is_written_when_its_time_is_over(images, cache, monkeypatch):
    monkeypatch.setattr(feature_cache, "PART_S", -1.0)  # every batch's is
    first, _ = run(images)
    assert len(list(cache.rglob("part-*"))) == 3  # of 32, 32 and 6 images
    again, _ = run(images)
    assert again.computed == 0 and np.array_equal(again.values, first.values)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_a_damaged_part_is_removed_and_computed_anew(images, cache, damage, capsys):
    first, _ = run(images)
    part = next(cache.rglob("part-*.safetensors"))
    content = bytearray(part.read_bytes())
    content[-5] ^= 1
    part.write_bytes({"flip": bytes(content), "cut": bytes(content[:-40]), "empty": b"", "foreign": b"{}" * 50}[damage])
    again, _ = run(images, progress=Progress())
    assert again.computed == 70 and np.array_equal(again.values, first.values)
    assert "a damaged part of the feature cache was removed" in capsys.readouterr().err
    assert run(images)[0].computed == 0


def test_a_damaged_part_that_cannot_be_removed_is_passed_over(images, cache, monkeypatch, capsys):
    first, _ = run(images)
    part = next(cache.rglob("part-*.safetensors"))
    part.write_bytes(part.read_bytes()[:-40])

    def read_only(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", read_only)
    monkeypatch.setattr(feature_cache, "write_bytes", lambda *_: None)
    again, _ = run(images, progress=Progress())
    assert again.computed == 70 and np.array_equal(again.values, first.values)
    assert "was passed over, and cannot be removed" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_said_and_the_features_are_used(images, monkeypatch, capsys):
    def full(path: Path, _content: bytes) -> None:
        raise OutputError(f"{path} cannot be written: no space left on device.")

    monkeypatch.setattr(feature_cache, "write_bytes", full)
    found, _ = run(images, progress=Progress())
    assert np.array_equal(found.values, expected(images, np.arange(70)))
    assert capsys.readouterr().err.count("the features are not kept for the next time") == 1


def test_above_the_limit_of_memory_features_lie_on_disk(images, tmp_path):
    trunk, rows = Counting(), np.arange(70)
    digests = images.scan(Progress(silent=True)).digests
    extractor = Extractor({}, PREPROCESS, trunk.open)
    quiet = Progress(silent=True)
    found = extract(extractor, images, rows, digests, quiet, memory_gib=1e-9, scratch=tmp_path)
    assert isinstance(found.values, np.memmap) and np.array_equal(found.values, expected(images, rows))


def test_the_keys_unused_for_longest_make_room(images, cache, monkeypatch):
    for name in "abc":
        run(images, facts={"weights": name})
        for folder in cache.iterdir():
            age = 100 - len(list(cache.iterdir()))
            if (folder / "used").read_text() and not (folder / "old").exists():
                (folder / "old").touch()
                os.utime(folder / "used", (age, age + len(list(cache.iterdir())) * 10))
    size = sum(one.stat().st_size for one in cache.rglob("part-*"))
    monkeypatch.setattr(feature_cache, "LARGEST_CACHE_GIB", size * 0.7 / (1 << 30))
    run(images, np.arange(1), facts={"weights": "d"})
    left = {folder for folder in cache.iterdir() if list(folder.glob("part-*"))}
    assert len(left) == 3  # one of the first three went
    assert run(images, facts={"weights": "a"})[0].computed == 70  # the oldest
