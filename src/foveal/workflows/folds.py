"""Folds: every image is tested once, by a run that has not seen it, nor any other of its group.

::

    runs/<name>/
      recipe.toml   what all folds share
      folds.json    how many, and once all have run, the figures
      splits.csv    each image with its fold
      folds.html    the page, and MODEL_CARD.md
      folds/<k>/    run k, a run like any other, whose test images are fold k
      evaluations/out-of-fold/   every image's prediction by the run that has not seen it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.classifier.card import FOLDS as PLAN
from foveal.data.dataset import Dataset
from foveal.data.splits import hold_out, make_folds
from foveal.errors import ClassifierError, DataError, Interrupted, UsageError
from foveal.evaluation.full import FOLD, GATE_SCORE
from foveal.evaluation.out_of_fold import measure_out_of_fold
from foveal.evaluation.predictions import PREDICTIONS_FILE, Predictions, write_predictions
from foveal.evaluation.predictions_file import read_predictions
from foveal.evaluation.spread import Spread, spread
from foveal.files import locked, saying_why, sha256_of, write_bytes, write_csv, write_json
from foveal.models.foreign.entry import refuse_untrusted
from foveal.progress import Progress
from foveal.report.folds import FOLDS_PAGE, OUT_OF_FOLD, folds_card, render_folds
from foveal.run import SCHEMA_VERSION, Run, read_csv, read_json
from foveal.training.interrupt import interrupted
from foveal.training.recipe import Recipe, read_recipe
from foveal.training.transfer import choose_transfer
from foveal.workflows.begin import SPLIT_COLUMNS, begin, split_rows
from foveal.workflows.evaluate import pictures_of
from foveal.workflows.place import free_name, refuse_existing, refuse_inside, refuse_unwritable
from foveal.workflows.plan import given_recipe, open_source
from foveal.workflows.prepare import Prepared, prepare
from foveal.workflows.resume import resume as go_on


@dataclass(frozen=True)
class Folds:
    """Runs that tested a fold each, and what they say together."""

    path: Path
    runs: tuple[Run, ...]
    test_accuracy: Spread  # of the folds, as single figures
    metrics: Mapping[str, Any]  # of all out-of-fold predictions together

    @property
    def page_file(self) -> Path:
        """The page."""
        return self.path / FOLDS_PAGE


def train_folds(
    source: object = None,
    folds: int = 5,
    *,
    recipe: Recipe | str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    trust: str | None = None,
    progress: bool = True,
) -> Folds:
    """Train `folds` runs, each tested on another part of the images, and return them with what they say together.

    The parts are stratified by class; groups, exact copies and (in a transfer) near duplicates are never torn. Of the
    other parts each run holds out `validation` for early stopping. With a pretrained network the features are shared by
    all folds, so that all of them take little longer than one.

    Args:
        source: a Dataset, or anything that `foveal.load` takes, without given splits.
        folds: how many parts, two or more.
        recipe: a Recipe or a TOML file to start from.
        changes: fields of the recipe to change.
        out: the directory to make; ``runs/<source>-<model>-folds`` by default.
        resume: such a directory to go on with; everything else is then taken from it.
        trust: as for `foveal.train`.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: as `foveal.train`; DataError where a class has fewer groups than there are folds.
    """
    with Progress(silent=not progress) as display:
        if resume is not None:
            return _resume(Path(resume), source, display, trust)
        return _begin(source, folds, given_recipe(recipe, changes or {}, source, trust=trust), out, display)


def _begin(source: object, count: int, recipe: Recipe, out: str | Path | None, progress: Progress) -> Folds:
    """Divide the images, make the directory, and train."""
    if not isinstance(count, int) or count < 2:
        raise UsageError(f"Folds are two or more, not {count}.")
    if out is not None:
        refuse_existing(Path(out))
    dataset, recipe = open_source(source, recipe, progress)
    home = Path(out) if out is not None else free_name(Path("runs"), f"{dataset.name}-{recipe.model}-folds")
    refuse_unwritable(home)
    refuse_inside(home, dataset)
    prepared, recipe = _prepared(dataset, recipe, home.parent, progress)
    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    assigned = make_folds(prepared.dataset, prepared.units, count, seed)  # (N,) 1 to count
    part = Run(home.with_name(f".{home.name}.{os.getpid()}.part"))
    try:
        with saying_why(home):
            part.path.mkdir(parents=True)
        recipe.write(part.recipe_file)
        unsplit = [""] * len(prepared.dataset)
        rows = split_rows(prepared.dataset, unsplit, map(str, assigned.tolist()))
        write_csv(part.splits_file, SPLIT_COLUMNS, list(rows))
        plan = {
            "schema_version": SCHEMA_VERSION,
            "folds": count,
            "recipe_sha256": sha256_of(part.recipe_file),
            "splits_sha256": sha256_of(part.splits_file),
        }
        write_json(part.path / PLAN, plan)
        with saying_why(home):
            part.path.rename(home)
    except BaseException:
        shutil.rmtree(part.path, ignore_errors=True)
        raise
    with locked(home):
        return _carry_on(home, prepared, assigned, recipe, progress)


def _prepared(dataset: Dataset, recipe: Recipe, scratch: Path, progress: Progress) -> tuple[Prepared, Recipe]:
    """Return `dataset` with its units known, and the recipe with its transfer chosen."""
    if (dataset.given_splits != "").any():
        raise UsageError(
            f"{dataset.name} gives splits, and folds divide all images: take a source without them, or give manifests "
            f"of your own (foveal data split --folds)."
        )
    recipe, reason = choose_transfer(recipe, len(dataset))
    if reason:
        progress.line(f"transfer: {recipe.transfer}, {reason} (--transfer says otherwise)")
    return prepare(dataset, recipe, scratch, progress), recipe


def _resume(home: Path, source: object, progress: Progress, trust: str | None) -> Folds:
    """Go on with the folds in `home`: the one that was interrupted, then those that had not begun."""
    plan = read_json(home / PLAN)
    for file, key in ((Run(home).recipe_file, "recipe_sha256"), (Run(home).splits_file, "splits_sha256")):
        if plan.get(key) != sha256_of(file):
            raise ClassifierError(f"{file} is missing or was changed after the folds began; restore it, or train anew.")
    with locked(home):
        recipe = read_recipe(Run(home).recipe_file)
        refuse_untrusted(recipe.model, trust, Run(home).recipe_file)
        if source is None and not recipe.source:
            raise UsageError(f"{home} was trained on arrays: give them again.")
        dataset, _ = open_source(source, recipe, progress)
        prepared, recipe = _prepared(dataset, recipe, home, progress)
        fold_of = {row["record_id"]: int(row["fold"]) for row in read_csv(Run(home).splits_file)}
        if set(fold_of) != set(prepared.dataset.record_ids.tolist()):
            raise DataError(f"The images are not those that {home} began with; restore them, or train anew.")
        assigned = np.array([fold_of[one] for one in prepared.dataset.record_ids.tolist()])
        return _carry_on(home, prepared, assigned, recipe, progress)


def _carry_on(home: Path, prepared: Prepared, assigned: np.ndarray, recipe: Recipe, progress: Progress) -> Folds:
    """Train the folds that are not trained yet, then sum them up."""
    count = int(assigned.max())
    runs = [Run(home / "folds" / str(number)) for number in range(1, count + 1)]
    for number, run in enumerate(runs, 1):
        if run.is_finished:
            continue
        progress.line(f"fold {number} of {count}")
        dataset = _divided(prepared, assigned, number, recipe)
        try:
            if run.recipe_file.is_file():
                go_on(run, dataset, None, progress, called=home, trust=recipe.model)
            else:
                own = recipe.changed({"manifest": None})  # it lies over `dataset` already
                begin(dataset, own, run.path, progress, announce=number == 1)
        except Interrupted as error:
            raise interrupted(home, recipe.model) from error
    return _summed(home, prepared, runs, recipe)


def _divided(prepared: Prepared, assigned: np.ndarray, number: int, recipe: Recipe) -> Dataset:
    """Return the images with fold `number` as test, and of the others some held out for validation."""
    dataset = prepared.dataset
    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    rest = np.flatnonzero(assigned != number)
    held = hold_out(dataset.labels[rest], _numbered(prepared.units[rest]), share=recipe.validation, seed=seed)
    splits = np.full(len(dataset), "test", "<U10")
    splits[rest] = np.where(held, "validation", "train")
    return dataset.with_splits(splits)


def _numbered(units: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = np.unique(units, return_inverse=True)[1]
    return numbers


def _summed(home: Path, prepared: Prepared, runs: Sequence[Run], recipe: Recipe) -> Folds:
    """Put the predictions of all folds together, measure them, and write the page."""
    dataset = prepared.dataset
    predictions = _out_of_fold(home, prepared, runs)
    calibrated = [str(run.metrics["test"]["calibration"]["method"]) for run in runs]
    metrics, decisions = measure_out_of_fold(
        predictions, coverage=recipe.coverage, operating_point=recipe.operating_point, calibrated=calibrated
    )
    folder = Run(home).evaluation_dir(OUT_OF_FOLD)
    write_predictions(folder / PREDICTIONS_FILE, predictions)
    write_json(folder / "metrics.json", {"schema_version": SCHEMA_VERSION, **metrics})
    accuracies = [float(run.metrics["test"]["accuracy"]["value"]) for run in runs]
    tested = [int(run.metrics["test"]["n"]) for run in runs]
    overlap = float(np.mean(tested)) / max(len(dataset) - float(np.mean(tested)), 1)
    folds = Folds(home, tuple(runs), spread(accuracies, overlap=overlap), metrics)
    plan = read_json(home / PLAN)
    figures = {
        "out_of_fold": metrics,
        "test_accuracy": {
            "values": accuracies,
            "mean": folds.test_accuracy.mean.to_dict(),
            "standard_deviation": folds.test_accuracy.deviation,
        },
        "decisions": decisions.to_dict(),
        "findings": [finding.to_dict() for finding in prepared.findings],
        "told_without_the_subject": [one.to_dict() for one in prepared.told],
    }
    write_json(home / PLAN, {**plan, **figures})
    write_bytes(Run(home).model_card_file, folds_card(home).encode("utf-8", "replace"))
    write_bytes(folds.page_file, render_folds(home, pictures_of(dataset)).encode("utf-8", "replace"))
    return folds


def _out_of_fold(home: Path, prepared: Prepared, runs: Sequence[Run]) -> Predictions:
    """Return what was said of every image by the run that had not seen it, in the order of the records."""
    dataset, classes = prepared.dataset, prepared.dataset.classes
    parts = [read_predictions(run.evaluation_dir("test") / PREDICTIONS_FILE, classes) for run in runs]
    row_of = {record_id: row for row, record_id in enumerate(dataset.record_ids.tolist())}
    order = np.array([row_of[one] for part in parts for one in part.record_ids], np.int64)
    if not np.array_equal(np.sort(order), np.arange(len(dataset))):
        wrong = len(set(range(len(dataset))) ^ set(order.tolist())) or len(order) - len(dataset)
        raise ClassifierError(
            f"The folds in {home} did not test every image once ({wrong:,} of {len(dataset):,} are missing or twice); "
            f"train them anew."
        )
    place = np.argsort(order)
    raw = [part.raw for part in parts if part.raw is not None]
    columns = {
        FOLD: np.repeat([str(number) for number, _ in enumerate(parts, 1)], [len(part) for part in parts])[place]
    }
    gated = [part.columns[GATE_SCORE] for part in parts if GATE_SCORE in part.columns]
    if gated:  # the folds share a recipe: all of them have a gate, or none
        columns[GATE_SCORE] = np.concatenate(gated)[place]
    if (dataset.sources != "").any():
        columns["source"] = dataset.sources
    columns |= dataset.columns
    return Predictions(
        classes,
        tuple(dataset.record_ids.tolist()),
        dataset.labels,
        np.concatenate([part.probabilities for part in parts])[place],
        np.concatenate(raw)[place] if len(raw) == len(parts) else None,
        prepared.units.astype(str),
        np.concatenate([part.abstained for part in parts if part.abstained is not None])[place] if gated else None,
        columns,
    )
