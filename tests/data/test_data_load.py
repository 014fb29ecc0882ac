"""One contract for every source, and what `load` itself decides."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import SPLITS, Dataset
from foveal.data.images import Fitting
from foveal.data.load import load, reordered
from foveal.errors import DataError, UsageError
from foveal.preprocess import Preprocess
from foveal.progress import Progress

COUNT = 18
PIXELS = np.random.default_rng(3).integers(0, 256, (COUNT, 8, 8), dtype=np.uint8)
NUMBERS = np.arange(COUNT) % 2
SPLIT = np.array([SPLITS[row % 3] for row in range(COUNT)])


def flat_folders(root: Path) -> Dataset:
    for row in range(COUNT):
        path = root / str(NUMBERS[row]) / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[row]).save(path)
    return load(root)


def split_folders(root: Path) -> Dataset:
    for row in range(COUNT):
        path = root / {"validation": "val"}.get(SPLIT[row], SPLIT[row]) / str(NUMBERS[row]) / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[row]).save(path)
    return load(str(root))


def csv_manifest(root: Path) -> Dataset:
    lines = ["file;class;subset"]
    root.mkdir(exist_ok=True)
    for row in reversed(range(COUNT)):
        Image.fromarray(PIXELS[row]).save(root / f"{row}.png")
        lines.append(f"{row}.png;{NUMBERS[row]};{SPLIT[row]}")
    (root / "list.csv").write_text("\n".join(lines))
    return load(root / "list.csv")


def idx_files(root: Path, pack: Callable[[bytes], bytes] = bytes, suffix: str = "") -> Dataset:
    root.mkdir(exist_ok=True)
    for part, split in (("train", "train"), ("val", "validation"), ("t10k", "test")):
        rows = split == SPLIT
        for name, values in (("images-idx3", PIXELS[rows]), ("labels-idx1", NUMBERS[rows].astype(np.uint8))):
            content = struct.pack(f">I{values.ndim}I", 0x0800 | values.ndim, *values.shape) + values.tobytes()
            (root / f"{part}-{name}-ubyte{suffix}").write_bytes(pack(content))
    return load(root)


def gzip_idx_files(root: Path) -> Dataset:
    return idx_files(root, gzip.compress, ".gz")


def npz_file(root: Path) -> Dataset:
    root.mkdir(exist_ok=True)
    named = {}
    for part, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        named |= {f"x_{part}": PIXELS[split == SPLIT], f"y_{part}": NUMBERS[split == SPLIT]}
    np.savez_compressed(root / "data.npz", **named)
    return load(root / "data.npz")


def arrays(_: Path) -> Dataset:
    return load(PIXELS[..., None], NUMBERS, splits=SPLIT)


SOURCES = [flat_folders, split_folders, csv_manifest, idx_files, gzip_idx_files, npz_file, arrays]


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_tells_the_same_story(source: Callable[[Path], Dataset], tmp_path: Path) -> None:
    dataset = source(tmp_path / "a")
    assert len(dataset) == COUNT == len(set(dataset.record_ids.tolist()))
    assert dataset.classes == ("0", "1")
    assert dataset.class_counts() == {"0": 9, "1": 9}
    assert dataset.scan.unreadable == {}
    assert dataset.scan.one_size() == (8, 8)
    assert set(dataset.scan.channels.tolist()) == {1}
    row_of = {image.tobytes(): row for row, image in enumerate(PIXELS)}
    rows = np.array([row_of[dataset.images.picture(i).tobytes()] for i in range(COUNT)])
    assert sorted(rows.tolist()) == list(range(COUNT))
    assert np.array_equal(dataset.labels, NUMBERS[rows])
    assert dataset.labels.dtype == np.int64
    given = np.full(COUNT, "") if source is flat_folders else SPLIT[rows]
    assert np.array_equal(dataset.given_splits, given)
    for column in (dataset.groups, dataset.sources):
        assert set(column.tolist()) == {""}
    places = [dataset.images.location(i) for i in range(COUNT)]
    if source in (flat_folders, split_folders, csv_manifest):
        assert [np.asarray(Image.open(place)).tobytes() for place in places] == [PIXELS[row].tobytes() for row in rows]
    else:
        assert places == [""] * COUNT

    out = np.zeros((COUNT, 8, 8, 1), np.uint8)
    plain = Preprocess(1, 8, 8, 8, 8, "letterbox", (0.0,), (1.0,))
    assert dataset.images.decode(np.arange(COUNT), [Fitting(plain, out)], Progress(silent=True)) == {}
    assert np.array_equal(out[..., 0], PIXELS[rows])


@pytest.mark.parametrize("source", SOURCES)
def test_the_content_hash_is_of_the_content_alone(source: Callable[[Path], Dataset], tmp_path: Path) -> None:
    dataset = source(tmp_path / "a")
    assert source(tmp_path / "b").content_hash == dataset.content_hash
    shuffled = dataset.take(np.random.default_rng(0).permutation(COUNT))
    assert shuffled.content_hash == dataset.content_hash
    assert dataset.take(np.arange(COUNT - 1)).content_hash != dataset.content_hash


def test_the_content_hash_sees_each_column() -> None:
    base = {"labels": NUMBERS, "groups": ["p"] * COUNT, "sources": ["north"] * COUNT, "splits": SPLIT}
    changes = {
        "labels": [*NUMBERS[:-1].tolist(), 0],
        "groups": ["p"] * (COUNT - 1) + ["q"],
        "sources": ["south"] + ["north"] * (COUNT - 1),
        "splits": [*SPLIT[:-1], "train"],
    }
    hashes = {load(PIXELS, **{**base, name: values}).content_hash for name, values in changes.items()}
    dark = PIXELS.copy()
    dark[4, 0, 0] ^= 1
    hashes |= {load(PIXELS, **base).content_hash, load(dark, **base).content_hash}
    assert len(hashes) == 6
    torn = [load(PIXELS[:1], ["x"], groups=[g], sources=[s]).content_hash for g, s in (("a\tb", "c"), ("a", "b\tc"))]
    assert len(set(torn)) == 2


def test_formats_of_the_same_pixels_have_the_same_hash(tmp_path: Path) -> None:
    hashes = {
        source(tmp_path / source.__name__).content_hash for source in (idx_files, gzip_idx_files, npz_file, arrays)
    }
    assert len(hashes) == 1


def test_renamed_files_are_the_same_data(tmp_path: Path) -> None:
    before = flat_folders(tmp_path / "a").content_hash
    files = sorted((tmp_path / "a").rglob("*.png"))
    for number, path in enumerate(files):
        path.rename(path.with_name(f"z{(number * 7) % COUNT:02d}.PNG"))
    assert load(tmp_path / "a").content_hash == before


def test_the_digits() -> None:
    digits = load("digits")
    assert repr(digits) == "Dataset('digits': 1,797 images, 10 classes: 0, 1, 2, 3, 4, 5, …)"
    assert digits.class_counts()["3"] == 183
    assert digits.scan.one_size() == (8, 8)
    assert {int(digits.images.pixels.min()), int(digits.images.pixels.max())} == {0, 255}


def test_taking_keeps_every_column_together() -> None:
    groups = [f"g{row}" for row in range(COUNT)]
    dataset = load(PIXELS, NUMBERS, groups=groups, sources=groups, splits=SPLIT)
    digests = dataset.scan.digests
    rows = np.array([5, 0, 17])
    taken = dataset.take(rows)
    assert taken.groups.tolist() == taken.sources.tolist() == ["g5", "g0", "g17"]
    assert taken.record_ids.tolist() == dataset.record_ids[rows].tolist()
    assert taken.scan.digests.tolist() == digests[rows].tolist()
    assert taken.images.picture(1).tobytes() == PIXELS[0].tobytes()


def test_taking_renumbers_what_is_unreadable(tmp_path: Path) -> None:
    flat_folders(tmp_path)
    (tmp_path / "0" / "00.png").write_bytes(b"")
    dataset = load(tmp_path)
    assert dataset.scan.unreadable == {0: "the file is empty (0 bytes)"}
    assert dataset.take(np.array([3, 0])).scan.unreadable == {1: "the file is empty (0 bytes)"}
    assert dataset.take(np.array([3, 1])).scan.unreadable == {}


def test_classes_can_be_ordered_and_more_than_there_are() -> None:
    dataset = load(PIXELS, np.where(NUMBERS, "dog", "cat"))
    for classes in (("dog", "cat"), ("fox", "dog", "cat")):
        again = load(dataset, classes=classes)
        assert again.classes == classes
        assert again.labels.tolist() == [classes.index("dog" if number else "cat") for number in NUMBERS]
        assert again.content_hash == dataset.content_hash
        assert np.array_equal(reordered(dataset, classes).labels, again.labels)
    with pytest.raises(DataError, match=r'not among cat, dgo:\n  dog Did you mean "dgo"\?'):
        load(dataset, classes=["cat", "dgo"])
    with pytest.raises(DataError, match="a class is named twice: cat, cat"):
        load(PIXELS, NUMBERS, classes=["cat", "cat"])


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        ("", {}, UsageError, "The source is empty"),
        ("digit", {}, DataError, 'fashion_mnist, cifar10, cifar100, cifar100_coarse). Did you mean "digits"?'),
        ("no/such/folder", {}, DataError, "There is no folder or file no/such/folder"),
        ("x" * 5000, {}, DataError, "cannot be read: File name too long"),
        ("caf\udce9", {}, DataError, r"'caf\udce9' is not UTF-8; rename it."),
        ("digits", {"labels": [1]}, UsageError, "labels, groups, sources and splits go with arrays"),
        ("digits", {"groups": [1]}, UsageError, "digits brings its own"),
        (PIXELS, {}, UsageError, "Arrays of images need labels: foveal.load(images, labels)."),
    ],
)
def test_what_load_refuses(source: object, options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        load(source, **options)
    assert words in str(caught.value)
    str(caught.value).encode()


def test_a_file_of_another_kind_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "images.7z").write_bytes(b"7z")
    with pytest.raises(DataError, match=r"is no source: give a folder, an archive, .* Unpack it and give the folder"):
        load(tmp_path / "images.7z")


def test_labels_of_every_kind() -> None:
    assert load(PIXELS[:3], [10, 9, 10]).classes == ("9", "10")
    assert load(PIXELS[:3], np.array([2, 0, 2], np.uint8), classes=["a", "b", "c"]).labels.tolist() == [2, 0, 2]
    assert load(PIXELS[:3], ["b", "a", "b"]).labels.tolist() == [1, 0, 1]
    assert load(PIXELS[:3], np.array(["b", "a", "b"], object), classes=["b", "a"]).labels.tolist() == [0, 1, 0]
    assert load(PIXELS[:2], [True, False]).classes == ("False", "True")


def test_what_is_not_known_of_groups_is_empty() -> None:
    class NotAvailable:
        """Behaves as pandas.NA does."""

        def __ne__(self, other: object) -> NotAvailable:
            return self

        def __bool__(self) -> bool:
            raise TypeError("boolean value of NA is ambiguous")

        __hash__ = object.__hash__

    groups = ["p1", None, float("nan"), NotAvailable(), " p1 ", 7]
    for given in (groups, np.array(groups, object)):
        assert load(PIXELS[:6], NUMBERS[:6], groups=given).groups.tolist() == ["p1", "", "", "", "p1", "7"]
    assert load(PIXELS[:2], [0, 1], groups=["p1", float("nan")]).groups.tolist() == ["p1", ""]
    assert load(PIXELS[:2], [0, 1], splits=["val", None]).given_splits.tolist() == ["validation", ""]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": NUMBERS[:-1]}, "labels has shape (17,); 18 images need 18 values in one dimension."),
        ({"labels": NUMBERS[:, None]}, "labels has shape (18, 1)"),
        ({"labels": [[0]] * 17 + [[0, 1]]}, "labels is no array of one dimension"),
        ({"labels": NUMBERS.astype(float)}, "Labels hold values of the type float; give integers or class names."),
        ({"labels": [*"ab" * 8, float("nan"), None]}, "2 images have no label, in the rows:\n  16\n  17"),
        ({"labels": np.where(NUMBERS, np.nan, 1.0)}, "9 images have no label"),
        ({"labels": [*"ab" * 8, "", " "]}, "2 images have no label"),
        ({"labels": NUMBERS, "classes": ["only"]}, "Labels go from 0 to 1, but 1 classes are named."),
        ({"labels": NUMBERS - 1, "classes": ["a", "b"]}, "Labels go from -1 to 0, but 2 classes are named."),
        ({"labels": [*"ab" * 9], "classes": ["a"]}, "These labels are not among the classes: b."),
        ({"labels": NUMBERS, "groups": ["p"]}, "groups has shape (1,); 18 images need 18 values"),
        ({"labels": NUMBERS, "sources": np.zeros((18, 2))}, "sources has shape (18, 2)"),
        ({"labels": NUMBERS, "splits": ["holdout"] * 18}, "splits holds holdout; it may hold train, validation, test"),
    ],
)
def test_what_arrays_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError) as caught:
        load(PIXELS, **options)
    assert words in str(caught.value)
