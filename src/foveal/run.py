"""The run directory: where everything of one training run lies, and how it is read back.

::

    runs/<name>/
      recipe.toml  environment.json  audit.json  splits.csv
      history.csv  checkpoints/{last,best}/checkpoint.safetensors
      evaluations/<name>/  predictions.csv  metrics.json
      metrics.json  report.html  figures/  MODEL_CARD.md  seal.json
      classifier/  classifier.json  weights.safetensors
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import ClassifierError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Run:
    """A run directory. Every property reads what is on disk now; nothing is cached."""

    path: Path

    def _repr_html_(self) -> str:
        from foveal.run_card import run_card

        return run_card(self)

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def audit_file(self) -> Path:
        return self.path / "audit.json"

    @property
    def splits_file(self) -> Path:
        return self.path / "splits.csv"

    @property
    def history_file(self) -> Path:
        return self.path / "history.csv"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.json"

    @property
    def seal_file(self) -> Path:
        return self.path / "seal.json"

    @property
    def sealed(self) -> dict[str, str]:
        """The SHA-256 of each file, by its path below the run, when the report was written; empty without a seal."""
        return dict(read_json(self.seal_file).get("files", {})) if self.seal_file.is_file() else {}

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def model_card_file(self) -> Path:
        return self.path / "MODEL_CARD.md"

    @property
    def figures_dir(self) -> Path:
        return self.path / "figures"

    @property
    def classifier_dir(self) -> Path:
        return self.path / "classifier"

    def checkpoint_file(self, which: str) -> Path:
        return self.path / "checkpoints" / which / "checkpoint.safetensors"

    def evaluation_dir(self, name: str) -> Path:
        return self.path / "evaluations" / name

    @property
    def recipe(self) -> dict[str, Any]:
        """Every choice of the run, as written in recipe.toml."""
        return read_toml(self.recipe_file)

    @property
    def environment(self) -> dict[str, Any]:
        return read_json(self.environment_file)

    @property
    def audit(self) -> dict[str, Any]:
        return read_json(self.audit_file)

    @property
    def metrics(self) -> dict[str, Any]:
        """``{"test": {"n": …, "accuracy": {"value": …, "low": …, "high": …}, …}, "validation": …}``."""
        return read_json(self.metrics_file)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row an epoch: losses, accuracies, learning rate, seconds as numbers, and the stage as a text."""
        return [
            {key: value if key == "stage" else float(value) for key, value in row.items()}
            for row in read_csv(self.history_file)
        ]

    @property
    def splits(self) -> list[dict[str, str]]:
        """One row an image: record_id, path, label, group, source, split, fold."""
        return read_csv(self.splits_file)

    def predictions(self, name: str = "test") -> list[dict[str, str]]:
        """One row an image of the evaluation `name`: record_id, label, predicted, probability, one column a class."""
        return read_csv(self.evaluation_dir(name) / "predictions.csv")

    @property
    def is_finished(self) -> bool:
        """Whether training, evaluation, classifier and report are all there; the report is written last."""
        return self.report_file.is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`; ClassifierError when it is missing, damaged or of a newer schema."""
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ClassifierError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, dict):
        raise ClassifierError(f"{path} is damaged: it does not hold a JSON object.")
    if not isinstance(value.get("schema_version", SCHEMA_VERSION), int):
        raise ClassifierError(f"{path} is damaged: its schema_version is no number.")
    if value.get("schema_version", SCHEMA_VERSION) > SCHEMA_VERSION:
        raise ClassifierError(
            f"{path} was written by a newer Foveal (schema {value['schema_version']}); update Foveal."
        )
    return value


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ClassifierError(f"{path} is damaged: {error}.") from error


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(path), newline="")))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # not read_text: it would turn \r within a name into \n
    except FileNotFoundError as error:
        raise ClassifierError(f"{path} is missing.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ClassifierError(f"{path} cannot be read: {error}.") from error
