"""Pixels in, logits and probabilities out: the one way in which a network is asked, by training and by prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from foveal.classifier.calibration import DECIMALS
from foveal.engines.eval_mode import in_eval_mode
from foveal.models.cut import answering_layer

BATCH = 256


@torch.inference_mode()
def logits(
    network: nn.Module,
    normalise: Callable[[Tensor], Tensor],
    pixels: np.ndarray,
    *,
    rows: np.ndarray | None = None,
    device: torch.device,
    channels_last: bool = True,
    batch_size: int = BATCH,
) -> Tensor:
    """Return float32 logits (N, classes) on the CPU for uint8 `pixels` (N, H, W, C), or for those at `rows`.

    `normalise` makes of a batch of them what the network takes: that of the preprocessing.

    The network must be on `device`; it is asked in eval mode and left in the mode it was in.
    """
    with in_eval_mode(network):
        parts = []
        for start in range(0, len(pixels) if rows is None else len(rows), batch_size):
            part = slice(start, start + batch_size)
            batch = torch.as_tensor(pixels[part if rows is None else rows[part]]).to(device)  # (B, H, W, C)
            x = normalise(batch)  # (B, C, H, W)
            parts.append(network(x if channels_last else x.contiguous()).float())
        return torch.cat(parts).cpu()


def logits_and_features(
    network: nn.Module,
    normalise: Callable[[Tensor], Tensor],
    pixels: np.ndarray,
    *,
    rows: np.ndarray | None = None,
    device: torch.device,
    channels_last: bool = True,
) -> tuple[Tensor, np.ndarray]:
    """Return the logits as `logits` does, and the features (N, D) float32 that enter the network's last layer.

    A map (B, D, H, W) that enters it is averaged over its places.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        kept.append((x.mean(dim=tuple(range(2, x.ndim))) if x.ndim > 2 else x).float().cpu())  # (B, D)

    handle = answering_layer(network).register_forward_pre_hook(keep)
    try:
        values = logits(network, normalise, pixels, rows=rows, device=device, channels_last=channels_last)
    finally:
        handle.remove()
    return values, torch.cat(kept).numpy()


def probabilities(values: Tensor) -> np.ndarray:
    """Return softmax of logits (N, classes) in float64, rounded to nine decimals, as it is stored and reported."""
    return np.round(torch.softmax(values.double(), dim=1).numpy(), DECIMALS)
