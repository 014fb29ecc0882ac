"""A classifier on disk: ``classifier.json`` and ``weights.safetensors`` in one directory, bound by one hash.

Loading runs no code that the files name: the architecture is a name of the catalog, the weights are
safetensors. Everything is checked before anything is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save as make_arrays
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as make_safetensors
from torch import Tensor

from foveal.classifier.decisions import Decisions
from foveal.errors import ClassifierError, FovealError, OutputError
from foveal.files import write_bytes, write_json
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


def write(folder: Path, card: Card, weights: Mapping[str, Tensor]) -> str:
    """Write the classifier into `folder`, the card last, and return its content hash.

    Raises OutputError when another classifier lies there: a run's figures belong to its classifier.
    """
    content = make_safetensors({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    gate = card.decisions.gate
    # Contiguous, since safetensors writes the memory of an array as it lies, whatever its strides say.
    plain = {name: np.ascontiguousarray(one) for name, one in gate.arrays().items()} if gate is not None else {}
    arrays = make_arrays(plain) if gate is not None else None
    gate_hash = hashlib.sha256(arrays).hexdigest() if arrays is not None else None
    value = card.to_dict(hashlib.sha256(content).hexdigest(), gate_hash)
    if (folder / CARD).is_file() and _json(folder).get("content_hash") != value["content_hash"]:
        raise OutputError(f"{folder} holds another classifier; save this one elsewhere.")
    write_bytes(folder / WEIGHTS, content)
    if arrays is not None:
        write_bytes(folder / GATE, arrays)
    write_json(folder / CARD, value)
    return str(value["content_hash"])


def read(folder: Path) -> tuple[Card, dict[str, Tensor], str]:
    """Return the card, the weights and the content hash; ClassifierError when anything is missing or was changed."""
    value = _json(folder)
    if not (folder / WEIGHTS).is_file():
        raise ClassifierError(f"{folder} is no whole classifier: {WEIGHTS} is missing.")
    if value.get("content_hash") != content_hash(value):
        raise ClassifierError(f"{folder / CARD} was changed after it was written: its content hash does not fit.")
    try:
        weights = _tensors(folder / WEIGHTS, value["weights"]["sha256"])
        arrays = _tensors(folder / GATE, value["gate"]["sha256"]) if "gate" in value else {}
        card = _card(value, {name: one.numpy() for name, one in arrays.items()})
    except ClassifierError:
        raise
    except (KeyError, TypeError, ValueError, FovealError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ClassifierError(f"{folder / CARD} is not the card of a classifier: {reason}.") from error
    return card, weights, str(value["content_hash"])


def _tensors(file: Path, expected: str) -> dict[str, Tensor]:
    """Return what the safetensors `file` holds; ClassifierError unless its SHA-256 is the `expected` one."""
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise ClassifierError(f"{file.parent} is no whole classifier: {file.name} is missing.") from error
    except OSError as error:
        raise ClassifierError(f"{file} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise ClassifierError(f"{file} is damaged or was exchanged: its SHA-256 is not the one in {CARD}.")
    try:
        return parse_safetensors(content)
    except SafetensorError as error:
        raise ClassifierError(f"{file} is no safetensors file: {error}.") from error


def check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: Path) -> None:
    """Raise ClassifierError unless `weights` are the tensors of `expected`, in name, shape and type, and finite."""
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or extra:
        parts = [f"{what} {', '.join(names[:3])}" for what, names in (("lacks", missing), ("has also", extra)) if names]
        raise ClassifierError(f"{where / WEIGHTS} does not fit the architecture: it {' and '.join(parts)}.")
    for name, tensor in weights.items():
        is_, should = (f"{tuple(one.shape)} {one.dtype}" for one in (tensor, expected[name]))
        if is_ != should:
            raise ClassifierError(f"{where / WEIGHTS} does not fit the architecture: {name} is {is_}, not {should}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ClassifierError(f"{where / WEIGHTS} holds values that are no numbers (NaN or infinite) in {name}.")


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


def _json(folder: Path) -> dict[str, Any]:
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
