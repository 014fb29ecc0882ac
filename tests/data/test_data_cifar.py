"""CIFAR: both versions, folder and archive, and every way in which such files can be wrong."""

from __future__ import annotations

import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_files import SMALL, python2_pickle, write_cifar

from foveal.data.load import load
from foveal.data.sources import cifar
from foveal.data.sources.cifar import LAYOUTS, Layout
from foveal.data.sources.tree import FolderTree
from foveal.errors import DataError, UsageError

TEN_BIN, TEN_PY, HUNDRED_BIN, HUNDRED_PY = SMALL
LAYOUT_IDS = [layout.folder for layout in SMALL]


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "LAYOUTS", SMALL)


def refusal(source: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(source, **options)
    return str(caught.value)


def pack(folder: Path, archive: Path, mode: str = "w:gz", prefix: str = "") -> Path:
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, prefix + folder.name)
    return archive


def test_the_published_files_have_these_sizes() -> None:
    sizes = {
        part.file: layout.most_bytes(part.file) for layout in LAYOUTS if layout.label_bytes for part in layout.parts
    }
    assert sizes == {
        **{f"data_batch_{number}.bin": 30_730_000 for number in range(1, 6)},
        "test_batch.bin": 30_730_000,
        "train.bin": 153_700_000,
        "test.bin": 30_740_000,
    }
    python = {
        part.file: layout.most_bytes(part.file) for layout in LAYOUTS if not layout.label_bytes for part in layout.parts
    }
    published = {"data_batch_1": 31_035_704, "test_batch": 31_035_526, "train": 155_249_918, "test": 31_049_707}
    assert all(published[file] <= python[file] <= published[file] * 1.1 for file in published)


@pytest.mark.parametrize("layout", SMALL, ids=LAYOUT_IDS)
@pytest.mark.parametrize("place", ["folder", "above", "tar.gz", "tar", "dotted.tgz", "zip"])
def test_images_labels_and_splits(layout: Layout, place: str, tmp_path: Path) -> None:
    folder = tmp_path / layout.folder
    images, fine, coarse = write_cifar(folder, layout)
    sources = {
        "folder": lambda: folder,
        "above": lambda: tmp_path,
        "tar.gz": lambda: pack(folder, tmp_path / "copy.tar.gz"),
        "tar": lambda: pack(folder, tmp_path / "copy.tar", "w"),
        "dotted.tgz": lambda: pack(folder, tmp_path / "copy.tgz", prefix="./"),
        "zip": lambda: Path(shutil.make_archive(str(tmp_path / "copy"), "zip", tmp_path, layout.folder)),
    }
    dataset = load(sources[place]())
    assert dataset.classes == tuple(f"class{number:02d}" for number in range(layout.classes))
    assert np.array_equal(dataset.images.pixels, images)
    assert np.array_equal(dataset.labels, fine)
    train = sum(part.images for part in layout.parts if part.split == "train")
    assert dataset.given_splits.tolist() == ["train"] * train + ["test"] * 4
    assert dataset.record_ids[[0, train - 1, train]].tolist() == ["train/00000", f"train/{train - 1:05d}", "test/00000"]
    if layout.classes == 100:
        rough = load("cifar100_coarse", data_dir=tmp_path)
        assert (rough.name, rough.origin) == ("cifar100_coarse", "cifar100_coarse")
        assert rough.classes == tuple(f"group{number:02d}" for number in range(20))
        assert np.array_equal(rough.labels, coarse)


def test_both_versions_are_the_same_data(tmp_path: Path) -> None:
    for layout in (TEN_BIN, TEN_PY):
        write_cifar(tmp_path / layout.folder, layout)
    both = [load(tmp_path / layout.folder) for layout in (TEN_BIN, TEN_PY)]
    assert both[0].content_hash == both[1].content_hash
    assert np.array_equal(both[0].record_ids, both[1].record_ids)
    above = load(tmp_path)
    assert (above.name, above.origin) == ("cifar-10-batches-bin", str(tmp_path))  # the binary one is taken
    named = load("cifar10", data_dir=tmp_path)
    assert (named.name, named.origin, named.content_hash) == ("cifar10", "cifar10", both[0].content_hash)


def test_a_folder_with_both_data_sets_is_asked_back(tmp_path: Path) -> None:
    for layout in (TEN_BIN, HUNDRED_PY):
        write_cifar(tmp_path / layout.folder, layout)
    assert "holds both CIFAR-10 and CIFAR-100 (cifar-10-batches-bin, cifar-100-python)" in refusal(tmp_path)
    assert len(load("cifar100", data_dir=tmp_path).classes) == 100


@pytest.mark.parametrize("layout", SMALL, ids=LAYOUT_IDS)
def test_missing_files_are_listed(layout: Layout, tmp_path: Path) -> None:
    folder = tmp_path / layout.folder
    write_cifar(folder, layout)
    gone = [layout.parts[0].file] if len(layout.parts) == 2 else sorted([layout.parts[0].file, layout.names_file])
    for file in gone:
        (folder / file).unlink()
    lines = "\n".join(f"  {file}" for file in gone)
    archive = pack(folder, tmp_path / "copy.tar.gz")
    for place, files in ((folder, folder), (archive, archive / layout.folder)):
        assert refusal(place) == f"{files} is {layout.data_set} without these files; get them again:\n{lines}"


@pytest.mark.parametrize("change", [-1, 1])
def test_a_binary_file_has_its_size_to_the_byte(change: int, tmp_path: Path) -> None:
    folder = tmp_path / TEN_BIN.folder
    write_cifar(folder, TEN_BIN)
    file = folder / "data_batch_3.bin"
    content = file.read_bytes()
    file.write_bytes(content[:change] if change < 0 else content + b"\0")
    size = f"more than {len(content):,}" if change > 0 else f"{len(content) - 1:,}"
    assert refusal(folder) == f"{file} has {size} bytes; CIFAR-10's has {len(content):,}."
    archive = pack(folder, tmp_path / "copy.tar.gz")
    assert refusal(archive).startswith(f"{archive / folder.name / file.name} has {size} bytes;")


def test_labels_and_names_must_fit_the_classes(tmp_path: Path) -> None:
    folder = tmp_path / TEN_BIN.folder
    write_cifar(folder, TEN_BIN)
    file = folder / "test_batch.bin"
    whole = file.read_bytes()
    file.write_bytes(b"\x0a" + whole[1:])
    assert refusal(folder) == f"{file} has the label 10; CIFAR-10 has 10 classes from 0 on."
    file.write_bytes(whole)
    names = folder / "batches.meta.txt"
    for content, words in ((b"a\nb\n", "names 2 classes; CIFAR-10 has 10."), (b"\xff", "does not hold the names")):
        names.write_bytes(content)
        assert words in refusal(folder)
    names.write_bytes(b"x" * 70_000)
    assert "has more than 65,536 bytes; CIFAR-10's has at most 65,536." in refusal(folder)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "its images have the shape none, not (4, 3072)."),
        ({b"data": np.zeros((3, 3072), np.uint8)}, "its images have the shape (3, 3072), not (4, 3072)."),
        ({b"data": np.zeros((4, 3072), np.uint8)}, "labels are not 4 whole numbers, one an image."),
        ({b"data": np.zeros((4, 3072), np.uint8), b"labels": [1, 2, b"3", 4]}, "labels are not 4 whole numbers"),
        ({b"data": np.zeros((4, 3072), np.uint8), b"labels": [1, 2, -3, 4]}, "has the label -3;"),
        ({b"data": np.zeros((4, 3073), np.uint8)}, "holds an array of the shape (4, 3073), more than the published"),
        ({b"data": np.zeros((4, 384), "<i8")}, "holds an array of the type b'i8'; images are bytes (u1)"),
        ({b"labels": [0] * 2_000}, "holds more than 1,064 instructions"),
    ],
)
def test_what_a_pickled_batch_may_hold(fields: dict[bytes, object], words: str, tmp_path: Path) -> None:
    folder = tmp_path / TEN_PY.folder
    write_cifar(folder, TEN_PY)
    (folder / "test_batch").write_bytes(python2_pickle(fields))
    message = refusal(folder)
    assert message.startswith(str(folder / "test_batch"))
    assert words in message


def test_a_pickled_batch_in_fortran_order_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / TEN_PY.folder
    images, *_ = write_cifar(folder, TEN_PY)
    planes = np.asfortranarray(images[-4:].transpose(0, 3, 1, 2).reshape(4, -1))
    (folder / "test_batch").write_bytes(python2_pickle({b"data": planes, b"labels": [0, 1, 2, 3]}))
    assert np.array_equal(load(folder).images.pixels[-4:], images[-4:])


def test_a_pickle_that_would_act_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    folder = tmp_path / TEN_PY.folder
    write_cifar(folder, TEN_PY)
    for file in ("data_batch_1", "batches.meta"):
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(pickle.dumps({b"data": Trap()}, protocol=2))
        assert "which plain data do not need, so it is not read; the binary version" in refusal(folder)
        (folder / file).write_bytes(whole)
    assert not (tmp_path / "sprung").exists()


def test_an_archive_under_the_published_name_holds_the_published_folder(tmp_path: Path) -> None:
    folder = tmp_path / TEN_BIN.folder
    images, *_ = write_cifar(folder, TEN_BIN)
    place = tmp_path / "place"
    (place / "cifar10").mkdir(parents=True)
    archive = pack(folder, place / "cifar10" / TEN_BIN.archive)
    assert np.array_equal(load("cifar10", data_dir=place).images.pixels, images)
    pack(place / "cifar10", archive)
    assert refusal("cifar10", data_dir=place) == (
        f"{archive} does not hold cifar-10-batches-bin, as the published archive does."
    )
    archive.write_bytes(archive.read_bytes()[:-20])
    assert "cut off or damaged" in refusal("cifar10", data_dir=place)


def test_class_folders_are_not_cifar(tmp_path: Path, class_folders: Path) -> None:
    for split in ("train", "test", "meta"):
        shutil.copytree(class_folders, tmp_path / "other" / split)
    (tmp_path / "other" / "train" / "apple" / "data_batch_1").write_text("x")
    assert cifar.find_cifar(FolderTree(tmp_path / "other")) is None
    shutil.rmtree(tmp_path / "other" / "meta")
    (tmp_path / "other" / "meta").write_text("one file alone may be anything")
    assert load(tmp_path / "other").classes == ("apple", "lime", "plum")


def test_a_data_dir_goes_with_a_published_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"A data_dir goes with a name of the catalog \(mnist, "):
        load(tmp_path, data_dir=tmp_path)
    with pytest.raises(UsageError, match="digits needs no files; leave --data-dir out"):
        load("digits", data_dir=tmp_path)
    assert refusal("cifar10", data_dir=tmp_path / "no") == f"There is no folder {tmp_path / 'no'} (--data-dir)."
    assert refusal("cifar10", data_dir=tmp_path) == (
        f"{tmp_path} holds no CIFAR-10: put cifar-10-binary.tar.gz, cifar-10-python.tar.gz, or the folder in one of "
        f"them there, or into {tmp_path / 'cifar10'}."
    )
