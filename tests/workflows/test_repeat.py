"""Repeats: the runs differ in what they should, an interrupted whole goes on, and the page says what it may."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import foveal
from foveal.cli.app import app
from foveal.errors import ClassifierError, DataError, Interrupted, UsageError
from foveal.report.repeats import DOT, stacked
from foveal.training import loop
from foveal.workflows.verify import verify

RECIPE = foveal.Recipe(model="mlp", model_options={"hidden": "16"}, epochs=1, seed=4, threads=1)


def weights_of(run: foveal.Run) -> bytes:
    return (run.classifier_dir / "weights.safetensors").read_bytes()


def splits_of(run: foveal.Run) -> dict[str, str]:
    return {row["record_id"]: row["split"] for row in run.splits}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> foveal.Repeats:
    return foveal.repeat("digits", 3, recipe=RECIPE, out=tmp_path_factory.mktemp("runs") / "three", progress=False)


def test_the_runs_differ_in_their_seed_alone(three):
    assert three.seeds == (4, 5, 6) and three.same_test_images
    assert [run.recipe["seed"] for run in three.runs] == [4, 5, 6]
    assert splits_of(three.runs[0]) == splits_of(three.runs[1]) == splits_of(three.runs[2])
    assert len({weights_of(run) for run in three.runs}) == 3
    assert three.test_accuracy.values == tuple(run.metrics["test"]["accuracy"]["value"] for run in three.runs)


def test_together_they_answer_with_their_mean(three, tmp_path):
    images = foveal.load("digits").images
    pixels = [np.asarray(images.picture(row)) for row in range(5)]
    together = foveal.Classifier.load(three.path).predict(pixels)
    alone = [foveal.Classifier.load(run.path).predict(pixels) for run in three.runs]
    for row, one in enumerate(together):
        mean = np.mean([list(answers[row].probabilities.values()) for answers in alone], axis=0)
        assert list(one.probabilities.values()) == pytest.approx(mean.tolist(), abs=2e-9)
    rows = foveal.Run(three.path).predictions("test")
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert three.together["accuracy"]["value"] == pytest.approx(right)
    assert json.loads((three.path / "repeats.json").read_text())["together"]["n"] == len(rows) == 270
    assert f"{100 * right:.2f}" in three.page_file.read_text("utf-8")


def test_what_is_told_of_them_together_can_be_verified(three, tmp_path):
    copy = shutil.copytree(three.path, tmp_path / "copy")
    assert verify(copy, sample=5, progress=False).holds
    plan = json.loads((copy / "repeats.json").read_text())
    plan["together"]["accuracy"]["value"] += 0.01
    (copy / "repeats.json").write_text(json.dumps(plan))
    failing = [check.name for check in verify(copy, sample=0, progress=False).checks if check.holds is False]
    assert failing == ["repeats.json"]


def test_an_external_evaluation_asks_them_together(three, tmp_path):
    home = shutil.copytree(three.path, tmp_path / "copy")
    digits = foveal.load("digits")
    pixels = np.stack([255 - np.asarray(digits.images.picture(row)) for row in range(60)])
    other = foveal.load(pixels, [digits.classes[label] for label in digits.labels[:60].tolist()], name="inverted")
    found = foveal.evaluate(home, other, role="external", members="folds", progress=False)
    assert found["external"]["internal_n"] == 270
    assert found["uncertainty"]["passes"] == 3
    assert "each member's own calibration" in Path(found["page"]).read_text("utf-8").replace("&#39;", "'")
    assert verify(home, sample=0, progress=False).holds


def test_an_operating_point_is_chosen_for_them_together(tmp_path):
    recipe = RECIPE.changed({"operating_point": "8: sensitivity 0.8"})
    two = foveal.repeat("digits", 2, recipe=recipe, out=tmp_path / "two", progress=False)
    point = foveal.Classifier.load(two.path).decisions.operating
    assert point is not None
    assert point.split == "validation"
    assert two.together["operating"]["operating"]["threshold"] == point.threshold


def test_runs_on_splits_of_their_own_are_no_classifier(tmp_path):
    two = foveal.repeat("digits", 2, recipe=RECIPE, new_split=True, out=tmp_path / "two", progress=False)
    assert two.together is None
    with pytest.raises(ClassifierError, match="holds several runs; name one of them"):
        foveal.Classifier.load(two.path)
    assert foveal.Classifier.load(two.runs[0].path).classes == tuple("0123456789")


def test_a_run_of_them_is_the_run_of_its_recipe(three, tmp_path):
    again = foveal.train(recipe=three.runs[1].recipe_file, out=tmp_path / "again", progress=False)
    assert weights_of(again) == weights_of(three.runs[1])
    alone = foveal.train("digits", recipe=RECIPE, out=tmp_path / "alone", progress=False)
    assert weights_of(alone) == weights_of(three.runs[0])  # the first is what would have been trained without repeats


def test_the_figures_are_written_and_shown(three):
    stored = json.loads((three.path / "repeats.json").read_text())
    values = stored["test_accuracy"]["values"]
    assert stored["schema_version"] == 1 and stored["seeds"] == [4, 5, 6] and stored["same_test_images"]
    assert stored["test_accuracy"]["mean"]["value"] == pytest.approx(np.mean(values))
    assert stored["test_accuracy"]["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
    page = three.page_file.read_text()
    assert page.count('class="dot"') == 3
    assert f"{100 * np.mean(values):.2f}" in page and "None of these runs is marked as the best" in page
    for link in re.findall(r'<a href="(repeats[^"]+)"', page):
        assert (three.path / link).is_file()
    assert page.count('<a href="repeats/') == 3 and "http" not in page.replace("http-equiv", "").replace(
        "http://www.w3.org", ""
    )


def test_repeats_that_were_stopped_go_on(three, tmp_path, monkeypatch):
    import signal

    learn, learned = loop.learn, []

    def stop_in_the_second_run(*arguments):
        learned.append(1)
        if len(learned) == 30:  # an epoch has 20 batches
            signal.raise_signal(signal.SIGINT)
        return learn(*arguments)

    torn = tmp_path / "torn"
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"foveal train --resume {torn}$"):
        patch.setattr(loop, "learn", stop_in_the_second_run)
        foveal.repeat("digits", 3, recipe=RECIPE, out=torn, progress=False)
    assert not (torn / "repeats.html").exists()
    with pytest.raises(UsageError, match="holds repeats of a run"):
        foveal.train(resume=torn, progress=False)
    done = CliRunner().invoke(app, ["train", "--resume", str(torn)])
    assert done.exit_code == 0, done.output
    assert "mean of 3 runs, the same test images" in done.output
    again = foveal.repeat(resume=torn, progress=False)
    assert [weights_of(run) for run in again.runs] == [weights_of(run) for run in three.runs]
    assert again.test_accuracy == three.test_accuracy
    (torn / "recipe.toml").write_text((torn / "recipe.toml").read_text().replace("seed = 4", "seed = 9"))
    with pytest.raises(ClassifierError, match="changed after the repeats began"):
        foveal.repeat(resume=torn, progress=False)


def test_data_that_changed_between_the_runs_are_refused(tmp_path, monkeypatch):
    learn, learned = loop.learn, []

    def stop_between(*arguments):
        learned.append(1)
        if len(learned) == 21:  # the first batch of the second run
            raise KeyboardInterrupt
        return learn(*arguments)

    digits = foveal.load("digits")
    pixels = np.stack([np.asarray(digits.images.picture(row)) for row in range(len(digits))])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "learn", stop_between)
        foveal.repeat(foveal.load(pixels, digits.labels), 3, recipe=RECIPE, out=tmp_path / "torn", progress=False)
    shutil.rmtree(tmp_path / "torn" / "repeats" / "2")
    with pytest.raises(DataError, match="have changed since the first run"):
        foveal.repeat(foveal.load(pixels, 9 - digits.labels), resume=tmp_path / "torn", progress=False)


def test_a_new_split_each_widens_the_interval(tmp_path):
    two = foveal.repeat("digits", 2, recipe=RECIPE, new_split=True, out=tmp_path / "two", progress=False)
    assert splits_of(two.runs[0]) != splits_of(two.runs[1]) and not two.same_test_images
    half = two.test_accuracy.mean.high - two.test_accuracy.mean.value
    share = 270 / sum(row["split"] == "train" for row in two.runs[0].splits)
    expected = 12.7062 * two.test_accuracy.deviation * np.sqrt(1 / 2 + share)
    assert half == pytest.approx(min(expected, 1 - two.test_accuracy.mean.value), rel=1e-4)
    assert "Nadeau, Bengio" in two.page_file.read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"times": 1}, "two runs or more, not 1"),
        ({"new_split": True, "recipe": RECIPE.changed({"split_seed": 3})}, "split_seed is for one split"),
        ({"resume": "x", "new_split": True}, "takes no other options"),
    ],
)
def test_what_makes_no_sense_is_refused(more, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        foveal.repeat("digits", progress=False, **more)
    done = CliRunner().invoke(app, ["train", "digits", "--new-split"])
    assert isinstance(done.exception, UsageError) and "say how many" in str(done.exception)


def test_dots_never_cover_one_another():
    places = [10.0, 12.0, 14.0, 40.0, 10.0, 26.0]
    heights = stacked(places)
    assert heights[:3] == [0, 1, 2] and heights[3] == 0
    for i, (x, level) in enumerate(zip(places, heights, strict=True)):
        assert all(level != heights[j] or abs(x - places[j]) >= 2 * DOT for j in range(i))
