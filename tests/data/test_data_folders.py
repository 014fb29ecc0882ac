"""Class folders: what is read, what is passed over, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from foveal.data.load import load
from foveal.data.sources.folders import image_files
from foveal.errors import DataError


def fill(root: Path, *names: str) -> Path:
    """Write an image of its own content to each of `names` below `root`."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(path, "PNG")
    return root


def labels(root: Path) -> dict[str, str]:
    dataset = load(root)
    return {
        str(one): dataset.classes[label] for one, label in zip(dataset.record_ids, dataset.labels.tolist(), strict=True)
    }


def splits(root: Path) -> dict[str, str]:
    dataset = load(root)
    return dict(zip(dataset.record_ids.tolist(), dataset.given_splits.tolist(), strict=True))


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


def test_nested_folders_and_upper_case_suffixes_belong_to_their_class(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.png", "cat/indoors/old/B.PNG", "cat/x.jpg/c.JPeG", "dog/d.tiff")
    assert labels(tmp_path) == {
        "cat/a.png": "cat",
        "cat/indoors/old/B.PNG": "cat",
        "cat/x.jpg/c.JPeG": "cat",  # x.jpg is a folder
        "dog/d.tiff": "dog",
    }
    assert set(splits(tmp_path).values()) == {""}
    assert load(tmp_path).scan.unreadable == {}


def test_hidden_things_and_other_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.png", "dog/b.png", "cat/._a.png", "cat/.thumbs/c.png", ".git/d.png", ".e.png")
    fill(tmp_path, "__MACOSX/cat/f.png", "cat/__MACOSX/g.png")
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "README.txt", "cat/notes.txt"):
        (tmp_path / name).write_bytes(b"\0\1")
    assert list(labels(tmp_path)) == ["cat/a.png", "dog/b.png"]
    assert image_files(tmp_path / "cat") == [tmp_path / "cat" / "a.png"]


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_the_names_of_splits(validation: str, tmp_path: Path) -> None:
    names = [f"{split}/{name}/{split}.png" for split in ("train", validation, "test") for name in ("cat", "dog")]
    fill(tmp_path, *names)
    assert set(labels(tmp_path).values()) == {"cat", "dog"}
    expected = {"train": "train", validation: "validation", "test": "test"}
    assert splits(tmp_path) == {name: expected[name.split("/")[0]] for name in names}


def test_train_without_test_is_a_split_too(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/a.png", "train/dog/b.png")
    assert labels(tmp_path) == {"train/cat/a.png": "cat", "train/dog/b.png": "dog"}
    assert set(splits(tmp_path).values()) == {"train"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, "car/a.png", "plane/b.png", "train/c.png")
    assert labels(tmp_path) == {"car/a.png": "car", "plane/b.png": "plane", "train/c.png": "train"}


def test_folders_that_could_be_splits_or_classes_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/a.png", "test/cat/b.png", "unlabelled/c.png")
    assert "holds test, train beside unlabelled: are these splits or classes?" in refusal(tmp_path)


def test_splits_without_class_folders_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", "train/a.png", "test/b.png")
    message = refusal(root)
    assert "test, train hold images but no class folders" in message
    assert "expected pets/test/<class>/<image>.jpg" in message


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    for folder in ("", "cat", ".hidden"):
        root = tmp_path / "pets"
        (root / folder).mkdir(exist_ok=True)
        assert refusal(root) == f"{root} holds no images: expected pets/<class>/<image>.jpg (or .png, …)."


def test_a_class_folder_without_images_is_not_forgotten(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "photo.heic").write_bytes(b"\0")
    message = refusal(tmp_path)
    assert "hold no images that end in .bmp, .gif" in message
    assert message.endswith("fill or remove them:\n  fox")


def test_a_class_may_be_absent_from_one_split_here(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png")
    (tmp_path / "test" / "dog").mkdir()
    assert len(load(tmp_path)) == 3  # make_split refuses it, where it matters


@pytest.mark.parametrize("inside", ["", "train/"])
def test_loose_images_are_refused(inside: str, tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", f"{inside}cat/a.png", f"{inside}dog/b.png", f"{inside}loose.JPG")
    (root / inside / "dangling.png").symlink_to("nowhere.png")
    message = refusal(root)
    assert "lie in no class folder, so they have no label; move them to pets/<class>/" in message
    assert message.endswith(f"  {inside}dangling.png\n  {inside}loose.JPG")


def test_a_link_to_nothing_is_listed_as_unreadable(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "cat" / "z.png").symlink_to(tmp_path / "nowhere.png")
    dataset = load(tmp_path)
    assert dataset.record_ids.tolist() == ["cat/a.png", "cat/z.png", "dog/b.png"]
    assert dataset.scan.unreadable == {1: "it is not there"}


def test_a_linked_class_folder_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "pets/cat/a.png", "elsewhere/b.png")
    (tmp_path / "pets" / "dog").symlink_to(tmp_path / "elsewhere")
    assert labels(tmp_path / "pets") == {"cat/a.png": "cat", "dog/b.png": "dog"}


@pytest.mark.parametrize("name", [b"cat/caf\xe9.png", b"caf\xe9/b.png"])
def test_names_that_are_not_utf8_are_refused_in_escaped_form(name: bytes, tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.png", "dog/b.png")
    strange = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - bytes
    Path(os.fsdecode(strange)).parent.mkdir(exist_ok=True)
    with open(strange, "wb") as file:  # noqa: PTH123 - bytes
        file.write((tmp_path / "cat" / "a.png").read_bytes())
    message = refusal(tmp_path)
    assert message.startswith("1 file names are not UTF-8; rename these files:\n")
    assert r"caf\xe9" in message
    message.encode()
    with pytest.raises(DataError, match="not UTF-8"):
        image_files(Path(os.fsdecode(strange)).parent)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "cat/a.png", "cat/private/b.png", "dog/c.png")
    scandir = os.scandir

    def closed(path: str | os.PathLike[str]) -> object:
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)  # a test that runs as root can read everything
    assert refusal(tmp_path) == f"{tmp_path}/cat/private cannot be read: Permission denied."
