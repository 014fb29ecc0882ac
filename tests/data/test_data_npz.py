"""NPZ files: the usual names, labels of every kind, values that are certainly bytes, and everything that is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foveal.data.load import load
from foveal.data.sources import npz
from foveal.errors import DataError

X = np.random.default_rng(1).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
Y = np.array([2, 0, 1, 2, 1, 0])


def saved(folder: Path, *unnamed: np.ndarray, **named: object) -> Path:
    np.savez(folder / "data.npz", *unnamed, **named)
    return folder / "data.npz"


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize(
    ("images", "labels"),
    [("X", "Y"), ("x", "y"), ("images", "labels"), ("Data", "Target"), ("data", "labels"), ("arr_0", "arr_1")],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_pair_of_names(images: str, labels: str, save: object, tmp_path: Path) -> None:
    save(tmp_path / "flowers.npz", **{images: X, labels: Y})
    dataset = load(tmp_path / "flowers.npz")
    assert (dataset.name, dataset.origin, dataset.notes) == ("flowers", str(tmp_path / "flowers.npz"), ())
    assert np.array_equal(dataset.images.pixels, X)
    assert dataset.labels.tolist() == Y.tolist()
    assert dataset.classes == ("0", "1", "2")
    assert set(dataset.given_splits) == {""}


def test_unnamed_arrays_are_told_apart_by_their_shapes(tmp_path: Path) -> None:
    assert np.array_equal(load(saved(tmp_path, Y, X)).images.pixels, X)
    assert "are the images and labels" not in refusal(saved(tmp_path, X, X))
    assert "holds the arrays arr_0, arr_1, arr_2" in refusal(saved(tmp_path, X, Y, Y))


@pytest.mark.parametrize(
    "pattern",
    [("x_{}", "y_{}"), ("X_{}", "Y_{}"), ("{}_images", "{}_labels"), ("images_{}", "labels_{}"), ("{}_x", "{}_y")],
)
def test_one_pair_for_each_split(pattern: tuple[str, str], tmp_path: Path) -> None:
    rows = {"train": slice(3), "val": slice(3, 4), "test": slice(4, 6)}
    named = {
        name.format(part): values[row]
        for part, row in rows.items()
        for name, values in zip(pattern, (X, Y[:, None]), strict=True)
    }
    dataset = load(saved(tmp_path, **named))
    assert dataset.given_splits.tolist() == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert dataset.record_ids.tolist() == [f"train/{n:05d}" for n in range(3)] + [
        "validation/00000", "test/00000", "test/00001",
    ]  # fmt: skip
    assert np.array_equal(dataset.images.pixels, X)
    assert dataset.labels.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("labels", "options", "classes"),
    [
        (Y[:, None].astype(np.uint8), {}, ("0", "1", "2")),
        (Y.astype(">i2"), {}, ("0", "1", "2")),
        (np.eye(3)[Y], {}, ("0", "1", "2")),
        (np.eye(3, dtype=bool)[Y], {"classes": np.array(["a", "b", "c"])}, ("a", "b", "c")),
        (Y, {"classes": np.array([b"a", "bé".encode(), b"c"])}, ("a", "bé", "c")),
        (np.array(["b", "a", "c"])[Y], {}, ("a", "b", "c")),
        (np.array([b"b", b"a", b"c"])[Y], {"classes": np.array(["c", "b", "a"])}, ("c", "b", "a")),
    ],
)
def test_labels_of_every_kind(
    labels: np.ndarray, options: dict[str, np.ndarray], classes: tuple[str, ...], tmp_path: Path
) -> None:
    dataset = load(saved(tmp_path, X=X, Y=labels, **options))
    assert dataset.classes == classes
    given = [classes[number] for number in dataset.labels]
    if labels.dtype.kind in "US":
        assert given == np.array(["b", "a", "c"])[Y].tolist()
    else:
        assert given == [classes[number] for number in Y]


def test_groups_are_read(tmp_path: Path) -> None:
    groups = np.array([b"p1", b"p1", b"p2", b"p2", b"", b"p3"])
    assert load(saved(tmp_path, X=X, Y=Y, groups=groups)).groups.tolist() == ["p1", "p1", "p2", "p2", "", "p3"]
    assert load(saved(tmp_path, X=X, Y=Y, groups=np.arange(6))).groups.tolist() == list("012345")
    assert "groups has shape (5,)" in refusal(saved(tmp_path, X=X, Y=Y, groups=groups[:5]))
    divided = saved(tmp_path, x_train=X, y_train=Y, x_test=X, y_test=Y, groups=groups)
    assert '"groups" beside x_train and x_test does not say whose they are' in refusal(divided)


@settings(deadline=None, max_examples=60)
@given(
    pixels=arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))),
    dtype=st.sampled_from(["f4", "f8", ">f4"]),
    times=st.booleans(),
)
def test_floats_that_are_bytes_over_255_come_back_exactly(
    pixels: np.ndarray, dtype: str, times: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    floats = pixels.astype(dtype)
    floats = floats * np.dtype(dtype).type(1 / 255) if times else floats / np.dtype(dtype).type(255)
    path = saved(tmp_path_factory.getbasetemp(), X=floats.astype(dtype), Y=np.arange(len(pixels)))
    dataset = load(path)
    assert np.array_equal(dataset.images.pixels[..., 0], pixels)
    assert dataset.notes == (npz.RULE_SHARE.format(np.dtype(dtype)),)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", ">u2", "i2"])
def test_whole_numbers_are_taken_as_they_are(dtype: str, tmp_path: Path) -> None:
    dataset = load(saved(tmp_path, X=X.astype(dtype), Y=Y))
    assert np.array_equal(dataset.images.pixels, X)
    assert dataset.notes == (npz.RULE_WHOLE.format(np.dtype(dtype)),)
    assert dataset.take(np.array([1])).notes == dataset.notes


def changed(value: float, dtype: str = "f4", scale: float = 1) -> np.ndarray:
    images = X.astype(dtype) * np.dtype(dtype).type(scale)
    images[3, 2, 1, 0] = value
    return images


@pytest.mark.parametrize(
    "images",
    [
        changed(0.5),
        changed(-1.0),
        changed(256.0),
        changed(float("inf")),
        changed(-1, "i4"),
        changed(1_000, "i4"),
        changed(0.5, scale=1 / 255),
        changed(0.1234, scale=1 / 255),
        X.astype("f4") / 127.5 - 1,
        np.log1p(X.astype("f4")),
    ],
)
def test_values_that_could_mean_something_else_are_refused(images: np.ndarray, tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, X=images, Y=Y))
    assert f'"X" is {images.dtype} from ' in message
    assert "(x * 255).round().astype('uint8') for values between 0 and 1." in message


@pytest.mark.parametrize(
    ("arrays_", "words"),
    [
        ({"X": X}, "holds the arrays X, but no images with labels under names known here"),
        ({"X": X, "Y": Y, "images": X, "labels": Y}, "are the images and labels X and Y or images and labels?"),
        ({"X": X, "Y": Y, "x_train": X, "y_train": Y}, "are the images and labels X and Y or x_train and y_train?"),
        ({"x_train": X, "y_train": Y, "x_test": X}, 'holds "x_test" but not "y_test".'),
        ({"x_train": X, "y_train": Y, "y_test": Y}, 'holds "y_test" but not "x_test".'),
        ({"x_val": X, "y_val": Y, "x_valid": X, "y_valid": Y}, "holds one split under two names"),
        ({"X": X, "Y": Y[:5]}, '"X" has 6 images, "Y" 5 labels.'),
        ({"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y}, "images of different shapes: [(4, 4, 3), (5,"),
        ({"X": X.transpose(0, 3, 1, 2), "Y": Y}, "Move the channels last with x.transpose(0, 2, 3, 1)."),
        ({"X": X, "Y": Y.astype(float)}, '"Y" is float64 of the shape (6,); labels are whole numbers'),
        ({"X": X, "Y": np.eye(3)[Y] * 2}, "not one-hot: 6 rows do not have one 1 among zeros:\n  row 0"),
        ({"X": X, "Y": np.eye(3)[Y] + np.eye(3)[[2, 0, 2, 2, 1, 0]]}, "not one-hot: 6 rows"),
        ({"X": X, "Y": np.zeros((6, 3), int)}, "not one-hot: 6 rows"),
        ({"X": X, "Y": Y[:, None, None]}, '"Y" is int64 of the shape (6, 1, 1)'),
        (
            {"X": X, "Y": Y - 1, "classes": np.array(["a", "b", "c"])},
            "Labels go from -1 to 1, but 3 classes are named.",
        ),
        ({"X": X, "Y": Y, "classes": np.arange(3)}, '"classes" is int64 of the shape (3,), not a list of names.'),
        ({"X": X > 3, "Y": Y}, "The images are bool; give uint8"),
        ({"X": np.array([X, None], object), "Y": Y}, '"X" holds Python objects, which only a pickle could bring back.'),
        ({"X": X, "Y": Y.astype(object)}, '"Y" holds Python objects, which only a pickle could bring back. Save names'),
        ({"X": X, "Y": Y.astype(object)}, "y.astype(str)."),
        ({"X": X[:0], "Y": np.array([])}, 'holds no images: "X" has the shape (0, 5, 4, 3).'),
        ({"X": np.float32(3), "Y": Y}, '"X" is a single value; images are (N, H, W)'),
        ({"X": changed(float("nan")), "Y": Y}, "values that are no numbers (NaN), in 1 of 6 images; leave these"),
        ({"X": X, "Y": Y, "Classes": np.array(["a", "b\x1b[31m", "c"])}, '"Classes" holds class names with control'),
        ({"X": X, "Y": np.array(["a", "b\n", "c"])[Y]}, "or line breaks; write them without:\n  b\\n"),
        ({"X": X, "Y": np.array([b"a", "b\x9b".encode(), b"c"])[Y]}, "write them without:\n  b\\x9b"),
    ],
)
def test_what_is_refused(arrays_: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    assert words in refusal(saved(tmp_path, **arrays_))


def test_a_lone_array_is_refused_with_what_to_write(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert "holds one array, so either the images or the labels are missing" in refusal(tmp_path / "x.npy")


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(folder: Path, **members: bytes) -> Path:
    path = folder / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header((10**6, 10**6)) + bytes(10), "announces 1,000,000,000,000 bytes; the limit is 8 GiB"),
        (header((6, 5, 4)) + bytes(119), '"X" announces 120 bytes, 119 follow its header.'),
        (header((6, 5, 4)) + bytes(1 << 20), '"X" announces 120 bytes, 1,048,576 follow its header.'),
        (header((-6, 5, 4)) + bytes(120), '"X" is no array of NumPy'),
        (header((6, 5), "|S0"), '"X" is no array of NumPy'),
        (b"\x93NUMPY\x09\x00" + bytes(200), '"X" is no array of NumPy: '),
        (header((6, 5, 4)).replace(b"False", b"f(x) "), '"X" is no array of NumPy: its header cannot be understood.'),
        (b"", '"X" is no array of NumPy'),
        (b"\x80\x04K\x01.", '"X" is no array of NumPy'),
    ],
)
def test_headers_are_not_believed(content: bytes, words: str, tmp_path: Path) -> None:
    labels = io.BytesIO()
    np.save(labels, Y)
    assert words in refusal(zipped(tmp_path, X=content, Y=labels.getvalue()))


def test_the_limit_is_for_all_arrays_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, x_train=X, y_train=Y, x_test=X, y_test=Y)
    monkeypatch.setattr(npz, "MAX_BYTES", 2 * (X.nbytes + Y.nbytes))
    assert len(load(path)) == 12
    monkeypatch.setattr(npz, "MAX_BYTES", 2 * (X.nbytes + Y.nbytes) - 1)
    assert "the limit is" in refusal(path)


def test_what_shrinks_too_well_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = {"X": np.zeros((6, 500, 500), np.uint8), "Y": Y}
    np.savez_compressed(tmp_path / "data.npz", **blank)
    assert len(load(tmp_path / "data.npz")) == 6
    monkeypatch.setattr(npz, "BOMB_FREE_GIB", 0)
    assert '"X" unpacks to more than 500 times its size, which images do not' in refusal(tmp_path / "data.npz")
    assert len(load(saved(tmp_path, **blank))) == 6


WHOLE = io.BytesIO()
np.savez_compressed(WHOLE, X=X, Y=Y)


@settings(deadline=None, max_examples=300)
@given(position=st.integers(0, len(WHOLE.getvalue()) - 1), new=st.binary(max_size=3), cut=st.integers(0, 3))
def test_any_change_is_refused_or_harmless(
    position: int, new: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    content = WHOLE.getvalue()
    path.write_bytes(content[:position] + new + content[position + cut :])
    try:
        dataset = load(path)
    except DataError:
        return
    assert np.array_equal(dataset.images.pixels, X)
    assert dataset.labels.tolist() == Y.tolist()


@pytest.mark.parametrize("start", range(0, 60, 3))
def test_any_header_is_refused_or_read(start: int, tmp_path: Path) -> None:
    labels = io.BytesIO()
    np.save(labels, Y)
    for new in (b"(((", b"'\\", b"L, ", b"{1:", b"\n  \n", b"9**9", b"\xff\x00"):
        content = bytearray(header((6, 5, 4)))
        content[10 + start : 10 + start + len(new)] = new
        try:
            load(zipped(tmp_path, X=bytes(content) + bytes(120), Y=labels.getvalue()))
        except DataError as error:
            str(error)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, X=X, Y=Y)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b"", b"PK\x03\x04 no zip"):
        path.write_bytes(damaged)
        assert "cannot be read: " in refusal(path)
    with zipfile.ZipFile(path, "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("X.npy", b"")
        file.writestr("X.npy", b"")
    assert 'holds two arrays of the name "X"' in refusal(path)
