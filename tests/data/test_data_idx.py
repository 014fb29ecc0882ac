"""IDX files: MNIST's layout, and every way in which such a file can be wrong."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.load import load
from foveal.data.sources import idx as idx_module
from foveal.data.sources.idx import read_idx
from foveal.errors import DataError

IMAGES = np.random.default_rng(2).integers(0, 256, (6, 5, 4), dtype=np.uint8)
LABELS = np.array([7, 3, 10, 3, 7, 10], np.uint8)


def idx(values: np.ndarray, magic: int | None = None) -> bytes:
    magic = 0x0800 | values.ndim if magic is None else magic
    return struct.pack(f">I{values.ndim}I", magic, *values.shape) + values.tobytes()


def write(root: Path, part: str = "train", *, packed: bool = False, dotted: bool = False, **change: bytes) -> Path:
    root.mkdir(exist_ok=True)
    for kind, content in (("images-idx3", idx(IMAGES)), ("labels-idx1", idx(LABELS))):
        name = f"{part}-{kind.replace('-idx', '.idx') if dotted else kind}-ubyte"
        changed = change.get(kind[:6], content)
        if packed:
            (root / f"{name}.gz").write_bytes(gzip.compress(changed))
        else:
            (root / name).write_bytes(changed)
    return root


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("dotted", [False, True], ids=["dash", "dot"])
def test_images_labels_and_splits(packed: bool, dotted: bool, tmp_path: Path) -> None:
    write(tmp_path, "train", packed=packed, dotted=dotted)
    write(tmp_path, "t10k", packed=packed, dotted=dotted)
    dataset = load(tmp_path)
    assert dataset.classes == ("3", "7", "10")
    assert dataset.labels.tolist() == [1, 0, 2, 0, 1, 2] * 2
    assert dataset.given_splits.tolist() == ["train"] * 6 + ["test"] * 6
    assert dataset.record_ids[[0, 11]].tolist() == ["train/00000", "t10k/00005"]
    assert np.array_equal(np.asarray(dataset.images.picture(8)), IMAGES[2])
    assert dataset.scan.one_size() == (5, 4)


def test_one_part_alone_is_no_split(tmp_path: Path) -> None:
    assert set(load(write(tmp_path, "t10k")).given_splits.tolist()) == {""}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": idx(LABELS)}, "is not the IDX file that its name says: magic number 2049, expected 2051."),
        ({"labels": idx(IMAGES)}, "magic number 2051, expected 2049."),
        ({"images": idx(IMAGES, 0x0D03)}, "magic number 3331, expected 2051."),
        ({"images": idx(IMAGES)[:-1]}, "has the wrong length: its header announces 120 values, 119 follow."),
        ({"images": idx(IMAGES) + b"\0"}, "has the wrong length: its header announces 120 values, more follow."),
        ({"images": idx(IMAGES)[:9]}, "has the wrong length: it ends within its header."),
        ({"images": b""}, "is not the IDX file that its name says: it has 0 bytes."),
        ({"images": struct.pack(">4I", 2051, 0, 28, 28)}, "is empty: its header announces 0×28×28 values."),
        ({"images": struct.pack(">4I", 2051, *[2**32 - 1] * 3)}, "the limit is 8 GiB"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    change: dict[str, bytes], words: str, packed: bool, tmp_path: Path
) -> None:
    message = refusal(write(tmp_path, packed=packed, **change))
    assert words in message
    assert f"-{next(iter(change))}-idx" in message


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, packed=True) / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-6] ^= 0xFF  # the checksum
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b"no gzip at all"):
        file.write_bytes(damaged)
        assert refusal(tmp_path).startswith(f"{file} cannot be read: ")


def test_a_gzip_bomb_is_unpacked_only_as_far_as_its_header_says(tmp_path: Path) -> None:
    bomb = write(tmp_path, packed=True, images=idx(IMAGES) + bytes(32 << 20))
    assert "announces 120 values, more follow" in refusal(bomb)


def test_parts_that_do_not_belong_together(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "count", labels=idx(LABELS[:4])))
    assert message == "train-images-idx3-ubyte holds 6 images, train-labels-idx1-ubyte 4 labels."
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        root = write(write(tmp_path / name, "t10k"), "train")
        (root / name).unlink()
        assert refusal(root) == f"{root}: {name} (or {name}.gz) is missing beside its partner."
    root = write(write(tmp_path / "size", "t10k"), images=idx(IMAGES[:, :, :3]))
    assert "the parts hold images of different sizes: [(5, 3), (5, 4)]" in refusal(root)


def test_one_file_of_a_set_is_no_source(tmp_path: Path) -> None:
    assert "IDX files are given by their folder" in refusal(write(tmp_path) / "train-images-idx3-ubyte")


def test_the_limit_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx_module, "MAX_BYTES", 119)
    assert "announces 120 values; the limit is" in refusal(write(tmp_path))


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    position=st.integers(0, 15),
    value=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_any_change_of_header_or_length_is_noticed(
    shape: tuple[int, int, int], position: int, value: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    content = bytearray(idx(values))
    content[position] = value
    content = content[: len(content) - cut]
    file = tmp_path_factory.getbasetemp() / "changed-idx3-ubyte"
    file.write_bytes(content)
    count, *sides = (int.from_bytes(content[at : at + 4]) for at in (4, 8, 12))
    left = len(content) - 16
    if content[:4] == idx(values)[:4] and 0 < left == count * sides[0] * sides[1]:  # whole, or smaller and whole
        assert np.array_equal(read_idx(file, 3), values.ravel()[:left].reshape(count, *sides))
    else:
        with pytest.raises(DataError, match="changed-idx3-ubyte"):
            read_idx(file, 3)


def test_mnist(real_data: Path) -> None:
    labels = read_idx(real_data / "mnist" / "t10k-labels-idx1-ubyte.gz", 1)
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
