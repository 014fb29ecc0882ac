"""The page as a reader and as a parser sees it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from foveal.errors import ClassifierError
from foveal.report import write_report
from foveal.run import Run

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Every element, every text, and whether the elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.island = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            if self.elements[-1][1].get("type") == "application/json":
                self.island += data
        elif self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n\t]+", " ", "".join(self.texts))

    @property
    def data(self) -> dict:
        return json.loads(self.island)

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if attributes.get("id")]


@pytest.fixture
def write(picture):
    def written(stored, pictures=picture) -> Page:
        path = write_report(stored.write(), pictures)
        assert path == Run(stored.path).report_file
        return Page(path.read_text(encoding="utf-8"))

    return written


def test_ids_are_unique_and_every_reference_resolves(stored, write) -> None:
    page = write(stored)
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids
        for name in ("aria-labelledby", "aria-describedby", "for", "data-copy"):
            if attributes.get(name):
                assert attributes[name] in ids


def test_nothing_is_fetched(stored, write) -> None:
    page = write(stored)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    html = Run(stored.path).report_file.read_text(encoding="utf-8")
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_hostile_names_are_shown_as_text(stored, write, hostile) -> None:
    stored.classes = hostile
    stored.record_id = "</script><b>{}</b>'\".png".format
    page = write(stored)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert "b" not in tags
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "<script>alert(1)</script>" in page.text
    assert "a\"b'c" in page.text
    assert "\u202e" not in page.text
    assert page.data["classes"][2] == "</script><img src=x onerror=alert(2)>"
    assert "<" not in page.island
    for figure in Run(stored.path).figures_dir.iterdir():
        root = ET.fromstring(figure.read_text(encoding="utf-8"))
        assert not [node for node in root.iter() if node.tag.endswith(("script", "img"))]


def test_names_that_are_not_utf_8_can_be_written(stored, write) -> None:
    stored.findings = [finding("note", records=["bad"])]
    run = stored.write()
    audit = json.loads(run.audit_file.read_text(encoding="utf-8"))
    audit["findings"][0]["records"] = ["\udce9.png"]
    run.audit_file.write_text(json.dumps(audit), encoding="utf-8")
    assert write_report(run, lambda record_id: None).is_file()


def test_the_numbers_are_the_stored_ones(stored, write) -> None:
    page = write(stored)
    test = Run(stored.path).metrics["test"]
    accuracy = test["accuracy"]
    assert f"{100 * accuracy['value']:.1f}\xa0% test accuracy" in page.text
    assert f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}\xa0%" in page.text
    assert "measured on 60 test images, which served neither training nor stopping" in page.text
    buttons = {a["data-cell"]: a for _, a in page.elements if a.get("data-cell")}
    for true, row in enumerate(test["confusion"]):
        for predicted, number in enumerate(row):
            assert buttons[f"{true}-{predicted}"]["aria-label"].startswith(f"{number} image")
            assert page.data["cells"].get(f"{true}-{predicted}", [0])[0] == number
    for scores in test["per_class"].values():
        keys = [a.get("data-key") for _, a in page.elements]
        assert str(scores["recall"]["value"]) in keys


def test_at_most_24_images_a_cell_and_each_stored_once(stored, write) -> None:
    stored.n, stored.classes, stored.wrong = 300, ["cat", "dog"], 0.4
    asked = []
    page = write(stored, asked.append)
    assert len(asked) == len(set(asked))
    assert all(len(shown) == min(total, 24) for total, shown in page.data["cells"].values())
    assert any(total > 24 for total, _ in page.data["cells"].values())


def test_pictures_of_mistakes_are_not_stored_a_second_time(stored, write) -> None:
    page = write(stored)
    in_page = {a["data-image"] for tag, a in page.elements if tag == "img"}
    assert in_page
    assert not in_page & set(page.data["images"])
    available = in_page | set(page.data["images"])
    assert all(str(record[4]) in available for record in page.data["records"])


def test_the_most_confident_mistakes_and_the_least_confident_hits_come_first(stored, write) -> None:
    page = write(stored)
    for name, (_, shown) in page.data["cells"].items():
        label, predicted = name.split("-")
        shares = [float(page.data["records"][index][3].strip("<>\xa0%")) for index in shown]
        assert shares == sorted(shares, reverse=label != predicted)


def test_missing_pictures_are_named_as_such(stored, write) -> None:
    def cut_off(record_id: str) -> None:
        raise OSError("image file is truncated")

    for pictures in (lambda record_id: None, cut_off):
        page = write(stored, pictures)
        assert "picture cannot be read" in page.text
        assert page.data["images"] == {}


def test_one_epoch_only(stored, write) -> None:
    stored.epochs = 1
    page = write(stored)
    assert "epoch 1 of 1" in page.text
    assert len(page.data["epochs"]) == 1


def test_200_classes_list_pairs_instead_of_a_matrix(stored, write) -> None:
    stored.classes, stored.n, stored.wrong = [f"species {index}" for index in range(200)], 600, 0.5
    page = write(stored)
    buttons = [a for _, a in page.elements if a.get("data-cell")]
    assert len(buttons) == 30
    assert set(page.data["cells"]) == {a["data-cell"] for a in buttons}
    assert "the 30 most frequent of" in page.text


def test_no_mistakes(stored, write) -> None:
    stored.wrong = 0.0
    page = write(stored)
    assert "There is none: all 60 test images were classified correctly." in page.text
    assert "No class was taken for another." in page.text
    assert page.data["first"] == "0-0"


def test_classes_without_any_test_image(stored, write) -> None:
    stored.n, stored.classes = 4, ["a", "b", "c", "d", "e", "f"]
    page = write(stored)
    assert "0 images of f classified as f" in [a.get("aria-label") for _, a in page.elements]
    assert Run(stored.path).metrics["test"]["per_class"]["f"]["recall"] is None


def test_findings_are_said_in_words_the_gravest_first(stored, write) -> None:
    stored.findings = [finding("note"), finding("block", accepted=True, records=["a<b"] * 20, count=30)]
    page = write(stored)
    assert page.text.index("Blocking") < page.text.index("Note")
    assert "accepted in the recipe" in page.text
    assert "a<b" in page.text
    assert "… the first 20 of 30" in page.text


def test_predictions_that_contradict_the_matrix_are_pointed_out(stored, picture) -> None:
    run = stored.write()
    file = run.evaluation_dir("test") / "predictions.csv"
    file.write_text("\n".join(file.read_text(encoding="utf-8").splitlines()[:-1]), encoding="utf-8")
    assert "do not agree" in Page(write_report(run, picture).read_text(encoding="utf-8")).text


@pytest.mark.parametrize("what", ["metrics.json", "history.csv", "classifier/classifier.json"])
def test_a_missing_or_incomplete_result_is_one_sentence(stored, picture, what) -> None:
    run = stored.write()
    (run.path / what).unlink()
    with pytest.raises(ClassifierError, match="is missing"):
        write_report(run, picture)
    (run.path / what).write_text("{}" if what.endswith("json") else "epoch\n1\n", encoding="utf-8")
    with pytest.raises(ClassifierError, match="incomplete or damaged"):
        write_report(run, picture)
    assert not run.report_file.exists()


def test_figures_stand_alone(stored, write) -> None:
    write(stored)
    figures = Run(stored.path).figures_dir
    assert sorted(figure.name for figure in figures.iterdir()) == ["confusion.svg", "learning_curves.svg"]
    for figure in figures.iterdir():
        root = ET.fromstring(figure.read_text(encoding="utf-8"))
        assert root.get("viewBox")
        assert [node for node in root.iter() if node.tag.endswith("style")]


def finding(severity: str, **changed: object) -> dict[str, object]:
    entry = {"name": "near-duplicates", "severity": severity, "sentence": "Two are alike.", "count": 2}
    return {**entry, "records": [], "accepted": False, **changed}
