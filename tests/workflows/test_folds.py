"""Folds: every image tested once by a run that has not seen it, groups whole, an ensemble of all, exact resumption."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

import foveal
from foveal.classifier.card import find_folder
from foveal.classifier.ensemble import load_ensemble
from foveal.cli.app import app
from foveal.data.splits import make_folds
from foveal.errors import ClassifierError, DataError, Interrupted, UsageError
from foveal.run import Run, read_csv, read_json
from foveal.training import loop
from foveal.workflows.folds import train_folds

SMALL = {"model": "mlp", "epochs": 2, "batch_size": 32}


@pytest.fixture(scope="module")
def patients() -> foveal.Dataset:
    """240 digits of 60 patients, four images each."""
    digits = foveal.load("digits")
    images = np.stack([np.asarray(digits.images.picture(row)) for row in range(240)])
    labels = np.repeat(np.arange(60) % 3, 4)
    return foveal.load(images, labels, groups=[f"p{row // 4}" for row in range(240)], name="patients")


@pytest.fixture(scope="module")
def trained(patients, tmp_path_factory):
    return train_folds(patients, 4, changes=SMALL, out=tmp_path_factory.mktemp("folds") / "run", progress=False)


def test_every_image_is_tested_once_and_no_group_is_torn(trained, patients):
    rows = read_csv(Run(trained.path).splits_file)
    fold_of = {row["record_id"]: row["fold"] for row in rows}
    groups = {(row["group"], row["fold"]) for row in rows}
    assert len(groups) == 60 and set(fold_of.values()) == {"1", "2", "3", "4"}
    tested: list[str] = []
    for number, run in enumerate(trained.runs, 1):
        own = {row["record_id"]: row["split"] for row in run.splits}
        assert {name for name, split in own.items() if split == "test"} == {
            name for name, fold in fold_of.items() if fold == str(number)
        }
        split_of_group = {(row["group"], row["split"]) for row in run.splits}
        assert len(split_of_group) == 60
        tested += [row["record_id"] for row in run.predictions("test")]
    assert sorted(tested) == sorted(patients.record_ids.tolist())
    together = read_csv(trained.path / "evaluations" / "out-of-fold" / "predictions.csv")
    right = np.mean([row["label"] == row["predicted"] for row in together])
    assert trained.metrics["accuracy"]["value"] == pytest.approx(right)
    assert "groups" in trained.metrics["accuracy"]["method"]
    assert read_json(trained.path / "folds.json")["out_of_fold"]["n"] == 240


def test_classes_are_dealt_evenly():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    dataset = foveal.load(rng.integers(0, 256, (300, 8, 8), dtype=np.uint8), labels)
    folds = make_folds(dataset, np.arange(300), 5, 0)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=6)[1:]
        assert counts.max() - counts.min() <= 1 + (label == 2) * 4
    assert np.array_equal(folds, make_folds(dataset, np.arange(300), 5, 0))
    assert not np.array_equal(folds, make_folds(dataset, np.arange(300), 5, 1))


def test_the_folds_answer_together(trained, patients):
    ensemble = load_ensemble(trained.path, device="cpu")
    pixels = np.stack([np.asarray(patients.images.picture(row)) for row in range(6)])
    alone = [foveal.Classifier.load(run.path, device="cpu").predict(pixels) for run in trained.runs]
    for at, one in enumerate(ensemble.predict(pixels)):
        mean = np.mean([list(answers[at].probabilities.values()) for answers in alone], axis=0)
        assert list(one.probabilities.values()) == pytest.approx(mean.tolist(), abs=2e-9)
    with pytest.raises(ClassifierError, match="not saved"):
        ensemble.save(trained.path / "x")


def test_the_page_says_it_and_links_to_every_fold(trained):
    html = trained.page_file.read_text(encoding="utf-8")
    assert "out-of-fold accuracy" in html and "4 folds of mlp on patients" in html
    assert all(f'href="folds/{number}/report.html"' in html for number in range(1, 5))


def test_interrupted_folds_go_on_and_end_the_same(trained, patients, tmp_path, monkeypatch):
    end_epoch, left = loop.end_epoch, [3]

    def stop(work):
        left[0] -= 1
        if not left[0]:
            work.state.save(Run(tmp_path / "run" / "folds" / "2"))
            raise Interrupted("stopped")
        return end_epoch(work)

    monkeypatch.setattr(loop, "end_epoch", stop)
    with pytest.raises(Interrupted, match="Stopped"):
        train_folds(patients, 4, changes=SMALL, out=tmp_path / "run", progress=False)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="one fold of several"):
        foveal.train(patients, resume=tmp_path / "run" / "folds" / "2", progress=False)
    again = train_folds(patients, resume=tmp_path / "run", progress=False)
    for one, other in zip(trained.runs, again.runs, strict=True):
        files = [(run.classifier_dir / "weights.safetensors").read_bytes() for run in (one, other)]
        assert files[0] == files[1]
    assert again.metrics == trained.metrics


def test_bad_input_is_one_sentence_and_writes_nothing(patients, class_folders, tmp_path):
    with pytest.raises(DataError, match="at least 25 different images"):
        train_folds(patients, 25, changes=SMALL, out=tmp_path / "a", progress=False)
    with pytest.raises(UsageError, match="two or more, not 1"):
        train_folds(patients, 1, changes=SMALL, out=tmp_path / "a", progress=False)
    given = dataclasses.replace(patients, given_splits=np.full(240, "train"))
    with pytest.raises(UsageError, match="gives splits"):
        train_folds(given, 2, changes=SMALL, out=tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()


def test_the_command_line_trains_and_asks_them(class_folders, tmp_path):
    out = tmp_path / "run"
    words = ["train", class_folders, "--folds", 3, "--model", "mlp", "--size", 12, "-e", 1, "--out", out]
    told = CliRunner().invoke(app, list(map(str, words)))
    assert told.exit_code == 0 and "out of fold" in told.output and "recall" in told.output
    asked = CliRunner().invoke(app, ["predict", str(out), str(class_folders / "plum" / "00.png")])
    assert asked.exit_code == 0 and "plum" in asked.output


def test_a_manifest_lies_under_the_folds_and_does_not_undo_them(class_folders, tmp_path):
    kept = sorted(path.relative_to(class_folders).as_posix() for path in class_folders.rglob("*.png"))[4:]
    lines = [f"{name},{name.split('/')[0]}," for name in kept]
    (tmp_path / "m.csv").write_text("record_id,label,split\n" + "\n".join(lines) + "\n")
    changes = {**SMALL, "size": (12, 12), "manifest": str(tmp_path / "m.csv")}
    folds = train_folds(class_folders, 3, changes=changes, out=tmp_path / "run", progress=False)
    tested = [row["record_id"] for run in folds.runs for row in run.predictions("test")]
    assert sorted(tested) == kept and folds.metrics["n"] == 32


def test_the_folds_are_loaded_and_evaluated_as_one_classifier(trained, patients):
    together = foveal.Classifier.load(trained.path, device="cpu")
    assert len(together.members) == 4
    rng = np.random.default_rng(5)
    fresh = foveal.load(rng.integers(0, 256, (12, 8, 8), dtype=np.uint8), np.arange(12) % 3, name="fresh")
    metrics = foveal.evaluate(trained.path, fresh, progress=False)
    assert (
        metrics["n"] == 12 and read_json(trained.path / "evaluations" / "fresh" / "metrics.json")["engine"] == "torch"
    )
    with pytest.raises(ClassifierError, match="holds the folds of a training"):
        find_folder(trained.path)
