"""Parquet manifests: the same rules as for CSV, and the images that Hugging Face data sets keep inside."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.data import members
from foveal.data.dataset import Dataset
from foveal.data.load import load
from foveal.data.sources import parquet as parquet_module
from foveal.data.sources.manifest import Columns
from foveal.errors import DataError, MissingPartError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'foveal[parquet]'")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ("a.png", "b.png", "sub/c.png")


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), number).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(png(number))
    return tmp_path


def written(path: Path, columns: dict[str, object], about: object = None, **options: object) -> Path:
    table = pa.table(columns)
    if about is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, path, **options)
    return path


def rows(dataset: Dataset) -> list[tuple[str, ...]]:
    names = [dataset.classes[label] for label in dataset.labels]
    columns = (dataset.record_ids, names, dataset.groups, dataset.sources, dataset.given_splits)
    return [tuple(str(cell) for cell in row) for row in zip(*columns, strict=True)]


def refusal(file: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(file, **options)
    return str(caught.value)


LABELS = ["cat", "dog", "cat"]


@pytest.mark.parametrize("suffix", [".parquet", ".PQ"])
@pytest.mark.parametrize(
    "label",
    [
        LABELS,
        pa.array(LABELS, pa.large_string()),
        pa.array(LABELS).dictionary_encode(),
        pa.array(LABELS, pa.string_view()),
    ],
    ids=["string", "large", "category", "view"],
)
@pytest.mark.parametrize(
    "group",
    [
        pa.array([7, None, 12], pa.int64()),
        pa.array([7, None, 12], pa.uint8()),
        pa.array([7.0, float("nan"), 12.0]),
        pa.array([7.0, None, 12.0], pa.float32()),
        pa.array(["7", None, " 12 "]),
        pa.array(["7", "", "12"]).dictionary_encode(),
        pa.array(["7", None, "12"]).dictionary_encode(),
        pa.array([7, None, 12]).dictionary_encode(),
    ],
    ids=["int64", "uint8", "double", "float", "text", "empty", "category", "integer category"],
)
def test_columns_of_every_kind_and_what_is_unknown(group: object, label: object, suffix: str, folder: Path) -> None:
    columns = {
        "File": NAMES,
        "class": label,
        "patient_id": group,
        "site": pa.nulls(3),
        "split": ["train", "val", "test"],
    }
    dataset = load(written(folder / f"list{suffix}", columns))
    assert rows(dataset) == [
        ("a.png", "cat", "7", "", "train"),
        ("b.png", "dog", "", "", "validation"),
        ("sub/c.png", "cat", "12", "", "test"),
    ]
    assert (dataset.name, dataset.scan.unreadable) == ("list", {})
    assert load(folder).groups.tolist() == ["7", "", "12"]  # the folder that holds it


TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    cells=st.lists(st.tuples(TEXT, st.one_of(st.none(), TEXT)), min_size=1, max_size=8),
    category=st.booleans(),
    group_rows=st.integers(1, 4),
)
def test_the_same_table_as_csv(
    cells: list[tuple[str, str | None]], category: bool, group_rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import csv

    root = tmp_path_factory.getbasetemp()
    names = [f"{number}.png" for number in range(len(cells))]
    labels, groups = pa.array([one for one, _ in cells]), pa.array([two for _, two in cells], pa.string())
    if category:
        labels, groups = labels.dictionary_encode(), groups.dictionary_encode()
    columns = {"path": names, "label": labels, "group": groups}
    parquet = written(root / "one.parquet", columns, row_group_size=group_rows)
    with (root / "one.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "label", "group"), *((n, a, b or "") for n, (a, b) in zip(names, cells, strict=True))]
        )
    assert rows(load(parquet)) == rows(load(root / "one.csv"))


def test_all_faults_stand_in_one_report(folder: Path) -> None:
    file = written(
        folder / "list.parquet",
        {"path": ["a.png", "../b.png", None, "b.png", "b.png", "a.png", "gone.png", "x" * 2000],
         "label": ["cat", "cat", "cat", None, "  ", "dog", "dog", "dog"]},
    )  # fmt: skip
    assert refusal(file).splitlines() == [
        f"{file} has 7 rows at fault:",
        f"  row 1: ../b.png lies outside {folder}; paths are relative to the manifest",
        "  row 2: no path",
        "  row 3: b.png has no label",
        "  row 4: b.png has no label",
        '  row 5: a.png is listed twice, as "cat" and as "dog" (first in row 0)',
        "  row 6: gone.png is not there",
        "  row 7: the path has 2,000 characters; the limit is 1,000",
    ]
    assert 'unknown label "dog"' in refusal(file, classes=["cat"])
    assert "has no column for the label (its columns: path, kind)" in refusal(
        written(folder / "list.parquet", {"path": NAMES, "kind": LABELS})
    )
    assert load(folder / "list.parquet", columns=Columns(label="kind")).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.0, 3.0], "double"),
        ([float("inf"), 1.0, 2.0], "double"),
        ([[1], [2], [3]], "list<"),
        ([b"a", b"b", b"c"], "binary"),
        (np.array([1, 2, 3], "datetime64[ms]"), "timestamp[ms]"),
    ],
)
def test_columns_of_other_kinds_are_refused(values: object, kind: str, folder: Path) -> None:
    message = refusal(written(folder / "list.parquet", {"path": NAMES, "label": values}))
    assert f'the column "label" holds values of the type {kind}' in message
    assert message.endswith("give text or whole numbers.")


def hugging_face(path: Path, images: object, labels: object, names: object) -> Path:
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}}
    return written(path, {"image": images, "label": labels}, about)


RECORDS = [{"bytes": png(3), "path": "x.png"}, {"bytes": png(2), "path": "y.png"}, {"bytes": png(1), "path": "b.png"}]


def test_images_and_class_names_of_hugging_face(tmp_path: Path) -> None:
    file = hugging_face(tmp_path / "train.parquet", RECORDS, [1, 0, 1], ["zebra", "ant", "gnu"])
    dataset = load(file)
    assert dataset.classes == ("zebra", "ant")  # in the file's order, those that there are
    assert [row[:2] for row in rows(dataset)] == [("b.png", "ant"), ("x.png", "ant"), ("y.png", "zebra")]
    assert dataset.scan.digests.tolist() == [hashlib.sha256(png(number)).hexdigest() for number in (1, 3, 2)]
    assert dataset.images.location(0) == f"{file}/2"
    assert dataset.images.take(np.array([2])).picture(0).getpixel((0, 0)) == 2
    for about in (
        "names",
        {"info": {"features": []}},
        {"info": {"features": {"label": {"_type": "ClassLabel", "names": [1]}}}},
    ):
        written(file, {"image": RECORDS, "label": [1, 0, 1]}, about)
        assert load(file).classes == ("0", "1")


@pytest.mark.parametrize(
    "images",
    [
        [png(3), png(2), png(1)],
        [{"bytes": png(n)} for n in (3, 2, 1)],
        [{"bytes": png(n), "path": None} for n in (3, 2, 1)],
        [{"bytes": png(n), "path": "same.png"} for n in (3, 2, 1)],
        [{"bytes": png(n), "path": f"/cache/{n}.png"} for n in (3, 2, 1)],
    ],
    ids=["binary", "no field", "no path", "one path", "absolute"],
)
def test_images_without_names_of_their_own_are_numbered(images: object, tmp_path: Path) -> None:
    dataset = load(written(tmp_path / "a.parquet", {"img": images, "label": LABELS}))
    assert dataset.record_ids.tolist() == ["000000", "000001", "000002"]
    assert dataset.scan.unreadable == {}
    assert [dataset.images.picture(row).getpixel((0, 0)) for row in range(3)] == [3, 2, 1]


def test_images_that_are_not_there_and_labels_that_are_none(tmp_path: Path) -> None:
    file = written(tmp_path / "a.parquet", {"image": [png(3), None, b"no image"], "label": LABELS})
    assert load(file).scan.unreadable == {
        1: "it is not there",
        2: "it is not an image of a known kind (JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM)",
    }
    assert "row 1: y.png has no label" in refusal(hugging_face(file, RECORDS, [1, -1, 0], ["a", "b"]))
    assert 'the column "label" names 2 classes, but holds 2.' in refusal(
        hugging_face(file, RECORDS, [1, 2, 0], ["a", "b"])
    )


def test_one_image_repeated_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "a.parquet", {"image": [bytes(100_000)] * 600, "label": ["a", "b"] * 300})
    monkeypatch.setattr(members, "BOMB_FREE_GIB", 0)
    assert "unpacks to more than 500 times its size" in refusal(file)
    monkeypatch.setattr(parquet_module, "MOST_ROWS", 500)
    assert "has 600 rows; the limit is 500." in refusal(file)


def test_damaged_files_are_refused(folder: Path) -> None:
    whole = written(folder / "list.parquet", {"path": NAMES, "label": LABELS}).read_bytes()
    for content in (b"", b"PAR1", b"path,label\n", whole[:-9], whole[:40], whole[60:], b"PAR1" + bytes(200) + b"PAR1"):
        (folder / "list.parquet").write_bytes(content)
        assert refusal(folder / "list.parquet").startswith(
            f"{folder}/list.parquet is no Parquet file, or it is damaged: "
        )


def test_a_parquet_manifest_in_an_archive(folder: Path) -> None:
    written(folder / "list.parquet", {"path": NAMES, "label": LABELS, "patient": ["p", "p", None]})
    with zipfile.ZipFile(folder / "pets.zip", "w") as archive:
        for name in (*NAMES, "list.parquet"):
            archive.write(folder / name, f"pets/{name}")
    dataset = load(folder / "pets.zip")
    assert rows(dataset) == rows(load(folder / "list.parquet"))
    assert dataset.scan.unreadable == {}


def test_without_pyarrow_the_command_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder / "list.parquet", {"path": NAMES, "label": LABELS})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for source in (folder / "list.parquet", folder):
        with pytest.raises(
            MissingPartError, match=r"list.parquet cannot be read without pyarrow: pip install 'foveal\[parquet\]'"
        ):
            load(source)
