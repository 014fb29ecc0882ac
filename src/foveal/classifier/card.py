"""What a classifier's folder says, read without torch: its card, its decisions, where its files are.

Everything is checked before anything is believed, and no code that the files name is run.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_arrays

from foveal.classifier.decisions import Decisions
from foveal.errors import ClassifierError, FovealError
from foveal.preprocess import Preprocess

SCHEMA_VERSION = 1
CARD = "classifier.json"
WEIGHTS = "weights.safetensors"
GATE = "gate.safetensors"
FOLDS = "folds.json"  # in a folder whose runs are the folds of one training
REPEATS = "repeats.json"  # in a folder whose runs are repeats of one recipe with other seeds


@dataclass(frozen=True)
class Card:
    """What classifier.json says; `content_hash` binds it to the weights."""

    architecture: Mapping[str, Any]  # name, options, title, year, paper
    classes: tuple[str, ...]
    preprocess: Preprocess
    parameters: int
    layers: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, Any]
    decisions: Decisions = field(default_factory=Decisions)

    def to_dict(self, weights_hash: str, gate_hash: str | None = None) -> dict[str, Any]:
        """Return the JSON object of classifier.json, `content_hash` included."""
        value: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "architecture": dict(self.architecture),
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict(),
            "parameters": self.parameters,
            "layers": [dict(layer) for layer in self.layers],
            "provenance": dict(self.provenance),
            "weights": {"file": WEIGHTS, "sha256": weights_hash},
        }
        decisions = self.decisions.to_dict()
        if decisions:
            value["decisions"] = decisions
        if gate_hash is not None:
            value["gate"] = {"file": GATE, "sha256": gate_hash}
        return {**value, "content_hash": content_hash(value)}


def is_ensemble(path: Path) -> bool:
    """Whether `path` holds runs that answer together: the folds of one training, or its repeats on one split."""
    return holds_folds(path) or holds_repeats(path)


def holds_folds(path: Path) -> bool:
    """Whether `path` holds the folds of one training."""
    return (path / FOLDS).is_file()


def holds_repeats(path: Path) -> bool:
    """Whether `path` holds finished repeats of one training, all on the same split."""
    try:
        return "together" in json.loads((path / REPEATS).read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def content_hash(card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything in the card but its own hash; the weights enter by theirs."""
    rest = {key: value for key, value in card.items() if key != "content_hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_card(folder: Path) -> tuple[Card, bytes, str]:
    """Return the card, the bytes of the weights and the content hash.

    Raises ClassifierError when anything is missing or was changed.
    """
    value = read_json(folder)
    if not (folder / WEIGHTS).is_file():
        raise ClassifierError(f"{folder} is no whole classifier: {WEIGHTS} is missing.")
    if value.get("content_hash") != content_hash(value):
        raise ClassifierError(f"{folder / CARD} was changed after it was written: its content hash does not fit.")
    try:
        weights = _checked_bytes(folder / WEIGHTS, value["weights"]["sha256"])
        arrays = _arrays(folder / GATE, value["gate"]["sha256"]) if "gate" in value else {}
        card = _card(value, arrays)
    except ClassifierError:
        raise
    except (KeyError, TypeError, ValueError, FovealError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ClassifierError(f"{folder / CARD} is not the card of a classifier: {reason}.") from error
    return card, weights, str(value["content_hash"])


def _checked_bytes(file: Path, expected: str) -> bytes:
    """Return the bytes of `file`; ClassifierError unless its SHA-256 is the `expected` one."""
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise ClassifierError(f"{file.parent} is no whole classifier: {file.name} is missing.") from error
    except OSError as error:
        raise ClassifierError(f"{file} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise ClassifierError(f"{file} is damaged or was exchanged: its SHA-256 is not the one in {CARD}.")
    return content


def _arrays(file: Path, expected: str) -> dict[str, np.ndarray]:
    try:
        return parse_arrays(_checked_bytes(file, expected))
    except SafetensorError as error:
        raise ClassifierError(f"{file} is no safetensors file: {error}.") from error


def _card(value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Card:
    """Return the card in the JSON object `value`; KeyError, TypeError or ValueError say what is wrong with it."""
    classes, architecture, preprocess = (
        value["classes"],
        value["architecture"],
        Preprocess.from_dict(value["preprocess"]),
    )
    if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
        raise ValueError("its classes are not a list of names")
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError("its classes are fewer than two, or one is named twice")
    if not isinstance(architecture, dict) or not isinstance(architecture.get("options", {}), dict):
        raise ValueError("its architecture is not an object with a name and options")
    return Card(
        architecture=architecture,
        classes=tuple(classes),
        preprocess=preprocess,
        parameters=value["parameters"],
        layers=tuple(value["layers"]),
        provenance=dict(value["provenance"]),
        decisions=Decisions.from_dict(value.get("decisions", {}), tuple(classes), arrays),
    )


def read_json(folder: Path) -> dict[str, Any]:
    """Return the JSON object of the card in `folder`; ClassifierError where it is none, or of a newer Foveal."""
    path = folder / CARD
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ClassifierError(f"{folder} is no whole classifier: {CARD} is missing.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ClassifierError(f"{path} is damaged: {error}.") from error
    except RecursionError as error:
        raise ClassifierError(f"{path} is damaged: its values are nested too deeply.") from error
    if not isinstance(value, dict) or not isinstance(value.get("schema_version"), int):
        raise ClassifierError(f"{path} is not the card of a classifier: it is no JSON object with a schema_version.")
    if value["schema_version"] > SCHEMA_VERSION:
        raise ClassifierError(
            f"{path} was written by a newer Foveal (schema {value['schema_version']}); update Foveal."
        )
    return value


def find_folder(path: Path) -> Path:
    """Return the classifier's folder for a run directory or the folder itself; ClassifierError when there is none."""
    for folder in (path / "classifier", path):
        if (folder / CARD).is_file():
            return folder
    if not path.exists():
        raise ClassifierError(f"There is no run or classifier at {path}.")
    if (path / REPEATS).is_file():
        raise ClassifierError(f"{path} holds several runs; name one of them, as in {path / 'repeats' / '1'}.")
    if holds_folds(path):
        raise ClassifierError(f"{path} holds the folds of a training; name one of them, as in {path / 'folds' / '1'}.")
    if (path / "recipe.toml").is_file():
        resume = f"foveal train --resume {shlex.quote(str(path))}"
        raise ClassifierError(f"The run {path} has no classifier yet, since it has not finished; go on with: {resume}")
    raise ClassifierError(f"{path} is neither a run nor a classifier: {CARD} is missing.")
