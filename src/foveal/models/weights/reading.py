"""Weight files of other people, read without running anything that they hold.

A safetensors file can hold no code and is read from wherever it comes. A ``.pth`` is a pickle: it is read only if
its SHA-256 is in the catalog, and then by torch's ``weights_only`` reader, which knows tensors and plain containers
and no other class.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from foveal.errors import ClassifierError
from foveal.models.weights.layouts import COUNTER, renamed
from foveal.models.weights.published import known_by

WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
SHOWN = 3  # names in a sentence


def read_tensors(content: bytes, name: str) -> dict[str, Tensor]:
    """Return the tensors in the bytes of a weight file called `name`.

    Raises ClassifierError for an unlisted pickle, a damaged file, and anything in it that is no tensor.
    """
    if not content:
        raise ClassifierError(f"{name} is empty (0 bytes).")
    if name.endswith(".safetensors"):
        return _safetensors(content, name)
    if not name.endswith(PICKLES):
        raise ClassifierError(f"{name} is no weight file that Foveal reads: .safetensors, or a listed .pth.")
    digest = hashlib.sha256(content).hexdigest()
    if known_by(digest) is None:
        raise ClassifierError(
            f"{name} is not a file of the catalog (its SHA-256 begins {digest[:16]}): it may be damaged, changed, or "
            "somebody's own. A .pth can run code when it is opened, so that only listed ones are; convert it to "
            "safetensors where you trust it."
        )
    try:
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClassifierError(f"{name} cannot be read: {_first_line(error)}.") from error
    return unwrapped(value, name)


def _safetensors(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        return parse_safetensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ClassifierError(f"{name} is no whole safetensors file: {_first_line(error)}.") from error


def unwrapped(value: Any, name: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that may stand in a wrapper; ClassifierError for what is no tensor."""
    while isinstance(value, Mapping) and (inner := next((one for one in WRAPPERS if one in value), None)):
        value = value[inner]
    if not isinstance(value, Mapping) or not value:
        raise ClassifierError(f"{name} holds no tensors by name, but {type(value).__name__}.")
    strange = [str(key) for key, one in value.items() if not isinstance(one, Tensor) or not isinstance(key, str)]
    if strange:
        raise ClassifierError(f"{name} holds also what is no tensor: {_listed(strange)}.")
    return dict(value)


def fitted(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return `tensors` by the names, in the shapes and types of `expected`, whose tensors may be without data.

    The counters ``num_batches_tracked`` of batch normalisation, which files from before PyTorch 0.4.1 lack, are
    zero where they are missing; half precision becomes single. Raises ClassifierError for another architecture.
    """
    found = renamed(tensors, expected)
    for key, own in expected.items():
        if key.endswith(COUNTER):
            found.setdefault(key, torch.zeros(own.shape, dtype=own.dtype))
    _refuse_other(found, expected, name)
    fit = {}
    for key, own in expected.items():
        if own.is_floating_point() and not found[key].is_floating_point():
            kind = str(found[key].dtype).removeprefix("torch.")
            raise ClassifierError(f"{name} holds {kind} in {key}, which is no weight of a network in floating point.")
        tensor = found[key].detach().to(own.dtype).contiguous()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ClassifierError(f"{name} holds values that are no numbers (NaN or infinite) in {key}.")
        fit[key] = tensor
    return fit


def _refuse_other(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> None:
    missing = [key for key in expected if key not in found]
    extra = sorted(key for key in found if key not in expected)
    if missing or extra:
        parts = [f"{what} {_listed(keys)}" for what, keys in (("it lacks", missing), ("it has also", extra)) if keys]
        raise ClassifierError(f"{name} holds another architecture: {'; '.join(parts)}.")
    for key, own in expected.items():
        if found[key].shape != own.shape:
            shapes = f"{tuple(found[key].shape)}, not {tuple(own.shape)}"
            raise ClassifierError(f"{name} holds another architecture: {key} is {shapes}.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]


def read_bytes(path: Path) -> bytes:
    """Return the content of a weight file; ClassifierError with the reason where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ClassifierError(f"There is no weight file {path}.") from error
    except OSError as error:
        raise ClassifierError(f"{path} cannot be read: {error.strerror}.") from error
