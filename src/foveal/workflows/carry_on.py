"""From the last checkpoint, or from none, to a run with everything in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.answers import Raw, answers_of_measured
from foveal.classifier.device import lay_out_as_loaded, saying_out_of_memory
from foveal.data.dataset import CALIBRATION
from foveal.evaluation.gate_fitting import Seen
from foveal.files import write_json
from foveal.models.network import Network
from foveal.progress import Progress
from foveal.run import SCHEMA_VERSION, Run
from foveal.training.loggers import Loggers, open_loggers
from foveal.training.loop import Fit
from foveal.training.loop import fit as fit_network
from foveal.training.recipe import Recipe
from foveal.training.seeding import own_random_state
from foveal.workflows.deciding import Held, decide
from foveal.workflows.evaluate import Answered, engine_of, pictures_of, write_evaluation
from foveal.workflows.network import build, network_options
from foveal.workflows.prepare import Prepared
from foveal.workflows.start_weights import load_start
from foveal.workflows.transfer import Transferred, features_facts, raw_answers, transfer

MOST_OF_TRAINING = 2_000  # training images that the gate gets to know
WITHOUT_CLOCK = "recipe-without-clock.toml"

PLACES = ("source", "data_dir", "manifest")  # of the recipe: where the data lie is not the classifier's business


def carry_on(run: Run, prepared: Prepared, recipe: Recipe, progress: Progress) -> Run:
    """Train from the last checkpoint, if any, to the end; then test once, and report."""
    with open_loggers(run, recipe.log, progress) as loggers:
        plain, trained, transferred = _train(run, prepared, recipe, progress, loggers)
        lay_out_as_loaded(plain.network)
        asked = Asked(plain, prepared, recipe, transferred)
        decisions = decide(recipe, plain.classes, asked.held("validation"), asked.held_back(), asked.seen)
        decided = replace(plain, decisions=decisions)
        classifier = replace(decided, hash=decided.save(run.classifier_dir))
        _measure(run, prepared, recipe, classifier, trained, asked)
        from foveal.report import write_report

        progress.line("writing the report")
        write_report(run, pictures_of(prepared.dataset))
        loggers.end(run)
    return run


def _train(
    run: Run, prepared: Prepared, recipe: Recipe, progress: Progress, loggers: Loggers
) -> tuple[Classifier, Fit, Transferred | None]:
    """Return the network of the best epoch, as a classifier that decides nothing yet, and how training went.

    Of a transfer, also what its stages learned from.
    """
    preprocess, dataset = prepared.preprocess, prepared.dataset
    with saying_out_of_memory("try a smaller --batch-size or --size"), own_random_state(recipe):
        transferred = None
        if prepared.started is not None:
            transferred = transfer(prepared, prepared.started, recipe, run, progress, loggers.epochs)
            network, trained = transferred.network, transferred.fit
        else:
            network = begun(run, prepared, recipe, progress)
            trained = fit_network(network, prepared.training_data(), preprocess, recipe, run, progress, loggers.epochs)
    classifier = Classifier(
        network,
        recipe.model,
        network_options(recipe),
        dataset.classes,
        preprocess,
        _provenance(run, prepared, trained),
    )
    return classifier, trained, transferred


def begun(run: Run, prepared: Prepared, recipe: Recipe, progress: Progress) -> Network:
    """Return the network by `recipe` as training takes it up: with its first weights, or to be given a checkpoint's."""
    preprocess, classes = prepared.preprocess, len(prepared.dataset.classes)
    network = build(recipe, classes, preprocess.channels, (preprocess.height, preprocess.width))
    if not run.checkpoint_file("last").exists():  # a checkpoint holds all that they became
        load_start(network, recipe, classes, preprocess.channels, progress)
    return network


@dataclass(eq=False)
class Asked:
    """What the trained network says of the images of each split, which are asked once."""

    network: Classifier
    prepared: Prepared
    recipe: Recipe
    transferred: Transferred | None
    said: dict[str, Raw] = field(default_factory=dict)
    looked: dict[str, np.ndarray] = field(default_factory=dict)  # the statistics of each split's images

    @property
    def from_features(self) -> bool:
        """Whether the network is asked by the features that it learned from."""
        return self.transferred is not None and self.transferred.best_below is not None

    def raw(self, split: str) -> Raw:
        """Return what the network says of the images of `split`: by their features, where it learned from those."""
        if split not in self.said:
            self.said[split] = self._asked(self.prepared.split.indices(split))
        return self.said[split]

    def measured(self, split: str) -> np.ndarray:
        """Return the statistics (n, K) of the images of `split`."""
        if split not in self.looked:
            self.looked[split] = self.prepared.measured_of(self.prepared.split.indices(split))
        return self.looked[split]

    def _asked(self, rows: np.ndarray) -> Raw:
        found = raw_answers(self.network.network, self.transferred, rows) if self.transferred else None
        return found if found is not None else self.network.raw(self.prepared.pixels, rows, features=True)

    def held(self, split: str) -> Held:
        """Return the same with the labels and units of the images."""
        rows = self.prepared.split.indices(split)
        return Held(split, self.raw(split), self.prepared.dataset.labels[rows], self.prepared.units[rows])

    def seen(self, split: str) -> Seen:
        """Return what the network saw of some images of `split`, and what entered its last layer."""
        rows = self.prepared.split.indices(split)
        if split == "train":
            if len(rows) > MOST_OF_TRAINING:
                rows = np.sort(np.random.default_rng(self.recipe.seed).choice(rows, MOST_OF_TRAINING, replace=False))
            raw, measured = self._asked(rows), self.prepared.measured_of(rows)
        else:
            raw, measured = self.raw(split), self.measured(split)
        seen = self.prepared.preprocess
        size = (seen.height, seen.width, seen.channels)
        return Seen(size, measured, raw.features, raw.logits, self.prepared.dataset.labels[rows])

    def held_back(self) -> Held | None:
        """Return what it says of the calibration split, None where there is none."""
        return self.held(CALIBRATION) if len(self.prepared.split.indices(CALIBRATION)) else None


def _measure(
    run: Run,
    prepared: Prepared,
    recipe: Recipe,
    classifier: Classifier,
    trained: Fit,
    asked: Asked,
) -> None:
    """Ask the validation and the test images, and write metrics.json; under a time limit, how to do without it."""
    measured = {}
    for name in ("validation", "test"):
        rows = prepared.split.indices(name)
        known = asked.measured(name) if classifier.decisions.gate is not None else np.empty((0, 0))
        said = answers_of_measured(classifier.decisions, asked.raw(name), known.__getitem__)
        engine = features_facts(recipe.features_engine) if asked.from_features else engine_of(classifier, run)
        answered = Answered(said, engine)
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
