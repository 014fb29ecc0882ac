"""Robustness of a small trained run, end to end: the same figures again, its files, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import foveal
from foveal.cli.app import app
from foveal.data.corruptions import CORRUPTIONS, content_numbers, corrupt
from foveal.errors import ClassifierError, DataError, UsageError
from foveal.evaluation.robustness import Robustness
from foveal.report.robustness import conclusion, robustness_page
from foveal.workflows.robustness import MOST_CASES
from foveal.workflows.shift_check import DIRECTIONS

FEW = ["gaussian_noise", "jpeg", "shift"]


@pytest.fixture(scope="module")
def dataset() -> foveal.Dataset:
    """A quarter of the digits in groups of three images, so that training takes a second."""
    whole = foveal.load("digits")
    rows = np.arange(0, len(whole), 4)
    images = np.stack([np.asarray(whole.images.picture(int(row))) for row in rows])
    groups = [f"writer {number // 3}" for number in range(len(rows))]
    return foveal.load(images, whole.labels[rows], name="some digits", groups=groups)


@pytest.fixture(scope="module")
def trained(dataset: foveal.Dataset, tmp_path_factory: pytest.TempPathFactory) -> foveal.Run:
    recipe = foveal.Recipe(model="simple_cnn", epochs=8, test=0.4, threads=1, seed=1)
    return foveal.train(dataset, recipe=recipe, out=tmp_path_factory.mktemp("runs") / "few", progress=False)


@pytest.fixture
def run(trained: foveal.Run, tmp_path: Path) -> foveal.Run:
    return foveal.Run(
        Path(shutil.copytree(trained.path, tmp_path / "few", ignore=shutil.ignore_patterns("robustness")))
    )


@pytest.fixture(scope="module")
def result(trained: foveal.Run, dataset: foveal.Dataset) -> Robustness:
    return foveal.robustness(trained, dataset, corruptions=FEW, shifts=2, progress=False)


def timeless(result: Robustness) -> Robustness:
    return replace(result, images_per_s=0.0, path=None)


def test_the_figures_are_those_of_the_run_and_of_the_images(result, trained, dataset):
    test = trained.metrics["test"]
    assert result.n == result.test_images == test["n"] and result.units < result.n
    assert result.clean.value == test["accuracy"]["value"]
    assert (result.clean.low, result.clean.high) == pytest.approx((test["accuracy"]["low"], test["accuracy"]["high"]))
    classifier = foveal.Classifier.load(trained.path)
    assert result.classifier == classifier.hash and result.engine["engine"] == "torch"
    ids = {row["record_id"] for row in trained.splits if row["split"] == "test"}
    rows = np.flatnonzero(np.isin(dataset.record_ids, list(ids)))
    pixels = np.stack([classifier.preprocess.geometry(dataset.images.picture(int(row))) for row in rows])
    numbers, labels = content_numbers(pixels), dataset.labels[rows]
    for curve in result.curves:
        for one in curve.conditions:
            said = classifier.probabilities(corrupt(pixels, curve.name, one.strength, numbers))
            assert one.accuracy.value == pytest.approx((said.argmax(axis=1) == labels).mean())
            assert one.confidence == pytest.approx(said.max(axis=1).mean())
    every = [one.accuracy.value for curve in result.curves for one in curve.conditions]
    assert result.mean.value == pytest.approx(np.mean(every)) and result.mean.low < result.mean.value
    assert result.asked == result.n * (1 + 5 * len(FEW)) + result.n * (1 + 2 * len(DIRECTIONS))


def test_worst_cases_are_shown_and_shifts_are_measured(result):
    assert {one.corruption for one in result.cases} <= set(FEW) and result.cases
    for name in FEW:
        own = [one for one in result.cases if one.corruption == name]
        assert len(own) <= MOST_CASES
        assert [one.confidence for one in own] == sorted((one.confidence for one in own), reverse=True)
        assert all(one.label != one.answer and one.clean != one.corrupted for one in own)
    assert [one.pixels for one in result.shifts] == [1, 2]
    assert all(0 < one.consistency.value <= 1 and one.logit_change > 0 for one in result.shifts)
    assert result.maps and all(one.error < one.unmoved for one in result.maps)  # its map moves along


def test_again_is_the_same_and_the_files_are_whole(result, trained, dataset):
    folder = trained.path / "robustness"
    assert result.path == folder and result.page_file == folder / "robustness.html"
    assert sorted(one.name for one in folder.iterdir()) == ["robustness.html", "robustness.json", "robustness.svg"]
    stored = json.loads((folder / "robustness.json").read_text())
    assert stored["schema_version"] == 1 and stored["seed"] == 0 and stored["units"] == result.units
    assert replace(Robustness.from_dict(stored), path=folder) == result
    assert (folder / "robustness.html").read_text() == robustness_page(Robustness.from_dict(stored))
    again = foveal.robustness(trained, dataset, corruptions=FEW, shifts=2, progress=False)
    assert timeless(again) == timeless(result)
    other = foveal.robustness(trained, dataset, corruptions=["gaussian_noise"], shifts=0, seed=5, progress=False)
    assert other.curves[0] != result.curves[0] and not other.shifts and not other.maps
    assert sorted(one.name for one in trained.path.glob(".*")) == []
    assert len(json.loads((folder / "robustness.json").read_text())["curves"]) == 1  # the new one took its place


def test_fewer_images_are_drawn_by_lot(run, dataset, result):
    some = foveal.robustness(run, dataset, corruptions="jpeg", images=20, shifts=0, progress=False)
    assert (some.n, some.test_images) == (20, result.n)
    one = foveal.robustness(run, dataset, corruptions="jpeg", images=1, shifts=1, progress=False)
    assert one.n == 1 and one.shifts[0].logit_change is None
    assert "drawn by lot" in some.page_file.read_text()


def test_the_command_from_the_recipe_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = foveal.Recipe(model="mlp", model_options={"hidden": "16"}, epochs=1, threads=1)
    foveal.train("digits", recipe=recipe, out="one", progress=False)
    done = CliRunner().invoke(
        app, ["robustness", "one", "--corruption", "jpeg", "--corruption", "rotation", "--images", "60"]
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Of 60 test images ") and "on average when they are damaged" in lines[0]
    assert any(line.startswith("JPEG ") for line in lines) and any(line.startswith("Rotation ") for line in lines)
    assert lines[-1] == "page    one/robustness/robustness.html" and Path("one/robustness/robustness.html").is_file()
    stored = Robustness.from_dict(json.loads(Path("one/robustness/robustness.json").read_text()))
    assert lines[0] == conclusion(stored).replace("\N{NO-BREAK SPACE}", " ")
    assert [one.name for one in stored.curves] == ["jpeg", "rotation"] and not stored.maps  # it has no map


def test_bad_words_are_named(run, dataset):
    with pytest.raises(UsageError, match=r'no corruption "jpg".*Did you mean "jpeg"'):
        foveal.robustness(run, dataset, corruptions=["jpg"], progress=False)
    for bad in ({"images": 0}, {"shifts": -1}, {"seed": -1}, {"images": True}, {"images": 2.5}):
        with pytest.raises(UsageError, match="whole number"):
            foveal.robustness(run, dataset, progress=False, **bad)
    with pytest.raises(UsageError, match="trained on arrays"):
        foveal.robustness(run, progress=False)
    with pytest.raises(ClassifierError, match="no run or classifier"):
        foveal.robustness(run.path / "nothing", dataset, progress=False)
    alone = shutil.copytree(run.classifier_dir, run.path.parent / "alone" / "classifier")
    with pytest.raises(ClassifierError, match="without its run"):
        foveal.robustness(alone, dataset, progress=False)


def test_other_images_are_not_taken_for_the_runs_own(run, dataset):
    def refused(other: foveal.Dataset, match: str) -> None:
        with pytest.raises(DataError, match=match):
            foveal.robustness(run, other, corruptions="jpeg", shifts=0, progress=False)
        assert not (run.path / "robustness").exists()

    pixels = np.stack([np.asarray(dataset.images.picture(row)) for row in range(len(dataset))])
    test = next(i for i, row in enumerate(run.splits) if row["split"] == "test")
    names = {"name": "some digits", "groups": dataset.groups}
    changed = pixels.copy()
    changed[test, 0, 0] ^= 1
    refused(
        foveal.load(changed, dataset.labels, **names),
        f"1 of them are others(.|\n)*{run.splits[test]['record_id']}",
    )
    labels = dataset.labels.copy()
    labels[test] = (labels[test] + 1) % 10
    refused(foveal.load(pixels, labels, **names), "have other labels")
    refused(dataset.take(np.arange(test)), "are not in")


def test_a_run_without_test_images(run, dataset):
    text = run.splits_file.read_text().replace(",test,", ",validation,")
    run.splits_file.write_text(text)
    with pytest.raises(DataError, match="has no test images"):
        foveal.robustness(run, dataset, progress=False)


def test_folds_are_asked_one_by_one(tmp_path, dataset):
    (tmp_path / "folds.json").write_text("{}")
    with pytest.raises(UsageError, match="name one of them"):
        foveal.robustness(tmp_path, dataset, progress=False)


def test_images_that_moved_away_are_asked_for(class_folders, tmp_path):
    recipe = foveal.Recipe(model="mlp", model_options={"hidden": "4"}, epochs=1, threads=1, size=8)
    run = foveal.train(class_folders, recipe=recipe, out=tmp_path / "run", progress=False)
    moved = class_folders.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"say where they are: foveal robustness .*run SOURCE"):
        foveal.robustness(run, progress=False)
    found = foveal.robustness(run, moved, corruptions=list(CORRUPTIONS)[:2], shifts=1, progress=False)
    assert found.n == found.test_images > 0
