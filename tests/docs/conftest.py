"""The folder that the pages speak of: small generated images under the names that the examples use."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"daisy": (235, 235, 225), "rose": (190, 30, 50), "tulip": (240, 190, 40)}


def blossom(rng: np.random.Generator, colour: tuple[int, int, int]) -> Image.Image:
    """Return a noisy 48×36 picture: a disc of `colour` on green."""
    y, x = np.mgrid[:36, :48]
    inside = (y - rng.uniform(14, 22)) ** 2 + (x - rng.uniform(18, 30)) ** 2 < rng.uniform(8, 13) ** 2
    pixels = np.where(inside[..., None], colour, (40, 110, 50)) + rng.normal(0, 12, (36, 48, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def own_network() -> str:
    """Return the module that the page about one's own network shows."""
    page = Path(__file__).resolve().parents[2] / "docs" / "guide" / "your-own-network.md"
    return page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def make_workspace(folder: Path) -> None:
    """Put flowers/, more_flowers/, new_photos/, scans/, mnist/ and leaf.py into `folder`."""
    rng = np.random.default_rng(7)
    for place, count in (("flowers", 30), ("more_flowers", 8)):
        for name, colour in COLOURS.items():
            (folder / place / name).mkdir(parents=True)
            for number in range(count):
                blossom(rng, colour).save(folder / place / name / f"{number:03d}.png")
    (folder / "new_photos").mkdir()
    for number, colour in enumerate(COLOURS.values(), 1):
        blossom(rng, colour).save(folder / "new_photos" / f"photo{number}.png")

    (folder / "scans" / "images").mkdir(parents=True)
    rows = ["image;diagnosis;patient_id;hospital"]
    for number in range(96):
        label, grey = ("nodule", 170) if number // 3 % 2 else ("clear", 60)
        pixels = (grey + rng.normal(0, 20, (40, 40))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "scans" / "images" / f"{number:03d}.png")
        rows.append(f"images/{number:03d}.png;{label};P{number // 3:03d};{'north' if number % 2 else 'south'}")
    (folder / "scans" / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8-sig")

    (folder / "leaf.py").write_text(own_network(), encoding="utf-8")

    (folder / "mnist").mkdir()
    for part, count in (("train", 120), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = (labels[:, None, None] * 22 + rng.integers(0, 30, (count, 28, 28))).astype(np.uint8)
        for kind, magic, values in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            header = b"".join(int(one).to_bytes(4, "big") for one in (magic, *values.shape))
            with gzip.open(folder / "mnist" / f"{part}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + values.tobytes())


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of one page, with all that its examples name; one thread, as tests run side by side."""
    import torch

    make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))  # no weights are here, and none are left behind
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
