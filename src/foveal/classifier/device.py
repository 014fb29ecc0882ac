"""Which device computes, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from foveal.errors import ResourceError, UsageError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; ``auto`` is CUDA, then Apple's MPS, then the CPU.

    Raises UsageError for a name that torch does not know, ResourceError for a device that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f'There is no device "{name}"; use auto, cpu, cuda, cuda:0, … or mps.') from error
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise ResourceError(f"{name} is not available: torch sees {torch.cuda.device_count()} CUDA devices.")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("mps is not available on this machine.")
    if device.type not in ("cpu", "mps"):
        raise UsageError(f'Foveal does not compute on "{name}"; use auto, cpu, cuda, cuda:0, … or mps.')
    return device


def describe_device(device: torch.device) -> str:
    """Return ``cpu`` or ``cuda:0 NVIDIA …``."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def autocast_type(device: torch.device, *, wanted: bool) -> torch.dtype | None:
    """Return the type of mixed precision: bfloat16 on a GPU that has it, else float16; None off CUDA or unwanted."""
    if device.type != "cuda" or not wanted:
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def move_network(network: nn.Module, device: torch.device, *, channels_last: bool = True) -> None:
    """Move `network` to `device`, its convolutions' weights laid out for images whose channels come last in memory."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack memory_format


def lay_out_as_loaded(network: nn.Module) -> None:
    """Lay the weights of `network` in memory as those of one that was just read from disk.

    A network that has just trained may otherwise compute in another order than one that was resumed for its last
    steps, and what follows from its answers would differ in the last digits.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    move_network(network, next(network.parameters()).device)


# How allocators below torch word it: the CPU's, C++'s, CUDA's and MPS's, cuBLAS's and cuDNN's, oneDNN's.
OUT_OF_MEMORY = (
    "allocate memory",
    "bad_alloc",
    "out of memory",
    "alloc_failed",
    "could not create a memory",
    "could not create a primitive",
    "can't start new thread",
)


@contextmanager
def saying_out_of_memory(advice: str) -> Iterator[None]:
    """Turn any way in which torch or Python runs out of memory into a ResourceError that ends in `advice`."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(f"There is not enough memory: {advice}.") from error
    except RuntimeError as error:
        if any(sign in str(error).lower() for sign in OUT_OF_MEMORY):
            raise ResourceError(f"There is not enough memory: {advice}.") from error
        raise
