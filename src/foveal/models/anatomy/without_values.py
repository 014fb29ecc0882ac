"""Building a network without numbers: structure, shapes and counts, for no memory and no time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# What only changes the numbers of a tensor. Without numbers there is nothing to do, but torch would take a second
# to load its compiler for it.
FILLING = frozenset((
    "normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_",
    "zeros_", "ones_", "constant_", "zero_", "fill_", "mul_", "add_", "sub_", "div_", "clamp_", "erfinv_", "copy_",
    "bernoulli_",
))  # fmt: skip


@contextmanager
def without_values() -> Iterator[None]:
    """Make every tensor on torch's ``meta`` device, and draw no weights, for as long as the block runs."""
    with torch.device("meta"), _NotFilling():
        yield


class _NotFilling(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in FILLING:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
