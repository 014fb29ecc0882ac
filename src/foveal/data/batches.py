"""Training's batches: gathered as whole arrays, in an order that depends on the seed and the position alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from foveal.data.augment.batch import augment_batch
from foveal.data.augment.draws import image_seeds
from foveal.data.augment.policy import Augment

DEVICE_SHARE = 0.4  # of the free memory of a GPU, at most, for the images


class Batches:
    """Batches of uint8 images (B, H, W, C), augmented on `device` where asked for, and labels (B,).

    Images lie in the device's memory where they fit, else in the host's, else memory-mapped on disk.
    A last batch of a single image is left out of its epoch, since batch normalisation cannot learn from one.

    The images come as an endless stream of passes, each a permutation of all of them. An epoch is one
    pass, or the next `epoch_images` of the stream. `balanced`, a pass has every class as often as any other: each
    class is an endless stream of its own. With `views`, `pixels` holds so many versions of all images, one after
    another (views · N, …), and each image of an epoch comes in one of them, by lot.
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
        augment: Augment | None = None,
        balanced: bool = False,
        views: int = 1,
    ) -> None:
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.count = len(rows)
        self.epoch_images = epoch_images or self.count
        self.augment, self.views = augment, views
        self.labels = torch.as_tensor(labels, device=device)
        by_class = np.asarray(labels)[rows]
        self.members = [np.flatnonzero(by_class == label) for label in np.unique(by_class)] if balanced else []
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
            places = rows
            if self.views > 1:
                places = rows + len(self.labels) * (image_seeds(self.seed, -1 - epoch, rows) % self.views)
            if self.mapped is None:
                images = self.pixels.index_select(0, places).to(self.device, non_blocking=True)
            else:
                images = torch.from_numpy(self.mapped[places.numpy()]).to(self.device)
            rows = rows.to(self.device)
            if self.augment is not None and self.augment.changes_images:
                images = augment_batch(images, self.augment, image_seeds(self.seed, epoch, rows))
            yield images, self.labels[rows]

    def stream(self, position: int) -> Tensor:
        """Return which rows the epoch takes that begins at `position` of the endless stream of passes."""
        passes, offset = divmod(position, self.count)
        last = (position + self.epoch_images - 1) // self.count
        whole = torch.cat([self.order(number) for number in range(passes, last + 1)])
        return whole[offset : offset + self.epoch_images]

    def order(self, number: int) -> Tensor:
        """Return the rows of a pass in their order, drawn for (seed, number of the pass)."""
        lot = self.permutation(f"order {self.seed} {number}", self.count)
        if not self.members:
            return lot
        share = -(-self.count // len(self.members))
        drawn = [
            torch.as_tensor(rows)[self.of_class(label, len(rows), number * share, share)]
            for label, rows in enumerate(self.members)
        ]
        return torch.stack(drawn, 1).flatten()[: self.count][lot]

    def of_class(self, label: int, size: int, start: int, count: int) -> Tensor:
        """Return `count` places in a class of `size` from `start` on of its endless stream of permutations."""
        passes = range(start // size, (start + count - 1) // size + 1)
        whole = torch.cat([self.permutation(f"class {self.seed} {label} {number}", size) for number in passes])
        return whole[start % size :][:count]

    def permutation(self, what: str, size: int) -> Tensor:
        """Return a permutation of `size` numbers, drawn for `what`."""
        digest = hashlib.sha256(what.encode()).digest()
        return torch.randperm(size, generator=torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1))
