"""Finished runs for comparisons, written to disk as training leaves them, with answers that a test chooses."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foveal.evaluation.metrics import measure
from foveal.evaluation.predictions import Predictions, write_predictions
from foveal.files import write_csv, write_json, write_text
from foveal.run import Run

CLASSES = ("cat", "dog")
SPLITS = ("record_id", "path", "label", "group", "source", "split", "fold", "sha256")
HISTORY = (
    *("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("learning_rate", "seconds", "images_per_s", "best"),
)


@dataclass
class Stored:
    """A run under construction. `wrong` are the test images that it gets wrong."""

    path: Path
    tested: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    trained: tuple[str, ...] = ("t1", "t2")
    validated: tuple[str, ...] = ("v1",)
    classes: tuple[str, ...] = CLASSES
    groups: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    dataset_hash: str = "d" * 64
    findings: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> Run:
        run = Run(self.path)
        recipe = {"source": "nowhere", "model": "lenet5", "seed": 0, **self.recipe}
        write_text(
            run.recipe_file, "schema_version = 1\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in recipe.items())
        )
        write_json(run.audit_file, self.audit())
        write_csv(run.splits_file, SPLITS, [self.row(one, split) for split, ids in self.splits() for one in ids])
        files = (run.recipe_file, run.audit_file, run.splits_file)
        hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        machine = {"processor": "a processor", "device": "cpu", "threads": 1}
        write_json(run.environment_file, {"schema_version": 1, **machine, "files": hashes})
        write_csv(run.history_file, HISTORY, [(e, 1 / e, 0.9, 1.1 / e, 0.8, 0.01, 1.5, 100.0, 1) for e in (1, 2, 3)])
        content_hash = hashlib.sha256(str(self.path).encode()).hexdigest()
        card = {
            "architecture": {"name": "lenet5", "title": "LeNet-5", "year": 1998, "paper": ""},
            "layers": [{"name": "c1", "type": "Conv2d", "output": "6×28×28", "parameters": 156, "macs": 117600}],
            "preprocess": {},
            "content_hash": content_hash,
        }
        write_json(run.classifier_dir / "classifier.json", card)
        metrics = {name: self.evaluate(run, name, ids, content_hash) for name, ids in self.splits() if name != "train"}
        training = {"epochs": 3, "best_epoch": 3, "stopped_early": False, "seconds": 4.5, "parameters": 61706}
        write_json(run.metrics_file, {"schema_version": 1, "training": training, **metrics})
        write_text(run.report_file, "<!doctype html>")
        return run

    def splits(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("train", self.trained), ("validation", self.validated), ("test", self.tested)

    def row(self, record_id: str, split: str) -> tuple[str, ...]:
        return record_id, "", label_of(record_id), self.groups.get(record_id, ""), "", split, "", content_of(record_id)

    def evaluate(self, run: Run, name: str, ids: tuple[str, ...], content_hash: str) -> dict[str, Any]:
        position = {one: index for index, one in enumerate(self.classes)}
        labels = np.array([position[label_of(one)] for one in ids])
        right = np.array([one not in self.wrong for one in ids])
        probabilities = np.full((len(ids), len(self.classes)), 0.2 / (len(self.classes) - 1))
        others = (labels + 1) % len(self.classes)
        probabilities[np.arange(len(ids)), np.where(right, labels, others)] = 0.8
        metrics = measure(
            labels, probabilities, self.classes, np.array([self.groups.get(one, "") for one in ids])
        ).to_dict()
        folder = run.evaluation_dir(name)
        write_predictions(
            folder / "predictions.csv", Predictions(tuple(self.classes), tuple(ids), labels, probabilities)
        )
        header = {"schema_version": 1, "classifier": content_hash, "dataset": {"name": "pets", "origin": "nowhere"}}
        write_json(folder / "metrics.json", {**header, **metrics})
        return metrics

    def audit(self) -> dict[str, Any]:
        dataset = {"name": "pets", "content_hash": self.dataset_hash, "n": 9, "channels": 3, "image_sizes": "8×8"}
        return {
            "schema_version": 1,
            "dataset": dataset,
            "split": {"counts": {}, "sentences": []},
            "findings": self.findings,
        }


def label_of(record_id: str) -> str:
    """Odd numbers are cats."""
    return CLASSES[int(record_id[1:]) % 2 - 1]


def content_of(record_id: str) -> str:
    return hashlib.sha256(record_id.encode()).hexdigest()


def images(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"i{number}" for number in range(first, last + 1))
