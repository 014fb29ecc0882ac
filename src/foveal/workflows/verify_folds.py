"""Verify folds and repeats: whether what is told of all of them together follows from what each has stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foveal.classifier import Classifier
from foveal.classifier.card import REPEATS, holds_folds
from foveal.classifier.decisions import Decisions
from foveal.errors import ClassifierError, FovealError
from foveal.evaluation.out_of_fold import measure_out_of_fold
from foveal.evaluation.predictions import PREDICTIONS_FILE
from foveal.evaluation.predictions_file import read_predictions
from foveal.evaluation.together import BY_MEMBERS, decisions_of, mean_of, measure_together
from foveal.files import sha256_of
from foveal.report.folds import FOLDS, FOLDS_PAGE, OUT_OF_FOLD, folds_card, render_folds
from foveal.report.sections import Pictures
from foveal.run import Run, read_json
from foveal.training.recipe import read_recipe
from foveal.workflows.checks import Check, check_evaluations, check_page, differences, same_words
from foveal.workflows.contender import fold_runs


def member_runs(home: Run) -> list[Run]:
    """Return the folds or repeats in `home`; ClassifierError where they have not all been trained."""
    if not holds_folds(home.path):
        count = len(read_json(home.path / REPEATS)["seeds"])
        return [Run(home.path / "repeats" / str(number)) for number in range(1, count + 1)]
    if "out_of_fold" not in read_json(home.path / FOLDS):
        raise ClassifierError(f"{home.path} is not finished; go on with: foveal train --resume {home.path}")
    return fold_runs(home)


def check_repeats(home: Run) -> Iterator[Check]:
    """Yield whether what is told of the repeats in `home` as one classifier follows from what each has stored."""
    plan, runs = read_json(home.path / REPEATS), member_runs(home)
    words, classes = same_words(runs[0]), plan["together"]["classes"]
    recipe = read_recipe(home.recipe_file)
    tested, validated = (
        mean_of([read_predictions(run.evaluation_dir(name) / PREDICTIONS_FILE, classes) for run in runs])
        for name in ("test", "validation")
    )
    decisions = decisions_of(validated, recipe.operating_point)
    special = {"test": lambda predictions: measure_together(predictions, decisions)}
    yield from check_evaluations(home, decisions, special, words=words, calibrated=BY_MEMBERS)
    yield _plan(REPEATS, plan, {"together": measure_together(tested, decisions)}, decisions, runs, words)


def check_folds(home: Run, pictures: Pictures | None) -> Iterator[Check]:
    """Yield whether the folds in `home` began as is written down, and what is told of all of them follows from each.

    `pictures` gives the images of the page; None where they are not at hand.
    """
    plan, runs = read_json(home.path / FOLDS), fold_runs(home)
    words = same_words(runs[0])
    yield _began(home, plan)
    yield _answers(home, runs)
    try:
        decisions = Classifier.load(home.path).decisions
    except FovealError as error:
        yield Check("ensemble", False, str(error))
        return
    recipe = read_recipe(home.recipe_file)
    calibrated = [str(run.metrics["test"]["calibration"]["method"]) for run in runs]

    predictions = read_predictions(home.evaluation_dir(OUT_OF_FOLD) / PREDICTIONS_FILE, plan["out_of_fold"]["classes"])
    metrics, given = measure_out_of_fold(
        predictions, coverage=recipe.coverage, operating_point=recipe.operating_point, calibrated=calibrated
    )
    special = {OUT_OF_FOLD: lambda _: metrics}  # of the same predictions
    yield from check_evaluations(home, decisions, special, words=words, calibrated=BY_MEMBERS)
    yield _plan(FOLDS, plan, {"out_of_fold": metrics}, given, runs, words)
    yield check_page("model card", home.model_card_file, lambda: folds_card(home.path), pictured=True, words=words)
    yield check_page(
        "page of the folds",
        home.path / FOLDS_PAGE,
        lambda: render_folds(home.path, pictures or (lambda _: None)),
        pictured=pictures is not None,
        words=words,
    )


def _plan(
    name: str,
    plan: Mapping[str, Any],
    measured: Mapping[str, Any],
    decisions: Decisions,
    runs: Sequence[Run],
    words: bool,
) -> Check:
    """Return whether `plan`, stored under `name`, tells what was `measured` and decided, and each run's accuracy."""
    accuracies = {"values": [run.metrics["test"]["accuracy"]["value"] for run in runs]}
    found = {**measured, "decisions": decisions.to_dict(), "test_accuracy": accuracies}
    wrong = list(differences(found, plan, words=words))
    said = "Its figures and what the ensemble was given follow from the answers of the runs."
    return Check(name, not wrong, f"{'; '.join(wrong[:5])}." if wrong else said)


def _began(home: Run, plan: Mapping[str, Any]) -> Check:
    files = {home.recipe_file: "recipe_sha256", home.splits_file: "splits_sha256"}
    wrong = [file.name for file, key in files.items() if not file.is_file() or sha256_of(file) != plan.get(key)]
    if wrong:
        return Check("how they began", False, f"{' and '.join(wrong)} changed since the folds began.")
    return Check("how they began", True, "Recipe and folds are those that training began with.")


def _answers(home: Run, runs: list[Run]) -> Check:
    """Return whether the answers out of fold are those that each fold gave to its test images."""
    keys = ("label", "predicted", "probability")
    given = {row["record_id"]: [row[key] for key in keys] for run in runs for row in run.predictions("test")}
    told = {row["record_id"]: [row[key] for key in keys] for row in home.predictions(OUT_OF_FOLD)}
    other = sorted(one for one in given.keys() | told.keys() if given.get(one) != told.get(one))
    if other:
        return Check("answers out of fold", False, f"{len(other):,} are not those of the folds, the first {other[0]}.")
    return Check("answers out of fold", True, f"All {len(told):,} are those that the folds gave to their test images.")
