"""Images on disk and in memory: scan, decode, and what becomes of files that are no images."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data import images as images_module
from foveal.data.images import CHUNK, TRIED, Fitting, ImageFiles, as_image_array, in_threads, ordered, read_file
from foveal.errors import DataError
from foveal.preprocess import Preprocess, UnreadableImageError
from foveal.progress import Progress

SILENT = Progress(silent=True)
AS_THEY_ARE = Preprocess(3, 8, 8, 8, 8, "stretch", (0.0,) * 3, (1.0,) * 3)


def picture(number: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    picture(number, (64, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def faulty(tmp_path: Path) -> dict[str, Path]:
    """One good image among everything that is none."""
    (tmp_path / "folder.jpg").mkdir()
    contents = {
        "good": jpeg(1),
        "empty": b"",
        "text": b"this is no image",
        "cut": jpeg(2)[:900],
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    names = [*contents, "folder", "link", "missing"]
    return {name: tmp_path / f"{name}.jpg" for name in names}


def test_every_fault_is_listed_with_its_reason_by_scan_or_decode(faulty: dict[str, Path]) -> None:
    files = ImageFiles(list(faulty.values()))
    rows = {name: row for row, name in enumerate(faulty)}
    scan = files.scan(SILENT)
    assert scan.unreadable == {
        rows["empty"]: "the file is empty (0 bytes)",
        rows["text"]: "it is not an image of a known kind (JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM)",
        rows["svg"]: "it is not an image of a known kind (JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM)",
        rows["folder"]: "it is not a plain file",
        rows["link"]: "it is not there",
        rows["missing"]: "it is not there",
    }
    assert scan.one_size() == (64, 64)
    out = np.zeros((len(files), 8, 8, 3), np.uint8)
    failures = files.decode(np.arange(len(files)), [Fitting(AS_THEY_ARE, out)], SILENT)
    assert list(failures) == sorted([*scan.unreadable, rows["cut"]])  # what its header hides, decoding finds
    assert failures[rows["cut"]].startswith("it is damaged: ")
    assert {row: failures[row] for row in scan.unreadable} == scan.unreadable
    assert out[rows["good"]].any()
    assert not out[list(failures)].any()


def test_scan_says_what_each_image_is(tmp_path: Path) -> None:
    Image.new("L", (5, 9)).save(tmp_path / "grey.png")
    picture(0, (30, 20)).save(tmp_path / "colour.PNG")
    paths = [tmp_path / "grey.png", tmp_path / "colour.PNG"]
    scan = ImageFiles(paths).scan(SILENT)
    assert scan.digests.tolist() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert list(zip(scan.heights, scan.widths, scan.channels, strict=True)) == [(9, 5, 1), (20, 30, 3)]
    assert scan.sizes() == ((9, 5), (20, 30))
    assert scan.one_size() is None
    assert scan.unreadable == {}


def test_decode_writes_the_rows_that_were_asked_for_in_that_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3 * CHUNK + TRIED)]
    for number, path in enumerate(paths):
        picture(number).save(path)
    rows = np.random.default_rng(0).permutation(len(paths))[:-5]
    out = np.zeros((len(rows), 8, 8, 3), np.uint8)
    assert ImageFiles(paths).decode(rows, [Fitting(AS_THEY_ARE, out)], SILENT) == {}
    expected = np.stack([np.asarray(picture(int(row))) for row in rows])
    assert np.array_equal(out, expected)
    array = as_image_array(np.stack([np.asarray(picture(number)) for number in range(len(paths))]))
    again = np.zeros_like(out)
    assert array.decode(rows, [Fitting(AS_THEY_ARE, again)], SILENT) == {}
    assert np.array_equal(again, expected)


@pytest.mark.parametrize("too_short", [0.0, 10.0], ids=["threads", "one thread"])
@pytest.mark.parametrize("count", [0, 1, TRIED, TRIED + 1, TRIED + 3 * CHUNK + 7])
def test_every_item_is_done_once_and_counted(count: int, too_short: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "TOO_SHORT_S", too_short)
    done: list[int] = []
    counted: list[int] = []
    threads = set()

    def work(item: int) -> None:
        done.append(item)
        threads.add(threading.get_ident())

    in_threads(work, range(count), counted.append)
    assert sorted(done) == list(range(count))
    assert sum(counted) == count
    assert (threads <= {threading.get_ident()}) == (too_short > 0 or count <= TRIED)


def test_an_error_in_a_thread_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "TOO_SHORT_S", 0.0)

    def work(item: int) -> None:
        if item == TRIED + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_threads(work, range(1000), lambda _: None)


def test_ordered_keeps_the_order_and_runs_no_further_ahead_than_it_may() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.002 * (item % 3))
        return item * item

    with ThreadPoolExecutor(4) as pool:
        for at, found in enumerate(ordered(pool, work, range(50), 6)):
            assert found == at * at
            assert len(begun) <= at + 6


def test_what_was_ordered_and_not_begun_is_cancelled_at_the_end() -> None:
    begun: list[int] = []
    permits = threading.Semaphore(1)

    def work(item: int) -> None:
        begun.append(item)
        assert permits.acquire(timeout=10)

    with ThreadPoolExecutor(1) as pool:
        found = ordered(pool, work, range(50), 20)
        next(found)
        found.close()
        permits.release()
    assert begun in ([0], [0, 1])


def test_a_pipe_or_a_huge_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableImageError, match="it is not a plain file"):
        read_file(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate((3 << 30) // 2)
    with pytest.raises(UnreadableImageError, match=r"the file has 1\.5 GiB; the limit is 1"):
        read_file(tmp_path / "huge.png")
    with pytest.raises(UnreadableImageError, match="it is not there"):
        read_file(tmp_path / "huge.png" / "in a file.png")
    with pytest.raises(UnreadableImageError, match="it cannot be read"):
        read_file(tmp_path / "a\0b.png")
    with pytest.raises(UnreadableImageError, match="it cannot be read: File name too long"):
        read_file(tmp_path / ("x" * 300))


def test_a_bomb_among_files_is_listed_without_a_warning(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "bomb.png")
    scan = ImageFiles([tmp_path / "bomb.png"]).scan(SILENT)
    assert scan.unreadable == {0: "10000×9000 is 90 megapixels; the limit is 89"}


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 8, 8), np.float32), "The images are float32; give uint8 from 0 to 255"),
        (np.zeros((2, 8, 8), bool), "The images are bool"),
        (np.zeros((2, 3, 8, 8), np.uint8), "Move the channels last with x.transpose(0, 2, 3, 1)"),
        (np.zeros((2, 8, 8, 4), np.uint8), "shape (2, 8, 8, 4); give (N, H, W) or (N, H, W, 1 or 3)"),
        (np.zeros((8, 8), np.uint8), "shape (8, 8)"),
        (np.zeros((0, 8, 8), np.uint8), "shape (0, 8, 8)"),
        ([[1, 2], [3]], "The images are no array"),
        (None, "The images are object"),
    ],
)
def test_arrays_that_are_no_images_are_refused(images: object, words: str) -> None:
    with pytest.raises(DataError) as caught:
        as_image_array(images)
    assert words in str(caught.value)
