"""The contact sheet of a source, as a page and as figures."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

import foveal
from foveal.errors import DataError, OutputError, UsageError
from foveal.workflows.show import show


def test_the_page_stands_alone_and_holds_what_was_asked(class_folders, tmp_path):
    shown = show(class_folders, out=tmp_path / "page.html", per_class=5, progress=False)
    html = shown.page.read_text(encoding="utf-8")
    assert shown.pictures == html.count("<img ") == 15
    assert "default-src 'none'" in html.replace("&#39;", "'")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    assert [(one.name, one.images) for one in shown.summary.classes] == [("apple", 12), ("lime", 12), ("plum", 12)]


def test_hostile_names_and_splits_are_text(tmp_path):
    for split in ("train", "test"):
        for name in ("<img src=x onerror=alert(1)>", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("L", (9, 9), 9).save(tmp_path / "data" / split / name / f"{split}'\">.png")
    html = show(tmp_path / "data", out=tmp_path / "page.html", progress=False).page.read_text(encoding="utf-8")
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert html.count('<th scope="col" class="number">test</th>') == 1


def test_what_cannot_be_read_is_listed_also_where_only_decoding_shows_it(class_folders, tmp_path):
    whole = (class_folders / "lime" / "03.png").read_bytes()
    (class_folders / "lime" / "03.png").write_bytes(whole[: len(whole) // 2])  # its header is whole
    (class_folders / "plum" / "00.png").write_bytes(b"")
    shown = show(class_folders, out=tmp_path / "page.html", progress=False)
    assert [record for record, _ in shown.summary.unreadable] == ["plum/00.png", "lime/03.png"]
    assert dict(shown.summary.facts())["unreadable"] == "2"


def test_a_thousand_classes_keep_the_page_below_five_megabytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 64, 64, 3)).astype(np.uint8)
    dataset = foveal.load(pixels, np.arange(2000) % 1000)
    shown = show(dataset, out=tmp_path / "page.html", progress=False)
    assert shown.page.stat().st_size < 5_000_000
    assert 0 < shown.pictures < 2000


def test_a_name_is_found_that_is_free(class_folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [show(class_folders, per_class=1, progress=False).page.name for _ in range(2)]
    assert names == ["fruit-contact-sheet.html", "fruit-contact-sheet-2.html"]


def test_bad_input_is_one_sentence_and_writes_nothing(class_folders, tmp_path):
    (tmp_path / "taken.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        show(class_folders, out=tmp_path / "taken.html", progress=False)
    with pytest.raises(DataError, match="no folder or file"):
        show(tmp_path / "nowhere", out=tmp_path / "page.html", progress=False)
    with pytest.raises(UsageError):
        show(class_folders, out=tmp_path / "page.html", data_dir=tmp_path, progress=False)
    assert (tmp_path / "taken.html").read_text() == "mine"
    assert not (tmp_path / "page.html").exists()


def test_what_training_sees_is_shown_as_training_sees_it(class_folders, tmp_path):
    shown = show(class_folders, out=tmp_path / "page.html", augment="xray,noise=0", size=(40, 40), progress=False)
    html = shown.page.read_text(encoding="utf-8")
    assert html.count('class="plain"') == 6 and html.count("varied, epoch") == 48
    assert "40×40" in html and "rotation" in html and "flip" not in html.split("What training sees")[1].split("</p>")[0]
    with pytest.raises(UsageError, match="xrya"):
        show(class_folders, out=tmp_path / "other.html", augment="xrya", progress=False)
