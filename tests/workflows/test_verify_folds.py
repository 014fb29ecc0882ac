"""Folds whose figures follow from what each of them stores; a change of one or of what is told of all is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from foveal.errors import ClassifierError
from foveal.run import read_json
from foveal.workflows.folds import train_folds
from foveal.workflows.verify import verify

RECIPE = {"model": "mlp", "epochs": 3, "operating_point": "8: sensitivity 0.8"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "folds"
    return train_folds("digits", 3, changes=RECIPE, out=path, progress=False).path


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "folds"))


def failing(path: Path) -> dict[str, str]:
    found = verify(path, sample=20, progress=False)
    return {check.name: check.sentence for check in found.checks if check.holds is False}


def test_folds_as_they_were_left_hold(trained: Path) -> None:
    found = verify(trained, sample=20, progress=False)
    assert found.holds
    assert all(check.holds for check in found.checks)
    names = [check.name for check in found.checks]
    assert [name for name in names if name.startswith("fold 2")][-2:] == ["fold 2, report", "fold 2, model card"]
    assert names[-6:] == [
        "how they began",
        "answers out of fold",
        "evaluation out-of-fold",
        "folds.json",
        "model card",
        "page of the folds",
    ]


def test_the_threshold_of_the_ensemble_is_chosen_out_of_fold(trained: Path) -> None:
    plan = read_json(trained / "folds.json")
    told = plan["out_of_fold"]["operating"]
    assert told["operating"]["split"] == "out of fold" == plan["decisions"]["operating"]["split"]
    assert plan["decisions"]["operating"]["sensitivity"] >= 0.8  # chosen on all, and so met there


def test_the_card_speaks_of_the_answers_out_of_fold(trained: Path) -> None:
    card = (trained / "MODEL_CARD.md").read_text("utf-8")
    assert " trained on digits: 1,797 images, 10 classes" in card
    assert "Out of fold: each image by the one of 3 classifiers" in card
    assert "| Accuracy |" in card
    assert "split: out of fold" in card
    assert "“8” is answered from a probability of" in card


def test_another_answer_of_a_fold_is_seen_in_the_fold_and_in_the_whole(copy: Path) -> None:
    file = copy / "folds" / "2" / "evaluations" / "test" / "predictions.csv"
    rows = [row.split(",") for row in file.read_text().splitlines()]
    rows[3][1] = "0" if rows[3][1] != "0" else "1"
    file.write_text("\n".join(map(",".join, rows)) + "\n")
    wrong = failing(copy)
    assert {"fold 2, sealed files", "fold 2, evaluation test", "answers out of fold"} <= wrong.keys()
    assert rows[3][0] in wrong["answers out of fold"]


def test_a_changed_figure_of_the_whole_is_seen_where_it_stands(copy: Path) -> None:
    plan = read_json(copy / "folds.json")
    plan["out_of_fold"]["accuracy"]["value"] += 0.01
    (copy / "folds.json").write_text(json.dumps(plan))
    assert failing(copy).keys() == {"folds.json", "model card", "page of the folds"}


def test_a_changed_digit_of_the_page_is_seen(copy: Path) -> None:
    page = copy / "folds.html"
    html = page.read_text("utf-8")
    assert "out-of-fold accuracy" in html
    page.write_text(html.replace("out-of-fold accuracy", "accuracy"), "utf-8")
    assert failing(copy).keys() == {"page of the folds"}


def test_folds_that_are_not_all_trained_are_refused(copy: Path) -> None:
    plan = read_json(copy / "folds.json")
    del plan["out_of_fold"]
    (copy / "folds.json").write_text(json.dumps(plan))
    with pytest.raises(ClassifierError, match="go on with: foveal train --resume"):
        verify(copy, progress=False)
