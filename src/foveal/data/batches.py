"""Training's batches: gathered as whole arrays, in an order that depends on the seed and the position alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

DEVICE_SHARE = 0.4  # of the free memory of a GPU, at most, for the images


class Batches:
    """Batches of uint8 images (B, H, W, C) and labels (B,) on `device`.

    Images lie in the device's memory where they fit, else in the host's, else memory-mapped on disk.
    A last batch of a single image is left out of its epoch, since batch normalisation cannot learn from one.

    The images come as an endless stream of passes, each a permutation of all of them. An epoch is one
    pass, or the next `epoch_images` of the stream.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        epoch_images: int | None = None,
    ) -> None:
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.count = len(rows)
        self.epoch_images = epoch_images or self.count
        self.labels = torch.as_tensor(labels, device=device)
        self.rows = torch.as_tensor(rows)
        self.mapped = pixels if isinstance(pixels, np.memmap) else None
        self.pixels = torch.empty(0) if isinstance(pixels, np.memmap) else torch.as_tensor(pixels)
        if self.mapped is None and device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if pixels.nbytes < free * DEVICE_SHARE:
                self.pixels, self.rows = self.pixels.to(device), self.rows.to(device)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(self.epoch_images, self.batch_size)
        return full + (rest > 1 or not full)

    def of_epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of `epoch` from number `start` on."""
        order = self.rows[self.stream(epoch * self.epoch_images).to(self.rows.device)]
        for number in range(start, len(self)):
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            if self.mapped is None:
                images = self.pixels.index_select(0, rows).to(self.device, non_blocking=True)
            else:
                images = torch.from_numpy(self.mapped[rows.numpy()]).to(self.device)
            yield images, self.labels[rows.to(self.device)]

    def stream(self, position: int) -> Tensor:
        """Return which rows the epoch takes that begins at `position` of the endless stream of passes."""
        passes, offset = divmod(position, self.count)
        last = (position + self.epoch_images - 1) // self.count
        whole = torch.cat([self.order(number) for number in range(passes, last + 1)])
        return whole[offset : offset + self.epoch_images]

    def order(self, number: int) -> Tensor:
        """Return a permutation of the rows, drawn for (seed, number of the pass)."""
        digest = hashlib.sha256(f"order {self.seed} {number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.randperm(self.count, generator=generator)
