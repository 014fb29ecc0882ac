"""Checkpoints: everything from which a run goes on exactly, in one file that is replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as make_safetensors
from torch import Tensor, nn

from foveal.errors import ClassifierError
from foveal.files import write_bytes

STATE = "state"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds: tensors by part (network, optimizer, random), and a JSON state."""

    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to a temporary name, flush it, and rename it over `path`."""
    parts = {"network": checkpoint.network, "optimizer": checkpoint.optimizer, "random": checkpoint.random}
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    write_bytes(path, make_safetensors(tensors, metadata={STATE: json.dumps(checkpoint.state)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Return what `path` holds; ClassifierError when it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})[STATE])
            parts: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}, "random": {}}
            for key in file.keys():  # noqa: SIM118 - safe_open is no dict
                part, name = key.split("/", 1)
                parts[part][name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ClassifierError(f"The checkpoint {path} is damaged: {error}.") from error
    return Checkpoint(**parts, state=state)


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
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
