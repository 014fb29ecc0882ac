"""Asking a network very many times, as methods do that need its answers only: by the fastest engine worth opening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foveal.engines.eval_mode import in_eval_mode
from foveal.engines.kinds import TORCH
from foveal.engines.runner import Runner
from foveal.engines.trunk import CPU_BATCH, choose_trunk_engine, open_trunk, refuse_deviation
from foveal.errors import FovealError
from foveal.models.anatomy import inspect_network

WORTH_OPENING = 5e10  # multiply-adds from which on an engine's answers make up for the seconds that opening it takes
BATCH = 32  # images at once, of torch


@dataclass(frozen=True, eq=False)
class Ask:
    """Normalised images (B, C, H, W) float32 → logits (B, classes) float32; `engine` is what computes them."""

    engine: str
    answer: Callable[[Tensor], Tensor]
    batch: int = BATCH

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits of any number of images, asked in batches."""
        return torch.cat([self.answer(part) for part in torch.split(x, self.batch)])


def ask_torch(network: nn.Module) -> Ask:
    """Return `network` as torch runs it, in eval mode, without gradients; it is left in the mode it was in."""

    def answer(x: Tensor) -> Tensor:
        with in_eval_mode(network), torch.inference_mode():
            logits: Tensor = network(x.contiguous(memory_format=torch.channels_last)).float()
        return logits.clone()  # no inference tensor, which autograd refuses

    return Ask(TORCH, answer)


def ask_runner(runner: Runner, engine: str) -> Ask:
    """Return a stored engine, opened."""
    return Ask(engine, lambda x: torch.from_numpy(runner(_plain(x))).float(), CPU_BATCH)


def ask_fast(network: nn.Module, x: Tensor, times: int) -> Ask:
    """Return what answers `times` variants of images like `x` (B, C, H, W) soonest, without gradients.

    That is OpenVINO or ONNX Runtime where one is installed, on a CPU, for work that makes up for opening it; its
    answers to `x` are compared with torch's first, and torch is taken where they differ or the engine cannot run it.
    """
    _, channels, height, width = x.shape
    engine = choose_trunk_engine("auto", x.device)
    if engine == TORCH or times * inspect_network(network, channels, height, width).macs < WORTH_OPENING:
        return ask_torch(network)
    try:
        opened = open_trunk(network, engine, (channels, height, width), x.device)
        refuse_deviation(opened, network, _plain(x[:3]))
    except FovealError:
        return ask_torch(network)
    return ask_runner(opened.run, engine)


def _plain(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.detach().cpu().contiguous().numpy()
    return array
