"""A folder of folds in a comparison: its answers out of fold, which no image served, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from stored_comparisons import CLASSES, SPLITS, Stored, content_of, images, label_of

from foveal.classifier import card
from foveal.errors import ClassifierError
from foveal.evaluation.metrics import measure
from foveal.evaluation.predictions import Predictions, write_predictions
from foveal.files import write_csv, write_json, write_text
from foveal.report.folds import FOLDS as PLAN
from foveal.run import Run, read_json
from foveal.workflows.compare import compare

TESTED = images(1, 40)
FOLDS = (images(1, 20), images(21, 40))


def folds(path: Path, wrong: tuple[str, ...] = (), groups: dict[str, str] | None = None) -> Path:
    """Two folds of forty images, as `train_folds` leaves them; every even image is a dog."""
    run, groups = Run(path), groups or {}
    rows = []
    for number, tested in enumerate(FOLDS, 1):
        others = FOLDS[2 - number]
        content = path.name * 8 + str(number)  # of data whose splits differ
        Stored(path / "folds" / str(number), tested, wrong, others, groups=groups, dataset_hash=content).write()
        rows += [(one, "", label_of(one), groups.get(one, ""), "", "", str(number), content_of(one)) for one in tested]
    write_text(run.recipe_file, 'schema_version = 1\nsource = "nowhere"\nmodel = "lenet5"\nseed = 0\n')
    write_csv(run.splits_file, SPLITS, rows)
    labels = np.array([CLASSES.index(label_of(one)) for one in TESTED])
    p = np.full((40, 2), 0.2)
    right = np.array([one not in wrong for one in TESTED])
    p[np.arange(40), np.where(right, labels, 1 - labels)] = 0.8
    folder = run.evaluation_dir("out-of-fold")
    write_predictions(folder / "predictions.csv", Predictions(CLASSES, TESTED, labels, p))
    metrics = measure(labels, p, CLASSES, np.array([groups.get(one, "") for one in TESTED])).to_dict()
    write_json(folder / "metrics.json", {"schema_version": 1, **metrics})
    hashes = {
        f"{name}_sha256": hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in (("recipe", run.recipe_file), ("splits", run.splits_file))
    }
    write_json(path / "folds.json", {"schema_version": 1, "folds": 2, "out_of_fold": metrics, "findings": [], **hashes})
    return path


@pytest.fixture
def single(tmp_path):
    return Stored(
        tmp_path / "single", images(1, 10), wrong=images(1, 4), trained=images(11, 30), validated=images(31, 40)
    )


def test_out_of_fold_answers_are_compared_where_the_other_run_has_not_learnt(single, tmp_path):
    comparison = compare([folds(tmp_path / "folds", wrong=images(4, 5)), single.write().path])
    (pair,) = comparison.pairs
    assert (pair.result.n, pair.result.only_first, pair.result.only_second) == (10, 3, 1)
    assert comparison.runs[0].scores.n == 40 and comparison.runs[0].folds == 2
    assert comparison.runs[0].title == "LeNet-5, 2 folds" and comparison.runs[0].training.epochs == 6
    assert any(
        note.startswith("A is 2 folds: each image was answered by the one of its 2 runs") for note in comparison.notes
    )
    assert comparison.differing == {"folds": ("2", "–")}
    assert not any("trained on different data" in note for note in comparison.notes)
    single.trained = images(11, 29)
    fewer = compare([tmp_path / "folds", single.write().path])
    assert any("trained on different data" in note for note in fewer.notes)


def test_two_folders_of_folds_are_compared_on_every_image(tmp_path):
    first, second = folds(tmp_path / "a", wrong=images(1, 2)), folds(tmp_path / "b", wrong=images(1, 12))
    for evaluation in ("test", "out-of-fold"):
        comparison = compare([first, second], evaluation=evaluation, out=tmp_path / f"{evaluation}.html")
        (pair,) = comparison.pairs
        assert (pair.result.n, pair.result.only_first, pair.result.only_second) == (40, 10, 0)
        assert not any("different data" in note for note in comparison.notes)
        assert pair.sentences == () and len({run.classifier_hash for run in comparison.runs}) == 2
        assert "LeNet-5, 2 folds" in (tmp_path / f"{evaluation}.html").read_text("utf-8")


def test_a_patient_that_the_other_run_knows_in_several_folds_never_counts(single, tmp_path):
    """The single run knows that i1 and i25 are of one patient; the folds, made without patients, lie on both sides."""
    single.groups = {"i1": "P", "i25": "P", "i2": "Q", "i3": "Q"}
    single.tested = (*images(1, 10), "i25")  # it has not learnt from that patient itself
    single.trained = images(11, 24)
    single.validated = images(26, 40)
    comparison = compare([folds(tmp_path / "folds"), single.write().path])
    (pair,) = comparison.pairs
    assert pair.result.n == 9 and "2 images where one of the two learnt from other images" in pair.sentences[0]
    known = compare([folds(tmp_path / "known", groups={"i1": "P", "i2": "P"}), single.path])
    assert known.pairs[0].result.n == 9


def test_folds_have_no_validation_and_no_other_data(single, tmp_path):
    path = folds(tmp_path / "folds")
    for evaluation in ("validation", "spring"):
        with pytest.raises(ClassifierError, match=f'no evaluation "{evaluation}", only out-of-fold'):
            compare([path, single.write().path], evaluation=evaluation)


def test_what_is_unfinished_changed_or_damaged_is_refused(single, tmp_path):
    other, path = single.write().path, folds(tmp_path / "folds")
    plan = read_json(path / "folds.json")
    report, splits = path / "folds" / "2" / "report.html", path / "splits.csv"
    answers = path / "evaluations" / "out-of-fold" / "predictions.csv"

    write_json(path / "folds.json", {name: one for name, one in plan.items() if name != "out_of_fold"})
    with pytest.raises(ClassifierError, match="not finished; go on with: foveal train --resume"):
        compare([path, other])
    write_json(path / "folds.json", {**plan, "folds": "two"})
    with pytest.raises(ClassifierError, match="does not say how many folds"):
        compare([path, other])
    write_json(path / "folds.json", plan)
    report.rename(path / "kept")
    with pytest.raises(ClassifierError, match="not finished"):
        compare([path, other])
    (path / "kept").rename(report)
    text = splits.read_text()
    write_text(splits, text + "\n")
    with pytest.raises(ClassifierError, match=r"splits\.csv is missing or was changed"):
        compare([path, other])
    write_text(splits, text)
    text = answers.read_text()
    write_text(answers, text.replace("i1,cat,cat", "i1,cat,dog", 1))
    with pytest.raises(ClassifierError, match="damaged"):
        compare([path, other])
    write_text(answers, text.replace("0.200000000", "1.200000000"))
    with pytest.raises(ClassifierError, match="not between 0 and 1"):
        compare([path, other])
    write_text(answers, text)
    assert compare([path, other]).pairs[0].result.n == 10


def test_answers_that_are_not_those_of_the_folds_are_refused(single, tmp_path):
    path = folds(tmp_path / "folds", wrong=("i1",))
    again = folds(tmp_path / "again", wrong=("i3",))  # as many right, but other ones
    target = path / "evaluations" / "out-of-fold" / "predictions.csv"
    write_text(target, (again / "evaluations" / "out-of-fold" / "predictions.csv").read_text())
    with pytest.raises(ClassifierError, match="other answers than those of the folds"):
        compare([path, single.write().path])


def test_the_name_of_the_plan_is_the_one_of_the_artefact():
    assert card.FOLDS == PLAN


# --- measures beside accuracy ---


def test_a_comparison_says_auc_and_loss_and_goes_into_json(tmp_path):
    first = Stored(tmp_path / "a", TESTED, wrong=images(1, 2))
    second = Stored(tmp_path / "b", TESTED, wrong=images(3, 14))
    comparison = compare([first.write().path, second.write().path])
    measures = {one.measure: one for one in comparison.pairs[0].measures}
    assert list(measures) == ["accuracy", "macro AUC", "log loss", "AUC, DeLong"]
    assert measures["accuracy"].difference.value == pytest.approx(comparison.pairs[0].result.difference.value)
    loss = -np.log([0.2, 0.8])
    assert measures["log loss"].first == pytest.approx((2 * loss[0] + 38 * loss[1]) / 40)
    assert measures["macro AUC"].first == pytest.approx(measures["AUC, DeLong"].first)
    assert measures["log loss"].first_is_better and measures["log loss"].p_value < 0.05
    stored = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert stored["pairs"][0]["measures"][2]["difference"]["high"] == measures["log loss"].difference.high
    assert stored["pairs"][0]["mcnemar"]["n"] == 40 and stored["runs"][1]["letter"] == "B"


def test_three_runs_share_their_resamples_and_are_corrected_by_measure(tmp_path):
    runs = [Stored(tmp_path / name, TESTED, wrong=images(1, last)) for name, last in (("a", 2), ("b", 12), ("c", 6))]
    pairs = compare([run.write().path for run in runs]).pairs
    two = compare([tmp_path / "a", tmp_path / "b"]).pairs[0].measures
    assert [one.difference for one in two] == [one.difference for one in pairs[0].measures]
    for place, one in enumerate(two):
        others = [pair.measures[place].p_value for pair in pairs]
        assert pairs[0].measures[place].p_adjusted >= one.p_value
        assert min(pair.measures[place].p_adjusted for pair in pairs) == pytest.approx(min(1, 3 * min(others)))
