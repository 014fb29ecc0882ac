"""Columns of a manifest of which each value is measured apart, from training to evaluation and verification."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import foveal
from foveal.data.sources.manifest import Columns
from foveal.errors import DataError, UsageError
from foveal.run import Run, read_csv
from foveal.workflows.verify import verify

HEADER = ["path", "label", "patient", "sex", "age", "label of the box", "score"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 digits, of women the upper half blackened, so that slices differ; ages, some not known."""
    home = tmp_path_factory.mktemp("slices")
    digits = foveal.load("digits")
    rng = np.random.default_rng(0)
    rows = []
    for row in range(300):
        pixels, sex = np.asarray(digits.images.picture(row)).copy(), "FM"[row % 2]
        if sex == "F":
            pixels[:4] = 0
        Image.fromarray(pixels).save(home / f"{row}.png")
        age = str(rng.integers(18, 90)) if row % 10 else ""
        rows.append([f"{row}.png", str(digits.labels[row]), f"p{row}", sex, age, f"box {row}", "1"])
    with (home / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return home


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("sliced") / "run"
    return foveal.train(folder, model="mlp", epochs=3, test=0.5, slice_by=["sex", "age"], out=out, progress=False)


def test_each_value_is_measured_apart_and_numbers_in_bands(trained: Run) -> None:
    by = {one["column"]: one for one in trained.metrics["test"]["slices"]}
    assert by.keys() == {"sex", "age"}
    assert [one["value"] for one in by["sex"]["slices"]] == ["F", "M"]
    assert len(by["age"]["slices"]) == 5  # four bands, and unknown
    assert by["age"]["slices"][-1]["value"] == "unknown"
    rows = trained.predictions("test")
    women = [row["label"] == row["predicted"] for row in rows if row["sex"] == "F"]
    assert by["sex"]["slices"][0]["accuracy"]["value"] == pytest.approx(np.mean(women))
    assert 'id="slice"' in trained.report_file.read_text("utf-8")


def test_what_is_stored_says_the_same_again(trained: Run) -> None:
    assert verify(trained.path, sample=5, progress=False).holds


def test_other_images_are_sliced_by_their_own_columns(trained: Run, folder: Path) -> None:
    found = foveal.evaluate(
        trained.path,
        folder,
        name="again",
        columns=Columns(slices=("sex",)),
        accept=("trained-on",),
        progress=False,
    )
    assert [one["column"] for one in found["slices"]] == ["sex"]
    page = Path(found["page"])
    assert page == trained.path / "evaluations" / "again" / "report.html"
    assert "served training" in page.read_text("utf-8")
    checks = {one.name: one for one in verify(trained.path, sample=0, progress=False).checks}
    assert checks["evaluation again"].holds
    assert checks["page of again"].holds
    page.write_text(page.read_text("utf-8").replace("300 images", "301 images"), "utf-8")
    checks = {one.name: one for one in verify(trained.path, sample=0, progress=False).checks}
    assert checks["page of again"].holds is False


def test_a_part_of_a_dataset_keeps_the_columns_of_its_images(folder: Path) -> None:
    whole = foveal.load(folder, columns=Columns(slices=("sex", "age")))
    rows = read_csv(folder / "manifest.csv")
    of = {row["path"]: (row["sex"], row["age"]) for row in rows}
    part = whole.take(np.array([7, 3, 250]))
    assert list(zip(part.columns["sex"], part.columns["age"], strict=True)) == [of[one] for one in part.record_ids]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("seks", 'Did you mean "sex"'),
        ("label of the box", "300 different values"),
        ("label", "predictions.csv uses that name"),
    ],
)
def test_columns_that_slices_cannot_be_made_of_are_refused_before_training(
    folder: Path, tmp_path: Path, column: str, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        foveal.train(folder, model="mlp", slice_by=[column], out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_source_without_columns_has_no_slices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="go with a manifest"):
        foveal.train("digits", model="mlp", slice_by=["sex"], out=tmp_path / "run", progress=False)
