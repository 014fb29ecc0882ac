"""DICOM files as a source: class folders, archives and manifests; patients as groups, and no identifier anywhere."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import foveal
from dicom_files import content, real
from foveal.data.dataset import Dataset
from foveal.data.images import Fitting
from foveal.data.load import load
from foveal.data.sources.dicom_folder import study_dates
from foveal.data.sources.folders import image_files
from foveal.dicom.identity import SALT_VARIABLE, pseudonym
from foveal.errors import DataError, MissingPartError
from foveal.preprocess import Preprocess
from foveal.progress import Progress

SALT = "a salt for these tests"
SECRETS = {
    "PatientName": "CANARY^NAME",
    "PatientBirthDate": "19330303",
    "PatientAddress": "CANARY STREET 1",
    "InstitutionName": "CANARY HOSPITAL",
    "ReferringPhysicianName": "CANARY^DOCTOR",
    "AccessionNumber": "CANARY77",
    "StudyDescription": "CANARY STUDY",
}


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SALT_VARIABLE, SALT)


def scan(number: int, **values: str) -> bytes:
    """Return a CR image of its own content."""
    pixels = np.random.default_rng(number).integers(0, 4096, (12, 10)).astype(np.uint16)
    return content(pixels, BitsStored=12, StudyDate=f"202401{number + 1:02d}", Manufacturer="ACME", **SECRETS, **values)


def fill(root: Path, **files: bytes) -> Path:
    for name, file in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)
    return root


@pytest.fixture
def chests(tmp_path: Path) -> Path:
    """Two classes, four patients; the third has an image in each class, the last none of a number."""
    return fill(
        tmp_path / "chests",
        **{
            "sick/p1/a.dcm": scan(0, PatientID="CANARY-1", ManufacturerModelName="One"),
            "sick/p1/b.DCM": scan(1, PatientID="CANARY-1", ManufacturerModelName="Two"),
            "sick/c.dicom": scan(2, PatientID="CANARY-2"),
            "sound/IM000001": scan(3, PatientID="CANARY-2"),
            "sound/1.2.840.113619.2.5": scan(4, PatientID="CANARY-3"),
            "sound/d.dcm": scan(5),
            "sound/DICOMDIR": real("DICOMDIR"),
            "sound/notes.txt": b"no image",
            "sound/README": b"no image either",
        },
    )


def by_id(dataset: Dataset, column: np.ndarray) -> dict[str, str]:
    return dict(zip(dataset.record_ids.tolist(), column.tolist(), strict=True))


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


def test_class_folders(chests: Path) -> None:
    dataset = load(chests)
    assert dataset.classes == ("sick", "sound")
    classes = np.array(dataset.classes)[dataset.labels]
    assert by_id(dataset, classes) == {
        "sick/c.dicom": "sick",
        "sick/p1/a.dcm": "sick",
        "sick/p1/b.DCM": "sick",
        "sound/1.2.840.113619.2.5": "sound",
        "sound/IM000001": "sound",
        "sound/d.dcm": "sound",
    }
    assert dataset.scan.unreadable == {}
    assert dataset.scan.one_size() == (12, 10)
    assert set(dataset.scan.channels.tolist()) == {1}


def test_patients_are_groups_and_devices_are_sources(chests: Path) -> None:
    dataset = load(chests)
    groups = by_id(dataset, dataset.groups)
    assert groups["sick/p1/a.dcm"] == groups["sick/p1/b.DCM"] == pseudonym("CANARY-1", "", SALT.encode())
    assert groups["sick/c.dicom"] == groups["sound/IM000001"] != groups["sound/1.2.840.113619.2.5"]
    assert groups["sound/d.dcm"] == ""
    assert by_id(dataset, dataset.sources)["sick/p1/a.dcm"] == "ACME One"
    assert by_id(dataset, dataset.sources)["sound/d.dcm"] == "ACME"
    assert dataset.notes[0].startswith("the group of an image is its patient: 3 in 6 DICOM files")
    assert dataset.notes[0].endswith("; 1 say no patient")


def test_another_salt_gives_other_groups(chests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(chests).groups
    assert (load(chests).groups == before).all()
    monkeypatch.setenv(SALT_VARIABLE, "another salt, as long")
    after = load(chests).groups
    assert not set(filter(None, after)) & set(filter(None, before))


def test_no_identifier_is_kept_anywhere(chests: Path) -> None:
    dataset = load(chests)
    places = [dataset.images.location(row).removeprefix(str(chests)) for row in range(len(dataset))]
    columns = [dataset.record_ids, dataset.groups, dataset.sources, dataset.given_splits, dataset.scan.digests]
    kept = json.dumps([places, *(one.tolist() for one in columns), dataset.notes, dataset.classes, repr(dataset)])
    for secret in (*SECRETS.values(), "CANARY", "20240101"):
        assert secret not in kept
    for row in range(len(dataset)):
        assert not dataset.images.picture(row).info


def test_the_dates_of_the_studies(chests: Path) -> None:
    dataset = load(chests)
    dates = by_id(dataset, study_dates(dataset.images))
    assert dates["sick/p1/a.dcm"] == "20240101"
    assert dates["sound/1.2.840.113619.2.5"] == "20240105"
    assert study_dates(load("digits").images).tolist() == [""] * len(load("digits"))


def test_pictures_are_decoded_as_a_display_shows_them(chests: Path) -> None:
    dataset = load(chests)
    picture = dataset.images.picture(0)
    assert picture.mode == "L"
    pixels = np.random.default_rng(2).integers(0, 4096, (12, 10))
    expected = np.rint((pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255)
    assert np.array_equal(np.asarray(picture), expected)
    preprocess = Preprocess(1, 12, 10, 12, 10, "stretch", (0.0,), (1.0,))
    out = np.zeros((len(dataset), 12, 10, 1), np.uint8)
    assert dataset.images.decode(np.arange(len(dataset)), [Fitting(preprocess, out)], Progress(silent=True)) == {}
    assert np.array_equal(out[0, :, :, 0], expected)


def test_given_splits(tmp_path: Path) -> None:
    names = [f"{split}/{name}/x.dcm" for split in ("train", "val", "test") for name in ("a", "b")]
    dataset = load(fill(tmp_path, **{name: scan(number) for number, name in enumerate(names)}))
    assert dataset.classes == ("a", "b")
    assert by_id(dataset, dataset.given_splits)["val/a/x.dcm"] == "validation"


def test_an_archive(chests: Path, tmp_path: Path) -> None:
    archive = tmp_path / "chests.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in chests.rglob("*"):
            file.write(path, path.relative_to(chests))
    packed, plain = load(archive, progress=Progress(silent=True)), load(chests)
    assert packed.content_hash == plain.content_hash
    assert (packed.groups == plain.groups).all()
    assert (study_dates(packed.images) == study_dates(plain.images)).all()


def test_unreadable_files_are_listed_with_their_reasons(chests: Path) -> None:
    for name in ("test-SR.dcm", "SC_rgb_rle_2frame.dcm", "MR_truncated.dcm", "image_dfl.dcm"):
        (chests / "sick" / name).write_bytes(real(name))
    (chests / "sick" / "empty.dcm").touch()
    (chests / "sick" / "text.dcm").write_text("no image")
    dataset = load(chests)
    reasons = {str(dataset.record_ids[row]): reason for row, reason in dataset.scan.unreadable.items()}
    assert reasons == {
        "sick/MR_truncated.dcm": "it is cut off: 8,130 of its 8,192 bytes of pixels are there",
        "sick/SC_rgb_rle_2frame.dcm": "it has 2 frames; save the one you mean as a file of its own",
        "sick/empty.dcm": "the file is empty (0 bytes)",
        "sick/image_dfl.dcm": "its transfer syntax, Deflated Explicit VR Little Endian, is not read; save it "
        "uncompressed (dcmconv +te)",
        "sick/test-SR.dcm": "it is no picture: Comprehensive SR Storage",
        "sick/text.dcm": "it is not an image of a known kind (JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM)",
    }


def test_a_manifest_may_point_at_dicom_files(chests: Path, tmp_path: Path) -> None:
    table = chests.parent / "list.csv"
    table.write_text("path,label\nchests/sick/c.dicom,ill\nchests/sound/d.dcm,well\nchests/sound/IM000001,well\n")
    dataset = load(table)
    assert dataset.scan.unreadable == {}
    groups = by_id(dataset, dataset.groups)
    assert groups["chests/sick/c.dicom"] == groups["chests/sound/IM000001"] != ""
    assert set(dataset.sources) == {"ACME"}
    table.write_text("path,label,patient,site\nchests/sick/c.dicom,ill,P,S\nchests/sound/d.dcm,well,Q,T\n")
    dataset = load(table)
    assert (dataset.groups.tolist(), dataset.sources.tolist(), dataset.notes) == (["P", "Q"], ["S", "T"], ())


def test_other_manifests_and_folders_need_neither_salt_nor_pydicom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SALT_VARIABLE, "short")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for name in ("a/x.png", "b/y.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (4, 4), len(name)).save(tmp_path / name)
    shutil.copy(tmp_path / "a" / "x.png", tmp_path / "a" / "plain")
    assert len(load(tmp_path)) == 2
    (tmp_path / "m.csv").write_text("path,label\na/plain,a\nb/y.png,b\n")
    assert load(tmp_path / "m.csv").groups.tolist() == ["", ""]


def test_without_pydicom_the_part_is_named(chests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingPartError, match=r"pip install 'foveal\[dicom\]'"):
        load(chests)


def test_other_images_among_them_are_refused(chests: Path) -> None:
    Image.new("L", (4, 4)).save(chests / "sick" / "x.png")
    assert "holds DICOM files and images of other kinds" in refusal(chests)


def test_files_without_a_class_are_refused(chests: Path) -> None:
    (chests / "loose.dcm").write_bytes(scan(7))
    assert "these DICOM files lie in no class folder" in refusal(chests)


def test_a_class_without_files_is_refused(chests: Path) -> None:
    (chests / "empty").mkdir()
    assert "hold no DICOM files; fill or remove them:\n  empty" in refusal(chests)


def test_splits_beside_classes_are_refused(chests: Path) -> None:
    fill(chests, **{"train/sick/x.dcm": scan(8)})
    assert "are these splits or classes?" in refusal(chests)


def test_split_folders_without_classes_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, **{"train/x.dcm": scan(0), "test/y.dcm": scan(1)})
    assert "hold DICOM files but no class folders" in refusal(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="needs real data: other systems have no such names")
def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, **{"a/x.dcm": scan(0), os.fsdecode(b"b/\xff.dcm"): scan(1)})
    assert "1 file names are not UTF-8" in refusal(tmp_path)


def test_a_classifier_predicts_dicom_files_in_a_folder_too(tmp_path):
    rng = np.random.default_rng(0)
    for label in (0, 1):
        (tmp_path / "set" / f"class{label}").mkdir(parents=True)
        for number in range(12):
            values = rng.integers(0, 1000, (32, 32), dtype=np.uint16) + 2000 * label
            file = content(values.astype(np.uint16), PatientID=f"p{label}-{number}", BitsStored=12)
            (tmp_path / "set" / f"class{label}" / f"{number}.dcm").write_bytes(file)
    run = foveal.train(tmp_path / "set", model="mlp", size=16, epochs=1, out=tmp_path / "run", progress=False)
    assert {row["group"] for row in run.splits} != {""}
    classifier = foveal.Classifier.load(run.path, device="cpu")
    answers = classifier.predict([tmp_path / "set" / "class0" / "0.dcm"])
    assert answers[0].label in ("class0", "class1")
    assert [path.name for path in image_files(tmp_path / "set" / "class0")][:2] == ["0.dcm", "1.dcm"]
