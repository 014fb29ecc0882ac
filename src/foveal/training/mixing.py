"""Mixing of what a network learns from: images, or the features of a frozen trunk."""

from __future__ import annotations

import hashlib

from torch import Tensor

from foveal.data.augment.mixing import mix_batch
from foveal.data.augment.policy import Augment


def mixed(x: Tensor, labels: Tensor, classes: int, policy: Augment, seed: int) -> tuple[Tensor, Tensor]:
    """Return a batch mixed by `policy`, and soft labels (B, classes).

    Images (B, C, H, W) are mixed as `mix_batch` says. Features (B, D) have no places that could be cut out of them:
    they are mixed as whole vectors, also where cutmix was asked for (Verma et al., "Manifold mixup", 2019).
    """
    if x.ndim == 4:
        return mix_batch(x, labels, classes, policy, seed)
    alone = Augment(mixup=policy.mixup or policy.cutmix)
    vectors, soft = mix_batch(x.flatten(1)[:, :, None, None], labels, classes, alone, seed)
    return vectors.reshape(x.shape), soft


def mixing_seed(seed: int, epoch: int, batch: int) -> int:
    """Return the seed by which the images of one batch are mixed."""
    return int.from_bytes(hashlib.sha256(f"mix {seed} {epoch} {batch}".encode()).digest()[:7], "big")
