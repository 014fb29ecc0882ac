"""The learning curve by training-set size: nested parts, the test set left alone, exact resumption, an honest page."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import foveal
from foveal.cli.app import app
from foveal.errors import ClassifierError, DataError, Interrupted, UsageError
from foveal.evaluation.data_curve import DataCurve
from foveal.models.catalog import create_model
from foveal.models.weights.adding import add
from foveal.run import Run, read_json
from foveal.training import loop
from foveal.workflows import part_run, started
from foveal.workflows.learning_curve import learning_curve_or_resume

SHARES = (0.2, 0.5, 1.0)
RECIPE = foveal.Recipe(model="mlp", model_options={"hidden": "16"}, epochs=2, batch_size=32, threads=1, seed=4)


@pytest.fixture(scope="module")
def patients() -> foveal.Dataset:
    """240 digits of 60 patients, four images each."""
    digits = foveal.load("digits")
    images = np.stack([np.asarray(digits.images.picture(row)) for row in range(240)])
    labels = np.repeat(np.arange(60) % 3, 4)
    return foveal.load(images, labels, groups=[f"p{row // 4}" for row in range(240)], name="patients")


@pytest.fixture(scope="module")
def found(patients, tmp_path_factory) -> foveal.LearningCurve:
    out = tmp_path_factory.mktemp("curve") / "run"
    return foveal.learning_curve(patients, SHARES, 2, recipe=RECIPE, out=out, progress=False)


def served(run: Run) -> set[str]:
    return {row["record_id"] for row in run.splits if row["split"] == "train"}


def test_parts_are_nested_whole_and_their_names_say_their_size(found):
    assert [[run.path.parent.name for run in drawn] for drawn in found.runs] == [["sizes"] * 2] * 3
    for repeat in range(2):
        chain = [drawn[repeat] for drawn in found.runs]
        assert all(served(small) < served(large) for small, large in pairwise(chain))
        for run in chain:
            assert run.path.name == f"{len(served(run))}-{repeat + 1}"
            group = {row["record_id"]: row["group"] for row in run.splits}
            used = {group[one] for one in served(run)}
            assert len(served(run)) == 4 * len(used)  # all images of each patient
    assert served(found.runs[0][0]) != served(found.runs[0][1])
    assert served(found.runs[2][0]) == served(found.runs[2][1])


def test_validation_and_test_images_are_those_of_one_split(found):
    home = {row["record_id"]: row["split"] for row in Run(found.path).splits}
    for run in (run for drawn in found.runs for run in drawn):
        held = {row["record_id"]: row["split"] for row in run.splits if row["split"] in ("validation", "test")}
        assert held == {record_id: split for record_id, split in home.items() if split in ("validation", "test")}
        assert {row["record_id"] for row in run.predictions("validation")} == {
            record_id for record_id, split in home.items() if split == "validation"
        }


def test_the_test_images_are_asked_once(found):
    runs = [run for drawn in found.runs for run in drawn]
    tested = [run for run in runs if run.evaluation_dir("test").exists()]
    assert [run.path for run in tested] == [found.runs[2][0].path]
    assert found.test == tested[0].metrics["test"] and tested[0].is_finished
    assert not any((run.path / "checkpoints").exists() for run in runs if run not in tested)


def test_the_whole_run_is_the_run_of_its_recipe(found, patients, tmp_path):
    alone = foveal.train(patients, recipe=RECIPE, out=tmp_path / "alone", progress=False)
    whole = found.runs[2][0]
    files = [(run.classifier_dir / "weights.safetensors").read_bytes() for run in (alone, whole)]
    assert files[0] == files[1]
    assert [row["validation_loss"] for row in alone.history] == [row["validation_loss"] for row in whole.history]


def test_errors_are_those_of_the_stored_answers(found):
    for point, drawn in zip(found.curve.points, found.runs, strict=True):
        for error, run in zip(point.errors, drawn, strict=True):
            rows = run.predictions("validation")
            assert error == pytest.approx(np.mean([row["label"] != row["predicted"] for row in rows]))
        assert point.images == pytest.approx(np.mean([len(served(run)) for run in drawn]))
    assert found.curve.units == len({row["group"] for row in Run(found.path).splits if row["split"] == "validation"})
    stored = read_json(found.path / "learning_curve.json")
    assert DataCurve.from_dict(stored["curve"]) == found.curve and stored["sentence"] == found.sentence
    assert found.curve.verdict == "too few sizes" and "take four or more" in found.sentence


def test_a_curve_without_the_whole_tests_nothing(patients, tmp_path):
    curve = foveal.learning_curve(patients, (0.3, 0.9), 1, recipe=RECIPE, out=tmp_path / "run", progress=False)
    assert curve.test is None and curve.curve.law is None
    assert not any(run.evaluation_dir("test").exists() for drawn in curve.runs for run in drawn)


def test_the_images_that_serve_set_epochs_and_normalisation(patients, tmp_path, monkeypatch):
    seen, fit = [], part_run.fit
    monkeypatch.setattr(part_run, "fit", lambda *all_of: seen.append(all_of) or fit(*all_of))
    recipe = RECIPE.changed({"epochs": None, "patience": 1, "learning_rate": 10.0, "optimizer": "sgd"})
    foveal.learning_curve(patients, (0.3, 0.9), 1, recipe=recipe, out=tmp_path / "run", progress=False)
    for _, data, preprocess, resolved, _, _ in seen:
        assert resolved.epochs == 40  # by the number of images; the recipe left it open
        assert preprocess.mean[0] == pytest.approx(data.pixels[data.train].mean() / 255, abs=1e-6)
    assert seen[0][2].mean != seen[1][2].mean and len(seen) == 2


def test_the_page_says_it(found):
    html = found.page_file.read_text(encoding="utf-8")
    assert "Learning curve of mlp on patients" in html and found.sentence.split(":")[0] in html
    assert html.count('class="one"') == 6 and html.count('class="mean"') == 3
    assert f'href="sizes/{found.runs[2][0].path.name}/report.html"' in html
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_an_interrupted_curve_goes_on_and_ends_the_same(found, patients, tmp_path, monkeypatch):
    end_epoch, left, out = loop.end_epoch, [4], tmp_path / "run"

    def stop(work):
        left[0] -= 1
        if not left[0]:
            work.state.save(Run(found_at(out)))
            raise Interrupted("stopped")
        return end_epoch(work)

    def found_at(home):
        return next(one for one in sorted((home / "sizes").iterdir()) if not (one / "metrics.json").exists())

    monkeypatch.setattr(loop, "end_epoch", stop)
    with pytest.raises(Interrupted, match=r"Stopped; nothing is lost.*foveal train --resume"):
        foveal.learning_curve(patients, SHARES, 2, recipe=RECIPE, out=out, progress=False)
    monkeypatch.undo()
    assert len(list((out / "sizes").iterdir())) == 2
    again = foveal.learning_curve(patients, resume=out, progress=False)
    assert again.curve == found.curve and again.test["accuracy"] == found.test["accuracy"]
    for one, other in zip(found.runs, again.runs, strict=True):
        for a, b in zip(one, other, strict=True):
            assert [row["train_loss"] for row in a.history] == [row["train_loss"] for row in b.history]


def test_a_curve_is_not_gone_on_with_when_its_files_or_images_changed(found, patients, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(found.path, home)
    other = foveal.load(np.zeros((240, 8, 8), np.uint8) + np.arange(240, dtype=np.uint8)[:, None, None],
                        patients.labels, groups=patients.groups.tolist(), name="patients")  # fmt: skip
    with pytest.raises(DataError, match="not those that"):
        foveal.learning_curve(other, resume=home, progress=False)
    with pytest.raises(UsageError, match="trained on arrays"):
        foveal.learning_curve(resume=home, progress=False)
    (home / "splits.csv").write_text((home / "splits.csv").read_text() + "\n")
    with pytest.raises(ClassifierError, match=r"splits\.csv is missing or was changed"):
        foveal.learning_curve(patients, resume=home, progress=False)


@pytest.mark.parametrize(
    ("shares", "repeats", "said"),
    [
        ((1.0,), 3, "two or more"),
        ((), 3, "two or more"),
        ((0.5, 0.2, 1.0), 3, "each above the last"),
        ((0.5, 0.5, 1.0), 3, "each above the last"),
        ((0.0, 1.0), 3, "above 0, up to 1"),
        ((0.5, 1.5), 3, "above 0, up to 1"),
        ((0.5, float("nan")), 3, "above 0, up to 1"),
        (("half", 1.0), 3, "above 0, up to 1"),
        ((0.5, 1.0), 0, "one repeat or more, not 0"),
    ],
)
def test_bad_shares_are_refused(patients, shares, repeats, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        foveal.learning_curve(patients, shares, repeats, recipe=RECIPE, out=tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()


def test_shares_that_the_images_cannot_give_are_refused(patients, tmp_path):
    with pytest.raises(DataError, match=r"share 0\.51 of .* has no more images than the one before"):
        foveal.learning_curve(patients, (0.5, 0.51, 1.0), 1, recipe=RECIPE, out=tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()
    with pytest.raises(UsageError, match="takes no other options"):
        learning_curve_or_resume(
            patients, shares=SHARES, repeats=1, recipe=None, changes={"epochs": 3}, out=None, resume=tmp_path
        )


def test_the_command_line_trains_and_concludes(class_folders, tmp_path):
    out = tmp_path / "run"
    words = ["train", class_folders, "--learning-curve", "--shares", "0.3,1", "--repeats", 1, "--model", "mlp"]
    told = CliRunner().invoke(app, [*map(str, words), "--size", "12", "-e", "1", "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert "What more images would bring cannot be told from 2 sizes" in told.output
    assert "test accuracy" in told.output and json.loads((out / "learning_curve.json").read_text())["repeats"] == 1
    again = CliRunner().invoke(app, ["train", "--resume", str(out)])
    assert again.exit_code == 0 and "learning_curve.html" in again.output
    part = next(iter((out / "sizes").iterdir()))
    refused = CliRunner().invoke(app, ["train", "--resume", str(part)])
    assert isinstance(refused.exception, UsageError)
    assert f"go on with: foveal train --resume {out}" in str(refused.exception)
    for extra, said in ((["--folds", "3"], "takes no folds"), (["--shares", "half"], "takes numbers with commas")):
        refused = CliRunner().invoke(app, [*map(str, words[:3]), *extra])
        assert isinstance(refused.exception, UsageError) and said in str(refused.exception)


def test_a_pretrained_network_computes_its_features_once(class_folders, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = create_model("mobilenet_v2").train()
    with torch.no_grad():
        for module in network.modules():  # a new network says the same of every image: nothing to learn from
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
        for _ in range(3):
            network(torch.randn(16, 3, 32, 32) + torch.randn(16, 3, 1, 1))
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    add(tmp_path / "mine.safetensors", as_name="mobilenet_v2.mine")
    opened, open_trunk = [], started.open_trunk
    monkeypatch.setattr(started, "open_trunk", lambda *more: opened.append(1) or open_trunk(*more))
    options = {"transfer": "feature_extraction", "size": 32, "epochs": 2, "features_engine": "torch", "threads": 1}
    recipe = foveal.Recipe(model="mobilenet_v2", pretrained="mine", **options)
    found = foveal.learning_curve(class_folders, (0.5, 1.0), 2, recipe=recipe, out=tmp_path / "run", progress=False)
    assert len(opened) == 1
    runs = [run for drawn in found.runs for run in drawn]
    assert all(run.history[0]["stage"] == "head" for run in runs)
    assert len({run.history[0]["train_loss"] for run in runs}) == 4  # each repeat has a new head, not the last one's
