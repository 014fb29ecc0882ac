"""Archives: the same data as the folder they were packed from, patients included."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archive_files import FLAT, JUNK, SMALL, SPLIT, TABLE, both, ids, packed, png, refusal, unpacked

from foveal.data import spool
from foveal.data.images import Fitting
from foveal.data.load import load
from foveal.data.sources.listing import SUFFIXES
from foveal.data.sources.manifest import Columns
from foveal.data.splits import make_split
from foveal.errors import ResourceError, UsageError
from foveal.preprocess import Preprocess
from foveal.progress import Progress

SILENT = Progress(silent=True)
GREY = Preprocess(1, 8, 8, 8, 8, "stretch", (0.0,), (1.0,))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("wrapping", ["", "pets/", "./data/v2/pets/", "test/"])
@pytest.mark.parametrize("layout", [FLAT, SPLIT], ids=["flat", "split"])
def test_an_archive_is_the_folder_it_was_packed_from(
    layout: dict[str, bytes], wrapping: str, suffix: str, tmp_path: Path
) -> None:
    if wrapping == "test/" and layout is FLAT:
        wrapping = "./"  # a folder called test that holds classes is a split
    junk = JUNK if layout is FLAT else {name.replace("cat/", "train/cat/"): content for name, content in JUNK.items()}
    files = {wrapping + name: content for name, content in {**layout, **junk}.items()}
    folders = {f"{path.rpartition('/')[0]}/": b"" for path in files if "/" in path}
    archive = packed(tmp_path / f"pets{suffix}", {**folders, **files})
    beside = sorted(tmp_path.iterdir())
    dataset, folder = load(archive), load(unpacked(tmp_path / "pets", {**layout, **junk}))
    assert dataset.name == (wrapping.strip("./").rpartition("/")[2] or "pets")
    assert dataset.origin == str(archive)
    assert dataset.classes == folder.classes == ("cat", "dog")
    for column in ("record_ids", "labels", "groups", "sources", "given_splits"):
        assert np.array_equal(getattr(dataset, column), getattr(folder, column)), column
    assert dataset.scan.unreadable == {}
    assert dataset.content_hash == folder.content_hash
    out, expected = np.zeros((18, 8, 8, 1), np.uint8), np.zeros((18, 8, 8, 1), np.uint8)
    rows = np.random.default_rng(0).permutation(18)
    assert (
        dataset.images.decode(rows, [Fitting(GREY, out)], SILENT)
        == folder.images.decode(rows, [Fitting(GREY, expected)], SILENT)
        == {}
    )
    assert np.array_equal(out, expected)
    assert dataset.images.location(0).startswith(f"{archive}/")
    assert sorted(one for one in tmp_path.iterdir() if one.name != "pets") == beside


def test_splits_and_weights_are_those_of_the_folder(class_folders: Path, tmp_path: Path) -> None:
    from foveal import train

    files = {f"fruit/{path.relative_to(class_folders)}": path.read_bytes() for path in class_folders.rglob("*.png")}
    sources = [class_folders, packed(tmp_path / "fruit.zip", files), packed(tmp_path / "fruit.tar.xz", files)]
    splits = [
        make_split(load(one), seed=3, validation=0.2, test=0.2, split_by="group").assigned.tolist() for one in sources
    ]
    assert splits[0] == splits[1] == splits[2]
    runs = [
        train(one, model="mlp", epochs=1, size=(8, 8), threads=1, out=tmp_path / f"run{number}", progress=False)
        for number, one in enumerate(sources[:2])
    ]
    weights = [(run.classifier_dir / "weights.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


def test_threads_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal.data import images

    monkeypatch.setattr(images, "TOO_SHORT_S", 0.0)
    files = {f"{'cat' if number % 2 else 'dog'}/{number:03d}.png": png(number) for number in range(300)}
    for suffix in (".zip", ".tar", ".tar.gz"):
        assert load(packed(tmp_path / f"a{suffix}", files)).scan.unreadable == {}


@pytest.mark.parametrize(
    ("first", "second"), [(".tar.gz", ".tar"), (".tar", ".tar.gz"), (".tar.xz", ".zip"), (".zip", ".tar")]
)
def test_the_kind_is_read_off_the_content(first: str, second: str, tmp_path: Path) -> None:
    archive = packed(tmp_path / f"a{first}", SMALL)
    assert ids(load(archive.rename(tmp_path / f"b{second}"))) == list(SMALL)


def test_zip64_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # so the table of contents is a zip64 one
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in SMALL.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    assert b"PK\6\6" in (tmp_path / "a.zip").read_bytes()
    dataset = load(tmp_path / "a.zip")
    assert (ids(dataset), dataset.scan.unreadable) == (list(SMALL), {})


def test_other_methods_of_zip_are_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/a.png", png(1), zipfile.ZIP_LZMA)
        archive.writestr("dog/a.png", png(2), zipfile.ZIP_BZIP2)
    assert load(tmp_path / "a.zip").scan.unreadable == {0: "it is compressed by method 14, not the usual one (deflate)"}


def test_what_does_not_fit_into_memory_goes_to_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, folder = packed(tmp_path / "pets.tar.gz", FLAT), load(unpacked(tmp_path / "pets", FLAT))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(spool, "IN_MEMORY_GIB", 0)
    log = io.StringIO()
    with Progress(stream=log) as progress:
        dataset = load(archive, progress=progress)
    assert "is kept in a temporary file in" in log.getvalue()
    assert dataset.content_hash == folder.content_hash
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY_GIB", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda prefix: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
    with pytest.raises(ResourceError, match=r"pets.tar.gz does not fit unpacked into .* \(No space left on device\)"):
        load(packed(tmp_path / "pets.tar.gz", FLAT))


def test_one_class_with_folders_in_it_is_no_wrapping(tmp_path: Path) -> None:
    assert "lie in no class folder" in refusal(
        packed(tmp_path / "a.zip", {"pets/x.png": png(1), **{f"pets/{k}": v for k, v in SMALL.items()}})
    )
    assert load(packed(tmp_path / "a.zip", {"cat/a.png": png(1), "cat/b.png": png(2)})).classes == ("cat",)
    assert load(packed(tmp_path / "a.zip", {"train/cat/a.png": png(1)})).given_splits.tolist() == ["train"]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_empty_class_folder_is_not_forgotten(suffix: str, tmp_path: Path) -> None:
    message = refusal(packed(tmp_path / f"a{suffix}", {**SMALL, "fox/": b""}))
    assert message.endswith("fill or remove them:\n  fox")


@pytest.mark.slow
def test_real_archives_are_what_they_unpack_to(real_data: Path, tmp_path: Path) -> None:
    archive = real_data / "flowers5-thumbs.zip"
    shutil.unpack_archive(archive, tmp_path)
    dataset, folder = load(archive), load(tmp_path / "flowers5")
    assert ids(dataset) == ids(folder)
    assert dataset.content_hash == folder.content_hash


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize("wrapping", ["", "pets/", "a/pets/"])
@pytest.mark.parametrize("name", ["manifest.csv", "labels.tsv"])
def test_an_archive_with_a_manifest_keeps_its_patients(name: str, wrapping: str, suffix: str, tmp_path: Path) -> None:
    files = {wrapping + path: content for path, content in {**SMALL, name: TABLE, "README.md": b"hello"}.items()}
    dataset = load(packed(tmp_path / f"pets{suffix}", files))
    assert ids(dataset) == list(SMALL)
    assert dataset.groups.tolist() == ["p1", "p1", "p2", ""]
    assert (dataset.name, dataset.origin) == ("pets", str(tmp_path / f"pets{suffix}"))
    assert dataset.scan.unreadable == {}
    folder = load(unpacked(tmp_path / "pets", {**SMALL, name: TABLE}))
    assert folder.content_hash == dataset.content_hash
    assert folder.groups.tolist() == ["p1", "p1", "p2", ""]
    assert (folder.name, folder.origin) == ("pets", str(tmp_path / "pets" / name))


def test_a_table_that_may_name_patients_is_never_passed_over(tmp_path: Path) -> None:
    table = b"Bild,Befund,Fall\ncat/a.png,cat,p1\ncat/b.png,cat,p1\ndog/a.png,dog,p2\ndog/b.png,dog,p3\n"
    for source in both(tmp_path, {**SMALL, "liste.csv": table}):
        assert refusal(source) == (
            f"{source}/liste.csv has no column for the path (its columns: Bild, Befund, Fall); name it with "
            f"--path-column. If it is no manifest of these images, keep it outside {source}."
        )
        columns = Columns(path="Bild", label="Befund", group="Fall")
        assert load(source, columns=columns).groups.tolist() == ["p1", "p1", "p2", "p3"]
    (tmp_path / "other").mkdir()
    for source in both(tmp_path / "other", {**SMALL, "latin.csv": "Größe".encode("latin-1")}):
        assert "latin.csv is not UTF-8 text" in refusal(source)


def test_images_that_the_manifest_does_not_list_are_not_lost_in_silence(tmp_path: Path) -> None:
    short = TABLE.replace(b"dog/b.png,dog,\n", b"dog/c.png,dog,\n")
    for source in both(tmp_path, {**SMALL, "manifest.csv": short}):
        assert refusal(source) == (
            f"{source}/manifest.csv does not list 1 of the images beside it, and 1 that it lists are not there (paths "
            "are relative to its folder); list them, or, where they are left out on purpose, give the (unpacked) "
            "manifest itself as the source:\n  dog/b.png"
        )
    assert len(load(tmp_path / "pets" / "manifest.csv")) == 4


def test_several_manifests_are_refused_and_other_tables_beside_one_are_not(tmp_path: Path) -> None:
    for source in both(tmp_path, {**SMALL, "b.csv": TABLE, "a.tsv": TABLE, "notes.csv": b"who,what\n"}):
        assert refusal(source) == (
            f"{source} holds several manifests, a.tsv, b.csv: keep the one that counts there, and the others elsewhere."
        )
    (tmp_path / "pets" / "a.tsv").unlink()
    assert load(tmp_path / "pets").groups.tolist() == ["p1", "p1", "p2", ""]


def test_paths_of_a_manifest_stay_in_the_archive(tmp_path: Path) -> None:
    table = TABLE + b"../x.png,cat,\n/etc/passwd,cat,\n"
    archive = packed(tmp_path / "pets.zip", {f"pets/{name}": data for name, data in {**SMALL, "m.csv": table}.items()})
    assert refusal(archive).splitlines()[1:] == [
        f"  line 6: ../x.png lies outside {archive}/pets; paths are relative to the manifest",
        f"  line 7: /etc/passwd lies outside {archive}/pets; paths are relative to the manifest",
    ]


def test_columns_without_a_manifest_are_refused(tmp_path: Path) -> None:
    for source in both(tmp_path, SMALL):
        with pytest.raises(UsageError, match="Columns go with a manifest"):
            load(source, columns=Columns(group="patient"))


def test_the_chest_x_rays_keep_their_patients(real_data: Path) -> None:
    dataset = load(real_data / "cxr3.zip")
    assert dataset.class_counts() == {"covid-19": 124, "normal": 500, "pneumonia": 500}
    assert len(set(dataset.groups.tolist()) - {""}) == 682
    assert ids(dataset)[0].startswith("images/covid-19/")
    assert dataset.name == "cxr3"
