"""The multiply-adds and connections of one operation, for one image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from foveal.models.anatomy.receptive_field import ADAPTIVE, CONVOLUTIONS, POOLS


@runtime_checkable
class SelfCounting(Protocol):
    """A layer that is none of torch's and knows its own numbers, given its output (1, …) for one image."""

    def multiply_adds(self, output: Tensor) -> int:
        """Return the multiply-adds."""

    def connections(self, output: Tensor) -> int:
        """Return the links into its units, biases included."""


def counted(name: str, arguments: Mapping[str, Any], output: Tensor, *, by_weights: bool) -> tuple[int, int]:
    """Return (multiply-adds, connections) of the operation `name` of ATen.

    Multiply-adds are those of convolutions and of products with weights; `by_weights` says whether a plain product
    is one (the products of attention, activations by activations, count none). Connections are one for each input
    that a unit sees and one for its bias (LeCun et al. 1998); a pool has them too.
    """
    if name in CONVOLUTIONS:
        weight, x = arguments["weight"], arguments["input"]
        macs = (x if arguments.get("transposed") else output).numel() * weight[0].numel()
        return macs, macs + (output.numel() if arguments.get("bias") is not None else 0)
    if name == "linear":
        macs = output.numel() * arguments["weight"].shape[-1]
        return macs, macs + (output.numel() if arguments.get("bias") is not None else 0)
    if name == "addmm":
        macs = output.numel() * arguments["mat1"].shape[-1]
        return macs, macs + output.numel()
    if name in ("mm", "matmul") and by_weights:
        macs = output.numel() * arguments["self"].shape[-1]
        return macs, macs
    if name in POOLS:
        kernel = arguments["kernel_size"]
        return 0, output.numel() * (kernel[0] * kernel[-1] if len(kernel) < 3 else math.prod(kernel))
    if name in ADAPTIVE:
        return 0, int(arguments["self"].numel())
    return 0, 0
