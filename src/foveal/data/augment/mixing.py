"""Mixup and cutmix: two images of a batch in one, and a label that says how much of each."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from foveal.data.augment.policy import Augment
from foveal.errors import UsageError


@torch.no_grad()
def mix_batch(x: Tensor, labels: Tensor, classes: int, policy: Augment, seed: int) -> tuple[Tensor, Tensor]:
    """Return float `x` (B, C, H, W) mixed with itself by `policy`, and soft targets, float32 (B, classes).

    Each image meets a partner of the same batch, given by a permutation; partner, share and place depend on `seed`
    alone. With mixup and cutmix both on, the batch gets one of them by lot; with neither, `x` is returned as it is.
    `labels` (B,) are whole numbers from 0 to classes - 1. UsageError for tensors of another kind.
    """
    _check(x, labels, classes)
    targets = torch.nn.functional.one_hot(labels.long(), classes).float()  # (B, classes)
    if not policy.mixes_images:
        return x, targets
    chance = random.Random(f"mix {seed}")
    order = list(range(len(x)))
    chance.shuffle(order)
    partners = torch.tensor(order, dtype=torch.int64, device=x.device)
    cut = bool(policy.cutmix) and (not policy.mixup or chance.random() < 0.5)
    if cut:
        x, share = cutmix(x, partners, chance.betavariate(policy.cutmix, policy.cutmix), chance)
    else:
        share = chance.betavariate(policy.mixup, policy.mixup)
        x = x[partners].lerp_(x, share)
    return x, targets * share + targets[partners] * (1 - share)


def cutmix(x: Tensor, partners: Tensor, share: float, chance: random.Random) -> tuple[Tensor, float]:
    """Return `x` (B, C, H, W) with a box of each image's partner, and the share of the pixels that stayed.

    S. Yun et al., "CutMix", ICCV 2019, sec. 3.1: the box has the picture's aspect and 1 - `share` of its area, its
    middle anywhere; what lies outside is cut off, and the share follows (as in the authors' code). One box a batch.
    """
    height, width = x.shape[2:]
    top, bottom = _stretch(height, (1 - share) ** 0.5, chance)
    left, right = _stretch(width, (1 - share) ** 0.5, chance)
    box = (slice(None), slice(None), slice(top, bottom), slice(left, right))
    mixed = x.clone()
    mixed[box] = x[box][partners]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _stretch(count: int, share: float, chance: random.Random) -> tuple[int, int]:
    """Return where `share` of `count` lines begins and ends, its middle any of them, cut to 0 … count."""
    length, middle = int(count * share), chance.randrange(count)
    first = middle - length // 2
    return max(0, first), min(count, first + length)


def _check(x: Tensor, labels: Tensor, classes: int) -> None:
    if not x.is_floating_point() or x.ndim != 4 or not x.numel():
        kind = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
        raise UsageError(f"A batch to mix is floating-point (B, C, H, W), not {kind}.")
    if labels.is_floating_point() or labels.shape != x.shape[:1]:
        kind = f"{str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
        raise UsageError(f"Mixing takes one whole number a label, {len(x)} of them, not {kind}.")
    if classes < 1:
        raise UsageError(f"Mixing needs at least one class, not {classes}.")
