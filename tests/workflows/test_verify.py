"""A run whose figures follow from what it stores; one changed digit, anywhere, is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import foveal
from foveal.errors import ClassifierError
from foveal.run import Run
from foveal.workflows.checks import differences
from foveal.workflows.verify import Verification, verify


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = foveal.train(
        "digits",
        model="lenet5",
        epochs=2,
        calibration=0.15,
        operating_point="8: sensitivity 0.9",
        out=tmp_path_factory.mktemp("verify") / "run",
        progress=False,
    )
    return run.path


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def failing(path: Path) -> dict[str, str]:
    found: Verification = verify(path, progress=False)
    return {check.name: check.sentence for check in found.checks if check.holds is False}


def test_a_run_as_it_was_left_holds(trained: Path) -> None:
    found = verify(trained, progress=False)
    assert found.holds
    names = [check.name for check in found.checks]
    assert names[:4] == ["sealed files", "classifier", "evaluation test", "evaluation validation"]
    assert names[4:] == ["predicted again", "report", "model card"]
    assert all(check.holds for check in found.checks)


def change(file: Path, pattern: str, by: Callable[[re.Match[str]], str] | str) -> None:
    text, count = re.subn(pattern, by, file.read_text("utf-8"), count=1)
    assert count == 1
    file.write_text(text, "utf-8")


def unsealed(path: Path) -> None:
    """As somebody who knows of the seal would do it."""
    Run(path).seal_file.unlink()


def test_a_changed_figure_of_the_metrics_is_named(copy: Path) -> None:
    stored = json.loads((copy / "evaluations/test/metrics.json").read_text())
    stored["per_class"]["3"]["auc"]["value"] += 0.001
    (copy / "evaluations/test/metrics.json").write_text(json.dumps(stored))
    unsealed(copy)
    assert "per_class.3.auc.value is" in failing(copy)["evaluation test"]


def test_one_changed_digit_of_the_predictions_is_seen(copy: Path) -> None:
    file = copy / "evaluations/test/predictions.csv"
    rows = file.read_text().splitlines()
    cells = rows[5].split(",")
    at = rows[0].split(",").index("p:0")
    cells[at] = f"{float(cells[at]) + 0.0001:.9f}"
    file.write_text("\n".join([*rows[:5], ",".join(cells), *rows[6:]]) + "\n")
    assert "evaluation test" in failing(copy)
    assert "evaluations/test/predictions.csv was changed" in failing(copy)["sealed files"]


def test_a_label_that_is_not_that_of_the_split_is_seen(copy: Path) -> None:
    file = copy / "evaluations/test/predictions.csv"
    rows = [row.split(",") for row in file.read_text().splitlines()]
    rows[3][1] = "0" if rows[3][1] != "0" else "1"
    file.write_text("\n".join(map(",".join, rows)) + "\n")
    unsealed(copy)
    assert "1 labels are not those of splits.csv" in failing(copy)["evaluation test"]


def test_a_changed_digit_of_the_report_is_shown_in_its_place(copy: Path) -> None:
    change(
        copy / "report.html", r'(<span class="big">\d\d\.)(\d)', lambda found: found[1] + str((int(found[2]) + 1) % 10)
    )
    unsealed(copy)
    assert set(failing(copy)) == {"report", "seal"}
    assert "and they give" in failing(copy)["report"]


def test_a_changed_digit_of_the_card_is_shown_in_its_place(copy: Path) -> None:
    change(copy / "MODEL_CARD.md", r"(\| Accuracy \| 0\.\d\d)(\d)", lambda one: one[1] + str((int(one[2]) + 1) % 10))
    unsealed(copy)
    assert set(failing(copy)) == {"model card", "seal"}
    assert "Accuracy" in failing(copy)["model card"]


def test_the_card_tells_how_the_classifier_decides(trained: Path) -> None:
    card = (trained / "MODEL_CARD.md").read_text("utf-8")
    assert "### How it decides" in card
    assert "“8” is answered from a probability of" in card
    assert "sensitivity >= 0.9".replace(">", "\\>") in card


def test_another_classifier_answers_otherwise(copy: Path, tmp_path: Path) -> None:
    other = foveal.train("digits", model="lenet5", epochs=1, seed=5, out=tmp_path / "other", progress=False)
    shutil.rmtree(copy / "classifier")
    shutil.copytree(other.classifier_dir, copy / "classifier")
    unsealed(copy)
    assert "predicted again" in failing(copy)


def test_images_that_are_gone_leave_the_question_open(copy: Path) -> None:
    found = verify(copy, copy / "nowhere", progress=False)
    again = [check for check in found.checks if check.name == "predicted again"]
    assert [check.holds for check in again] == [None]


def test_a_run_without_a_report_is_none(copy: Path) -> None:
    (copy / "report.html").unlink()
    with pytest.raises(ClassifierError, match="no finished run"):
        verify(copy, progress=False)


def test_differences_are_named_by_their_place() -> None:
    found = {"a": {"b": [1.0, 2.0]}, "c": None, "n": 3}
    assert list(differences(found, {"a": {"b": [1.0, 2.0 + 1e-12]}, "c": None, "n": 3})) == []
    assert list(differences(found, {"a": {"b": [1.0, 2.1]}, "c": 0, "n": 3})) == [
        "a.b[1] is 2.1, and should be 2.0",
        "c is 0, and should be None",
    ]
    assert list(differences(found, {"a": {"b": [1.0]}, "n": 3})) == ["a.b has another length", "c is missing"]


def test_the_artefact_keeps_what_was_decided(trained: Path) -> None:
    classifier = foveal.Classifier.load(trained)
    decisions = classifier.decisions
    assert decisions.operating is not None and decisions.operating.positive == "8"
    assert decisions.sets is not None and decisions.gate is not None and decisions.calibration is not None
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    [answer] = classifier.predict(noise)
    assert "does not resemble" in answer.abstain
    assert answer.threshold is not None and answer.prediction_set is not None


def test_an_exchanged_gate_is_refused(copy: Path) -> None:
    gate = copy / "classifier" / "gate.safetensors"
    gate.write_bytes(gate.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ClassifierError, match=r"gate\.safetensors is damaged or was exchanged"):
        foveal.Classifier.load(copy)


def test_most_test_images_pass_the_gate(trained: Path) -> None:
    rows = Run(trained).predictions("test")
    assert sum(bool(row["abstained"]) for row in rows) <= 0.08 * len(rows)


def test_without_its_images_the_report_is_compared_but_for_its_pictures(copy: Path) -> None:
    found = {check.name: check for check in verify(copy, copy / "nowhere", progress=False).checks}
    assert found["report"].holds
    assert "but for its pictures" in found["report"].sentence
    change(copy / "report.html", r'("cells":\s?\{"\d-\d":\s?\[)(\d+)', r"\g<1>9\2")
    unsealed(copy)
    found = {check.name: check for check in verify(copy, copy / "nowhere", progress=False).checks}
    assert found["report"].holds is False


def test_another_version_is_asked_for_its_figures_and_not_for_its_words(copy: Path) -> None:
    change(copy / "environment.json", r'"foveal": "[^"]+"', '"foveal": "0.0.9"')
    change(copy / "report.html", "What a probability means", "What probability means")
    file = copy / "evaluations" / "test" / "metrics.json"
    change(file, r'("sentence": ")The', r"\1Now the")
    unsealed(copy)
    checks = {check.name: check for check in verify(copy, progress=False).checks}
    assert checks["report"].holds is None
    assert checks["evaluation test"].holds
    stored = json.loads(file.read_text())
    stored["calibration"]["after"]["ece"]["value"] += 0.001
    file.write_text(json.dumps(stored))
    assert "calibration.after.ece.value" in failing(copy)["evaluation test"]
