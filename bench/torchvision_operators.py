"""What torchvision misses beside a CPU build of torch: two operators that its usual build expects."""

from __future__ import annotations

import contextlib


def declare_operators() -> None:
    """Declare them, before torchvision is imported."""
    import torch

    for operator in ("torchvision::nms", "torchvision::qnms"):
        with contextlib.suppress(RuntimeError):  # there already
            torch.library.define(operator, "(Tensor x) -> Tensor")
