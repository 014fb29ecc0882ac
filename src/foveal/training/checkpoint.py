"""Checkpoints: everything from which a run goes on exactly, in one file that is replaced as a whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as make_safetensors
from torch import Tensor, nn

from foveal.errors import ClassifierError
from foveal.files import write_bytes

SCHEMA_VERSION = 1
STATE, DIGEST = "state", "sha256"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds: tensors by part (network, optimizer, random), and a JSON state.

    `best` is the network of the best epoch, where that is neither the one at hand nor on disk yet.
    """

    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: dict[str, Tensor]
    state: dict[str, Any]
    best: dict[str, Tensor] = field(default_factory=dict)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to a temporary name, flush it, and rename it over `path`. It carries its own SHA-256."""
    parts = {
        "network": checkpoint.network,
        "optimizer": checkpoint.optimizer,
        "random": checkpoint.random,
        "best": checkpoint.best,
    }
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    state = json.dumps({"schema_version": SCHEMA_VERSION, **checkpoint.state})
    write_bytes(path, make_safetensors(tensors, metadata={STATE: state, DIGEST: _digest(tensors, state)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Return what `path` holds; ClassifierError when a single bit of it is not what was written."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no dict
        if metadata[DIGEST] != _digest(tensors, metadata[STATE]):
            raise ValueError("its SHA-256 is not the one that was written with it")
        state = json.loads(metadata[STATE])
        newer = state.pop("schema_version") > SCHEMA_VERSION
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}, "random": {}, "best": {}}
        for key, tensor in tensors.items():
            part, name = key.split("/", 1)
            parts[part][name] = tensor
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise damaged(path, error) from error
    if newer:
        raise ClassifierError(f"The checkpoint {path} was written by a newer Foveal; update Foveal.")
    return Checkpoint(**parts, state=state)


def damaged(path: Path, error: Exception) -> ClassifierError:
    """Return the error to raise for a checkpoint that cannot be believed, with the way out."""
    reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
    return ClassifierError(
        f"The checkpoint {path} is damaged ({reason}); restore it, or remove {path.parents[1]} to train from the start."
    )


def remove_torn(path: Path) -> None:
    """Remove what a process killed while writing `path` left beside it."""
    for torn in path.parent.glob(f".{path.name}.*.part"):
        torn.unlink(missing_ok=True)


def restore_network(network: nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Copy `tensors` into `network`; ClassifierError when they do not fit."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ClassifierError(f"The checkpoint {where} does not fit the network of the recipe.") from error


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's random generators that dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Set torch's random generators to what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    """Return the SHA-256 of the names and bytes of `tensors` and of `state`; safetensors has no checksum of its own."""
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
