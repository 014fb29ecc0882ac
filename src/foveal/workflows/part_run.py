"""One training on a part of the training images, measured on the validation images and on nothing else.

::

    sizes/<images>-<repeat>/
      recipe.toml  environment.json  audit.json  splits.csv   whose images that do not serve have no split
      history.csv  metrics.json                               training and validation; written last
      evaluations/validation/predictions.csv                  what the network alone says, before any calibration

It keeps no weights once it is done: it answers one question, how good a network gets with so many images.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.device import saying_out_of_memory
from foveal.data.pixels import mean_and_std
from foveal.data.splits import Split
from foveal.evaluation.interval import by_group
from foveal.evaluation.predictions import PREDICTIONS_FILE, Predictions, write_predictions
from foveal.files import write_json
from foveal.progress import Progress
from foveal.run import SCHEMA_VERSION, Run
from foveal.training.history import EpochRow, epoch_row
from foveal.training.loop import Fit, fit
from foveal.training.reading import read_curves
from foveal.training.recipe import Recipe, read_recipe
from foveal.training.seeding import own_random_state
from foveal.workflows.begin import make_run
from foveal.workflows.carry_on import begun
from foveal.workflows.network import network_options
from foveal.workflows.plan import resolved_for
from foveal.workflows.prepare import Prepared
from foveal.workflows.started import start
from foveal.workflows.transfer import raw_answers, transfer


def train_part(run: Run, prepared: Prepared, rows: np.ndarray, recipe: Recipe, progress: Progress) -> None:
    """Train by `recipe` on the images at `rows` alone, or go on with that, and measure on the validation images.

    What the recipe leaves open is chosen by the number of images, and the normalisation by the images themselves.
    Raises what `foveal.train` raises; after an Interrupted the run can be gone on with.
    """
    part = _with_rows(prepared, rows, recipe)
    if not run.recipe_file.is_file():
        make_run(run.path, part, resolved_for(recipe, part))
    recipe = read_recipe(run.recipe_file)
    try:
        network, trained, probabilities = _trained(run, part, recipe, progress)
    except BaseException:
        if not run.checkpoint_file("last").exists():  # nothing to go on with
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    _write(run, part, network, trained, probabilities)
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)


def is_measured(run: Run) -> bool:
    """Whether a run on a part of the images is done."""
    return run.metrics_file.is_file()


def _with_rows(prepared: Prepared, rows: np.ndarray, recipe: Recipe) -> Prepared:
    """Return what is prepared with the images at `rows` as the only ones to train on."""
    assigned = prepared.split.assigned.copy()
    assigned[assigned == "train"] = ""
    assigned[rows] = "train"
    sentence = f"A part of the training images: {len(rows):,} of {len(prepared.split.indices('train')):,}."
    split = Split(assigned, prepared.split.by, (*prepared.split.sentences, sentence))
    preprocess = prepared.preprocess
    if recipe.pretrained is None:
        mean, std = mean_and_std(prepared.pixels, rows, preprocess)
        preprocess = replace(preprocess, mean=mean, std=std)
    return replace(prepared, split=split, preprocess=preprocess, findings=())


def _trained(run: Run, prepared: Prepared, recipe: Recipe, progress: Progress) -> tuple[Classifier, Fit, np.ndarray]:
    """Return the network of the best epoch, how training went, and the probabilities of the validation images."""
    preprocess, dataset = prepared.preprocess, prepared.dataset
    rows, transferred = prepared.split.indices("validation"), None
    with saying_out_of_memory("try a smaller --batch-size or --size"), own_random_state(recipe):
        if prepared.started is not None:  # the features lie in the cache; the network is a new one each time
            everything = np.arange(len(dataset))
            started = start(dataset, everything, preprocess, recipe, run.path, progress, announce=False)
            transferred = transfer(replace(prepared, started=started), started, recipe, run, progress, _tell_nobody)
            network, trained = transferred.network, transferred.fit
        else:
            network = begun(run, prepared, recipe, Progress(silent=True))
            trained = fit(network, prepared.training_data(), preprocess, recipe, run, progress)
    classifier = Classifier(
        network, recipe.model, network_options(recipe), dataset.classes, preprocess, {"recipe": run.recipe}
    )
    answers = raw_answers(network, transferred, rows) if transferred is not None else None
    if answers is None:
        answers = classifier.raw(prepared.pixels, rows)
    return classifier, trained, answers.probabilities


def _tell_nobody(history: Sequence[EpochRow]) -> None:
    """Take the epochs so far, which no logger is to have."""


def _write(run: Run, prepared: Prepared, network: Classifier, trained: Fit, probabilities: np.ndarray) -> None:
    rows = prepared.split.indices("validation")
    labels, units = prepared.dataset.labels[rows], prepared.units[rows]
    right = probabilities.argmax(axis=1) == labels
    predictions = Predictions(
        network.classes,
        tuple(prepared.dataset.record_ids[rows].tolist()),
        labels,
        probabilities,
        units=units.astype(str),
    )
    write_predictions(predictions_file(run), predictions)
    training = {
        "images": len(prepared.split.indices("train")),
        "epochs": trained.epochs,
        "best_epoch": trained.best_epoch,
        "stopped_early": trained.stopped_early,
        "out_of_time": trained.out_of_time,
        "seconds": round(trained.seconds, 3),
        "parameters": network.parameters,
    }
    validation = {"n": len(rows), "accuracy": by_group(right, units).to_dict()}
    write_json(run.metrics_file, {"schema_version": SCHEMA_VERSION, "training": training, "validation": validation})


def stopped_short(run: Run) -> bool:
    """Whether the validation loss of a run was still falling at its end, so that more epochs might have helped."""
    rows = [epoch_row(row) for row in run.history]
    metrics = run.metrics
    early = bool(metrics["training"]["stopped_early"])
    return "too few epochs" in read_curves(rows, int(metrics["validation"]["n"]), stopped_early=early).patterns


def predictions_file(run: Run) -> Path:
    """Return where the answers to the validation images lie."""
    return run.evaluation_dir("validation") / PREDICTIONS_FILE
