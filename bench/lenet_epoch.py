"""One epoch of LeNet-5 on MNIST: the textbook loop beside Foveal's, alternating in one run.

The textbook: per-image Pad, ToTensor, Normalize in a `Dataset`, a `DataLoader` of batch 64, torch.optim.Adam,
the same network. Foveal: the loop of `foveal.train` on the same images, weights and batch size. Prints
images a second and the ratio. Needs MNIST: FOVEAL_TEST_DATA, or ../shared/data beside the checkout.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

import foveal
from foveal.models.catalog import create_model

ROUNDS = 3
IMAGES = 20_000
BATCH = 64
MACS_FORWARD = 416_520


class Textbook(Dataset[tuple[torch.Tensor, int]]):
    """What a tutorial writes: every image through PIL, one at a time, in every epoch."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.pixels[index]), 2)
        x = torch.from_numpy(np.array(image)).unsqueeze(0).float().div(255)
        return (x - 0.1307) / 0.3081, int(self.labels[index])


def textbook(pixels: np.ndarray, labels: np.ndarray) -> float:
    """Return images a second of one epoch."""
    network = create_model("lenet5")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(Textbook(pixels, labels), batch_size=BATCH, shuffle=True)
    started = time.perf_counter()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return len(labels) / (time.perf_counter() - started)


def ours(pixels: np.ndarray, labels: np.ndarray) -> float:
    """Return images a second of the second of two epochs, as history.csv has it."""
    with tempfile.TemporaryDirectory() as folder:
        run = foveal.train(
            foveal.load(pixels, labels), out=Path(folder, "run"), epochs=2, batch_size=BATCH, progress=False
        )
        return float(run.history[1]["images_per_s"])


def main() -> None:
    folder = Path(os.environ.get("FOVEAL_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "mnist"
    if not folder.is_dir():
        sys.exit(f"MNIST is not at {folder}; set FOVEAL_TEST_DATA to a folder that holds mnist/.")
    mnist = foveal.load(folder)
    pixels = np.stack([np.asarray(mnist.images.picture(row)) for row in range(IMAGES)])
    labels = mnist.labels[:IMAGES]
    rates: dict[str, list[float]] = {"textbook": [], "foveal": []}
    for _ in range(ROUNDS):
        rates["textbook"].append(textbook(pixels, labels))
        rates["foveal"].append(ours(pixels, labels))
    for name, measured in rates.items():
        rate = statistics.median(measured)
        gflops = rate * 6 * MACS_FORWARD / 1e9
        print(f"{name:<9} {rate:8,.0f} images/s  {gflops:5.1f} GFLOP/s  {[round(one) for one in measured]}")
    pairs = [round(b / a, 1) for a, b in zip(rates["textbook"], rates["foveal"], strict=True)]
    print(f"ratio     {statistics.median(pairs)} times (pairs: {pairs}), {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
