"""From the last checkpoint, or from none, to a run with everything in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from foveal.classifier import Classifier
from foveal.classifier.device import saying_out_of_memory
from foveal.files import write_json
from foveal.progress import Progress
from foveal.run import SCHEMA_VERSION, Run
from foveal.training.loggers import Loggers, open_loggers
from foveal.training.loop import Fit
from foveal.training.loop import fit as fit_network
from foveal.training.recipe import Recipe
from foveal.training.seeding import own_random_state
from foveal.workflows.evaluate import Answers, engine_of, pictures_of, write_evaluation
from foveal.workflows.network import build, network_options
from foveal.workflows.prepare import Prepared
from foveal.workflows.start_weights import load_start
from foveal.workflows.transfer import Transferred, answers, transfer

WITHOUT_CLOCK = "recipe-without-clock.toml"

PLACES = ("source", "data_dir", "manifest")  # of the recipe: where the data lie is not the classifier's business


def carry_on(run: Run, prepared: Prepared, recipe: Recipe, progress: Progress) -> Run:
    """Train from the last checkpoint, if any, to the end; then test once, and report."""
    with open_loggers(run, recipe.log, progress) as loggers:
        classifier, trained, transferred = _train(run, prepared, recipe, progress, loggers)
        _measure(run, prepared, recipe, classifier, trained, transferred)
        from foveal.report import write_report

        progress.line("writing the report")
        write_report(run, pictures_of(prepared.dataset))
        loggers.end(run)
    return run


def _train(
    run: Run, prepared: Prepared, recipe: Recipe, progress: Progress, loggers: Loggers
) -> tuple[Classifier, Fit, Transferred | None]:
    """Return the stored classifier of the best epoch, how training went, and what a transfer learned from."""
    preprocess, dataset = prepared.preprocess, prepared.dataset
    with saying_out_of_memory("try a smaller --batch-size or --size"), own_random_state(recipe):
        transferred = None
        if prepared.started is not None:
            transferred = transfer(prepared, prepared.started, recipe, run, progress, loggers.epochs)
            network, trained = transferred.network, transferred.fit
        else:
            network = build(recipe, len(dataset.classes), preprocess.channels, (preprocess.height, preprocess.width))
            if not run.checkpoint_file("last").exists():  # a checkpoint holds all that they became
                load_start(network, recipe, len(dataset.classes), preprocess.channels, progress)
            trained = fit_network(network, prepared.training_data(), preprocess, recipe, run, progress, loggers.epochs)
    classifier = Classifier(
        network,
        recipe.model,
        network_options(recipe),
        dataset.classes,
        preprocess,
        _provenance(run, prepared, trained),
    )
    classifier.save(run.classifier_dir)
    return Classifier.load(run.classifier_dir, device=recipe.device, trust=recipe.model), trained, transferred


def _measure(
    run: Run,
    prepared: Prepared,
    recipe: Recipe,
    classifier: Classifier,
    trained: Fit,
    transferred: Transferred | None,
) -> None:
    """Ask the validation and the test images, and write metrics.json; under a time limit, how to do without it."""
    measured = {}
    for name in ("validation", "test"):
        rows = prepared.split.indices(name)
        answered = answers(classifier, transferred, recipe.features_engine, rows) if transferred else None
        if answered is None:
            answered = Answers(classifier.probabilities(prepared.pixels, rows), engine_of(classifier, run))
        measured[name] = write_evaluation(run, name, classifier, prepared.dataset, answered, rows, prepared.units[rows])
    training = {
        "epochs": trained.epochs,
        "best_epoch": trained.best_epoch,
        "stopped_early": trained.stopped_early,
        "out_of_time": trained.out_of_time,
        "seconds": round(trained.seconds, 3),
        "images": trained.images,
        "images_per_s": round(trained.images_per_s, 1),
        "parameters": classifier.parameters,
        "stages": [asdict(stage) for stage in trained.stages],
    }
    if recipe.time_limit_s is not None:
        without_clock(recipe, trained).write(run.path / WITHOUT_CLOCK)
    write_json(run.metrics_file, {"schema_version": SCHEMA_VERSION, "training": training, **measured})


def without_clock(recipe: Recipe, trained: Fit) -> Recipe:
    """Return the recipe that sees as many images in as many epochs without a time limit, the schedule fitted to it."""
    epoch_images = max(1, round(trained.images / trained.epochs))
    return recipe.changed({"time_limit_s": None, "epochs": trained.epochs, "epoch_images": epoch_images})


def _provenance(run: Run, prepared: Prepared, trained: Fit) -> dict[str, Any]:
    """Return where the classifier comes from: the data and recipe it was made of, and by what."""
    environment = run.environment
    return {
        "dataset": prepared.dataset.name,
        "dataset_hash": prepared.dataset.content_hash,
        "train_images": len(prepared.split.indices("train")),
        "best_epoch": trained.best_epoch,
        "recipe": {name: value for name, value in run.recipe.items() if name not in PLACES},
        "foveal": environment["foveal"],
        "torch": environment["torch"],
        "device": environment["device"],
    }
