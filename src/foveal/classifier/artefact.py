"""A classifier on disk: ``classifier.json`` and ``weights.safetensors`` in one directory, bound by one hash.

Loading runs no code that the files name: the architecture is a name of the catalog, the weights are
safetensors. Everything is checked before anything is believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save as make_arrays
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as make_safetensors
from torch import Tensor

from foveal.classifier.card import CARD, GATE, WEIGHTS, Card, read_card, read_json
from foveal.errors import ClassifierError, OutputError
from foveal.files import write_bytes, write_json


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
    if (folder / CARD).is_file() and read_json(folder).get("content_hash") != value["content_hash"]:
        raise OutputError(f"{folder} holds another classifier; save this one elsewhere.")
    write_bytes(folder / WEIGHTS, content)
    if arrays is not None:
        write_bytes(folder / GATE, arrays)
    write_json(folder / CARD, value)
    return str(value["content_hash"])


def read(folder: Path) -> tuple[Card, dict[str, Tensor], str]:
    """Return the card, the weights and the content hash; ClassifierError when anything is missing or was changed."""
    card, weights, digest = read_card(folder)
    try:
        return card, parse_safetensors(weights), digest
    except SafetensorError as error:
        raise ClassifierError(f"{folder / WEIGHTS} is no safetensors file: {error}.") from error


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
