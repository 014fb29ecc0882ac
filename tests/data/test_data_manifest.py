"""CSV manifests: the kinds that people write, and one report of everything that is wrong with them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.data.dataset import Dataset
from foveal.data.load import load
from foveal.data.sources.manifest import USUAL_NAMES, Columns
from foveal.errors import DataError, UsageError

NAMES = ("a.png", "b.png", "sub/c.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(NAMES):
        Image.new("L", (4, 4), number).save(tmp_path / name)
    return tmp_path


def manifest(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def rows(dataset: Dataset) -> list[tuple[str, ...]]:
    names = [dataset.classes[label] for label in dataset.labels]
    columns = (dataset.record_ids, names, dataset.groups, dataset.sources, dataset.given_splits)
    return [tuple(str(cell) for cell in row) for row in zip(*columns, strict=True)]


def refusal(file: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(file, **options)
    return str(caught.value)


def faults(file: Path, **options: object) -> list[str]:
    """The lines of the report, without the first, which counts them."""
    first, *lines = refusal(file, **options).splitlines()
    assert first == f"{file} has {len(lines)} rows at fault:"
    return [line.strip() for line in lines]


PLAIN = "path,label\na.png,cat\nb.png,dog\nsub/c.png,cat\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.rstrip("\n"),
        PLAIN.replace("\nb", "\n\n  , \nb"),
        PLAIN.replace("path,label", " Path , LABEL "),
        PLAIN.replace("sub/c", "./sub/../sub//c"),
        'path;label;"a, b, c"\na.png;cat;\nb.png;dog;"1,2;3"\nsub/c.png;cat;"two\nlines"\n',
        '"path","label"\n"a.png","cat"\n"b.png","dog"\n"sub/c.png","cat"\n',
    ],
    ids=["plain", "bom", "crlf", "cr", ";", "tab", "no end", "blank", "header", "tidied", "quoted", "all quoted"],
)
def test_the_same_table_in_every_spelling(text: str, folder: Path) -> None:
    dataset = load(manifest(folder, text))
    assert rows(dataset) == [
        ("a.png", "cat", "", "", ""),
        ("b.png", "dog", "", "", ""),
        ("sub/c.png", "cat", "", "", ""),
    ]
    assert dataset.classes == ("cat", "dog")
    assert dataset.scan.unreadable == {}


def test_every_column_and_the_names_of_splits(folder: Path) -> None:
    text = (
        "split,Patient_ID,site,label,image\nTrain,p1,north,cat,b.png\nval, p1 ,north,cat,a.png\ntest,,,dog,sub/c.png\n"
    )
    dataset = load(manifest(folder, text, "manifest.csv"))
    assert rows(dataset) == [
        ("a.png", "cat", "p1", "north", "validation"),
        ("b.png", "cat", "p1", "north", "train"),
        ("sub/c.png", "dog", "", "", "test"),
    ]
    assert dataset.name == folder.name
    assert load(manifest(folder, text, "other.tsv")).name == "other"


@pytest.mark.parametrize(("role", "usual"), [(role, name) for role, names in USUAL_NAMES.items() for name in names])
def test_usual_names_are_found(role: str, usual: str, folder: Path) -> None:
    cells = {"path": "a.png", "label": "cat", "group": "p1", "source": "north", "split": "test"}
    header = [usual if one == role else one for one in cells]
    dataset = load(manifest(folder, f"{','.join(header)}\n{','.join(cells.values())}\n"))
    assert rows(dataset) == [tuple(cells.values())]


def test_columns_by_name(folder: Path) -> None:
    file = manifest(folder, "label,truth,file,ward\nx,cat,a.png,1\nx,dog,b.png,2\n")
    dataset = load(file, columns=Columns(label="truth", path="file", group="ward"))
    assert rows(dataset) == [("a.png", "cat", "1", "", ""), ("b.png", "dog", "2", "", "")]
    message = refusal(file, columns=Columns(group="wards"))
    assert message == f'{file} has no column "wards" (label, truth, file, ward). Did you mean "ward"?'
    assert "has no column for the label (its columns: file, kind); name it with --label-column." in refusal(
        manifest(folder, "file,kind\na.png,cat\n")
    )
    twice = manifest(folder, "path,label,label\na.png,cat,dog\n")
    assert f'{twice} has more than one column "label"' in refusal(twice)
    with pytest.raises(UsageError, match="Columns go with a manifest; digits has none"):
        load("digits", columns=Columns(label="truth"))


def test_all_faults_stand_in_one_report(folder: Path) -> None:
    file = manifest(
        folder,
        "path,label,split\n"
        "a.png,cat,train\n"
        "../b.png,cat,\n"
        "sub/../../b.png,cat,\n"
        "/etc/passwd,cat,\n"
        "..,cat,\n"
        ".,cat,\n"
        "b\0.png,cat,\n"
        '"b\n.png",cat,\n'
        ",cat,\n"
        "b.png,,\n"
        "b.png,  ,\n"
        "b.png,cat,holdout\n"
        "b.png,cat\n"
        "b.png,cat,,\n"
        "sub/../a.png,cat,train\n"
        "a.png,dog,train\n"
        "gone.png,dog,test\n"
        "sub/c.png,dog,test\n",
    )
    outside = f"lies outside {folder}; paths are relative to the manifest"
    assert faults(file) == [
        f"line 3: ../b.png {outside}",
        f"line 4: sub/../../b.png {outside}",
        f"line 5: /etc/passwd {outside}",
        f"line 6: .. {outside}",
        f"line 7: . {outside}",
        "line 8: the path holds a line break or a NUL character",
        "line 9: the path holds a line break or a NUL character",
        "line 11: no path",
        "line 12: b.png has no label",
        "line 13: b.png has no label",
        'line 14: unknown split "holdout"; it may be train, validation, test or calibration',
        "line 15: 2 cells, the header has 3",
        "line 16: 4 cells, the header has 3",
        "line 17: a.png is listed twice (first in line 2)",
        'line 18: a.png is listed twice, as "cat" and as "dog" (first in line 2)',
        "line 19: gone.png is not there",
    ]


def test_a_name_that_begins_with_dots_is_inside(folder: Path) -> None:
    Image.new("L", (4, 4)).save(folder / "..dots.png")
    assert rows(load(manifest(folder, "path,label\n..dots.png,cat\n")))[0][0] == "..dots.png"


def test_hundreds_of_faults_are_all_listed(folder: Path) -> None:
    file = manifest(folder, "path,label\n" + "a.png,\n" * 400)
    assert len(faults(file)) == 400


def test_unknown_labels_are_named_with_the_nearest_class(folder: Path) -> None:
    file = manifest(folder, PLAIN.replace("dog", "dgo"))
    assert faults(file, classes=["cat", "dog"]) == ['line 3: unknown label "dgo". Did you mean "dog"?']
    dataset = load(manifest(folder, PLAIN), classes=["fox", "dog", "cat"])
    assert dataset.classes == ("fox", "dog", "cat")
    assert dataset.labels.tolist() == [2, 1, 2]


def test_a_file_that_is_absent_is_left_to_the_scan(folder: Path) -> None:
    dataset = load(manifest(folder, "path,label\na.png,cat\ngone.png,dog\n"))
    assert dataset.scan.unreadable == {1: "it is not there"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; expected a header with at least a path and a label column."),
        (b"\n\n", "is empty; expected a header"),
        (b",,\n", "is empty; expected a header"),
        (b"path,label\n", "lists no images: it has a header and no rows."),
        (b"path,label\n\n,\n", "lists no images"),
        ("path,label\nä.png,cat\n".encode("latin-1"), "is not UTF-8 text (byte 11); save it as “CSV UTF-8”."),
        ("path,label\na.png,cat\n".encode("utf-16"), "is not UTF-8 text (byte 0)"),
        (b'path,label\na.png,"' + b"x" * 200_000 + b'"\n', "line 2: field larger than field limit"),
    ],
)
def test_files_that_are_no_table(content: bytes, words: str, folder: Path) -> None:
    file = manifest(folder, content)
    assert refusal(file).startswith(str(file))
    assert words in refusal(file)


def test_outer_spaces_of_a_label_are_kept_for_the_audit(folder: Path) -> None:
    assert load(manifest(folder, "path,label\na.png,cat\nb.png,cat \n")).classes == ("cat", "cat ")


TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)


@settings(deadline=None, max_examples=80)
@given(
    cells=st.dictionaries(TEXT.filter(lambda name: name.strip("./")), st.tuples(TEXT, TEXT), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_what_a_csv_writer_wrote_is_read_back(
    cells: dict[str, tuple[str, str]],
    delimiter: str,
    end: str,
    bom: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end)
    writer.writerow(["path", "label", "group"])
    expected = {}
    for number, (name, (label, group)) in enumerate(cells.items()):
        path = f"{number}/{name.replace('/', '_')}"
        writer.writerow([path, label, group])
        expected[path] = (label, group)
    text = ("\ufeff" if bom else "") + buffer.getvalue()
    dataset = load(manifest(tmp_path_factory.getbasetemp(), text))
    assert {row[0]: row[1:3] for row in rows(dataset)} == expected


def test_a_column_that_may_be_the_patient_is_named_when_it_is_not_used(folder: Path) -> None:
    ids = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    text = "path,label,mrn\n" + "".join(f"{one},a,{row}\n" for row, one in enumerate(ids))
    (note,) = load(manifest(folder, text)).notes
    assert "no column of list.csv was taken for the patients" in note and "mrn (--group-column NAME)" in note
    assert load(manifest(folder, text), columns=Columns(group="mrn")).notes == ()
