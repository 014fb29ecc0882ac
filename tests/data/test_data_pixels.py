"""All pixels decoded once: in memory or mapped on disk, and their mean and deviation."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from foveal.data.images import as_image_array
from foveal.data.load import load
from foveal.data.pixels import decode_all, mean_and_std
from foveal.errors import OutputError, ResourceError
from foveal.preprocess import Preprocess
from foveal.progress import Progress

SILENT = Progress(silent=True)


def preprocess(channels: int = 3, frame: int = 20, content: int = 16) -> Preprocess:
    return Preprocess(channels, frame, frame, content, content, "letterbox", (0.0,) * channels, (1.0,) * channels)


def test_on_disk_and_in_memory_are_the_same(class_folders: Path, tmp_path: Path) -> None:
    (class_folders / "lime" / "05.png").write_bytes(b"no image")
    images = load(class_folders).images
    rows = np.random.default_rng(1).permutation(len(images))
    scratch = tmp_path / "made" / "when needed"
    both = [
        decode_all(images, rows, preprocess(), memory_gib=gib, scratch=scratch, progress=SILENT) for gib in (4.0, 0.0)
    ]
    (memory, failures), (mapped, failures_mapped) = both
    assert not isinstance(memory, np.memmap)
    assert isinstance(mapped, np.memmap)
    assert memory.shape == (36, 20, 20, 3)
    assert np.array_equal(memory, mapped)
    assert list(failures) == [17] == list(failures_mapped)
    assert list(scratch.iterdir()) == []  # an unnamed file: nothing is left behind


def test_a_full_disk_is_an_error_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    images = as_image_array(np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(OutputError, match="The disk is full"):
        decode_all(images, np.arange(4), preprocess(1), memory_gib=0.0, scratch=tmp_path, progress=SILENT)
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "zeros", full)
    images = as_image_array(np.full((4, 8, 8), 1, np.uint8))
    with pytest.raises(ResourceError, match=r"not enough memory for 4 images of 20×20.*lower --memory-gib"):
        decode_all(images, np.arange(4), preprocess(1), memory_gib=9.0, scratch=tmp_path, progress=SILENT)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 7, 3000])
def test_mean_and_std_against_numpy(channels: int, count: int) -> None:
    rng = np.random.default_rng(count)
    inside = rng.integers(0, 256, (count, 28, 28, channels), dtype=np.uint8)
    pixels = preprocess(channels, 32, 28).geometry_of_arrays(inside)
    rows = rng.permutation(count)[: max(1, count // 2)]
    mean, std = mean_and_std(pixels, rows, preprocess(channels, 32, 28))
    assert np.allclose(mean, (inside[rows] / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    assert np.allclose(std, (inside[rows] / 255).std(axis=(0, 1, 2)), atol=1e-6)


def test_constant_images_have_a_deviation_of_one_level() -> None:
    mean, std = mean_and_std(np.full((3, 8, 8, 1), 51, np.uint8), np.arange(3), preprocess(1, 8, 8))
    assert mean == (0.2,)
    assert std == (round(1 / 255, 6),)
