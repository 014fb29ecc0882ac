"""A stored run, as training leaves it, built from made-up answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.files import write_csv, write_json, write_text
from foveal.run import Run

HOSTILE = ["<script>alert(1)</script>", "a\"b'c", "</script><img src=x onerror=alert(2)>", "\u202eevil", "été & co"]


@dataclass
class StoredRun:
    """A run directory under construction: change a field, then `write`."""

    path: Path
    classes: list[str] = field(default_factory=lambda: [str(digit) for digit in range(10)])
    n: int = 60
    wrong: float = 0.2
    epochs: int = 12
    findings: list[dict[str, Any]] = field(default_factory=list)
    record_id: Callable[[int], str] = "digits/{:05d}".format
    seed: int = 3

    def answers(self) -> list[tuple[int, int, float]]:
        """(true, predicted, probability) of every test image; the last third of the classes may be without any."""
        rng = np.random.default_rng(self.seed)
        k = len(self.classes)
        answers = []
        for index in range(self.n):
            true = index % k
            missed = rng.random() < self.wrong
            predicted = (true + int(rng.integers(1, min(k, 4)))) % k if missed else true
            answers.append((true, predicted, float(rng.uniform(0.4, 0.9999) if missed else rng.uniform(0.6, 1.0))))
        return answers

    def write(self) -> Run:
        run = Run(self.path)
        answers = self.answers()
        test = scores(self.classes, answers)
        history = self.history()
        best = min(history, key=lambda row: row[3])[0]
        write_text(run.recipe_file, RECIPE)
        write_json(run.environment_file, ENVIRONMENT)
        write_json(run.audit_file, self.audit(answers))
        write_csv(
            run.splits_file,
            ["record_id", "path", "label", "group", "source", "split", "fold"],
            [
                (self.record_id(i), f"{i}.png", self.classes[t], "", "", "test", "")
                for i, (t, _, _) in enumerate(answers)
            ],
        )
        write_csv(run.history_file, HISTORY, history)
        training = {
            "epochs": self.epochs,
            "best_epoch": best,
            "stopped_early": False,
            "seconds": 83.2,
            "parameters": 61_706,
            "images_per_s": 5_120.0,
        }
        write_json(run.metrics_file, {"schema_version": 1, "training": training, "validation": test, "test": test})
        write_csv(
            run.evaluation_dir("test") / "predictions.csv",
            ["record_id", "label", "predicted", "probability", *(f"p:{name}" for name in self.classes)],
            [
                (self.record_id(i), self.classes[t], self.classes[p], probability, *(0.0 for _ in self.classes))
                for i, (t, p, probability) in enumerate(answers)
            ],
        )
        write_json(run.classifier_dir / "classifier.json", {**CLASSIFIER, "classes": self.classes})
        return run

    def history(self) -> list[tuple[float, ...]]:
        rng = np.random.default_rng(self.seed)
        rows = []
        lowest = float("inf")
        for epoch in range(1, self.epochs + 1):
            train = 2.2 * float(np.exp(-epoch / 3)) + 0.02
            validation = 2.1 * float(np.exp(-epoch / 3)) + 0.07 + 0.004 * epoch + float(rng.uniform(0, 0.02))
            lowest, best = min(lowest, validation), int(validation < lowest)
            shares = 1 - 0.38 * train, 1 - 0.40 * validation
            rows.append((epoch, train, shares[0], validation, shares[1], 0.002 / epoch, 4.1, 5100.0, best))
        return rows

    def audit(self, answers: list[tuple[int, int, float]]) -> dict[str, Any]:
        counts = {name: sum(true == index for true, _, _ in answers) for index, name in enumerate(self.classes)}
        return {
            "schema_version": 1,
            "dataset": {
                "name": "digits",
                "origin": "scikit-learn 1.5 (UCI handwritten digits)",
                "content_hash": "9f2c" * 16,
                "n": 1797,
                "n_groups": None,
                "classes": counts,
                "image_sizes": "8×8",
                "channels": 1,
            },
            "split": {
                "by": "image",
                "sentences": [
                    "Images were split at random within each class, seed 0: 70 % training, 15 % validation, 15 % test.",
                    "No groups were given, so images of one person may lie on both sides.",
                ],
                "counts": {"train": counts, "validation": counts, "test": counts},
            },
            "findings": self.findings,
        }


def scores(classes: list[str], answers: list[tuple[int, int, float]]) -> dict[str, Any]:
    k = len(classes)
    matrix = [[0] * k for _ in range(k)]
    for true, predicted, _ in answers:
        matrix[true][predicted] += 1
    per_class = {}
    for index, name in enumerate(classes):
        support, given, right = sum(matrix[index]), sum(row[index] for row in matrix), matrix[index][index]
        recall, precision = share(right, support), share(right, given)
        f1 = 2 * right / (support + given) if support + given else None
        per_class[name] = {"precision": precision, "recall": recall, "f1": f1, "support": support}
    return {
        "n": len(answers),
        "accuracy": share(sum(matrix[i][i] for i in range(k)), len(answers)),
        "loss": 0.0712,
        "macro_f1": 0.9137,
        "per_class": per_class,
        "confusion": matrix,
        "classes": classes,
    }


def share(right: int, n: int) -> dict[str, Any] | None:
    if not n:
        return None
    p, z = right / n, 1.96
    centre, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))
    return {"value": p, "low": low, "high": high, "level": 0.95, "method": "Wilson"}


def grey_picture(record_id: str) -> Image.Image:
    """A grey 28×28 picture that differs from record to record."""
    rng = np.random.default_rng(sum(record_id.encode("utf-8", "replace")) + len(record_id))
    return Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8))


HISTORY = [
    *("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("learning_rate", "seconds", "images_per_s", "best"),
]

RECIPE = """\
schema_version = 1
source = "digits"
model = "lenet5"
epochs = 20
batch_size = 64
optimizer = "adamw"
learning_rate = 0.002
schedule = "one_cycle"
weight_decay = 0.01
label_smoothing = 0.0
class_weights = "none"
seed = 0
validation = 0.15
test = 0.15
split_by = "image"
accept = []

[model_options]
activation = "relu"
"""

ENVIRONMENT = {
    "schema_version": 1,
    "foveal": "0.1.0",
    "python": "3.11.9",
    "platform": "Linux-6.1-x86_64",
    "processor": "AMD EPYC",
    "cores": 2,
    "memory_gib": 24.0,
    "torch": "2.13.0",
    "numpy": "2.1.0",
    "pillow": "11.0.0",
    "device": "cpu",
    "threads": 2,
    "started": "2026-11-21T20:50:00+00:00",
}

CLASSIFIER = json.loads(
    """{"schema_version": 1,
    "architecture": {"name": "lenet5", "options": {"activation": "relu"}, "title": "LeNet-5", "year": 1998,
      "paper": "LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE, 1998"},
    "layers": [
      {"name": "c1", "type": "Conv2d", "output": "6×28×28", "parameters": 156, "macs": 117600},
      {"name": "s2", "type": "AvgPool2d", "output": "6×14×14", "parameters": 0, "macs": 0},
      {"name": "c3", "type": "Conv2d", "output": "16×10×10", "parameters": 2416, "macs": 240000},
      {"name": "c5", "type": "Conv2d", "output": "120×1×1", "parameters": 48120, "macs": 48000},
      {"name": "f6", "type": "Linear", "output": "84", "parameters": 10164, "macs": 10080},
      {"name": "output", "type": "Linear", "output": "10", "parameters": 850, "macs": 840}],
    "parameters": 61706,
    "preprocess": {"channels": 1, "height": 32, "width": 32, "content_height": 28, "content_width": 28, "fit": "pad",
      "mean": [0.3053], "std": [0.3761]},
    "weights": {"file": "weights.safetensors", "sha256": "ab"}, "provenance": {},
    "content_hash": "4b1d0f7c2a9e4b1d0f7c2a9e4b1d0f7c2a9e4b1d0f7c2a9e4b1d0f7c2a9e4b1d"}"""
)


@pytest.fixture
def stored(tmp_path: Path) -> StoredRun:
    return StoredRun(tmp_path / "run")


@pytest.fixture
def picture() -> Callable[[str], Image.Image]:
    return grey_picture


@pytest.fixture
def hostile() -> list[str]:
    return list(HOSTILE)
