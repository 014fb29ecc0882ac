"""What `bench/serve.py` sends, and the classifier that answers where none is named."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path(os.environ.get("FOVEAL_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
IMAGES, SIDE, LEAST_BYTES, MOST_BYTES = 300, 256, 25_000, 29_000
FOVEAL = (sys.executable, "-c", "from foveal.cli import run; run()")


def make_images(folder: Path) -> Path:
    """Write the images: of X-rays where they are, else of noise that looks and weighs like a photograph."""
    folder.mkdir()
    kept = 0
    for picture in pictures():
        stream = io.BytesIO()
        picture.resize((SIDE, SIDE)).save(stream, "PNG")
        if LEAST_BYTES <= len(stream.getvalue()) <= MOST_BYTES:
            (folder / f"{kept:04}.png").write_bytes(stream.getvalue())
            kept += 1
        if kept == IMAGES:
            break
    return folder


def pictures() -> Iterator[Image.Image]:
    if (DATA / "cxr3.zip").is_file():
        with zipfile.ZipFile(DATA / "cxr3.zip") as archive:
            for name in archive.namelist():
                if name.endswith(".jpg"):
                    yield Image.open(io.BytesIO(archive.read(name))).convert("L")
    noise = np.random.default_rng(0)
    while True:
        coarse = Image.fromarray(noise.integers(0, 256, (12, 12), np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        grain = noise.normal(0, 0.4, (SIDE, SIDE))  # which weighs about 27 KB as a PNG
        yield Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def trained(folder: Path) -> Path:
    """Train for an epoch, and export: the speed does not depend on how well it answers."""
    source = next((DATA / name for name in ("cxr3.zip", "flowers5.zip") if (DATA / name).is_file()), None)
    if source is None:
        raise SystemExit(f"There are no data at {DATA} to train on: name a trained run by --classifier.")
    run = folder / "run"
    recipe = ("--model", "efficientnet_lite0", "--epochs", "1", "--batch-size", "32", "--size", "224")
    foveal("train", str(source), *recipe, "--out", str(run))
    foveal("export", str(run), "--to", "openvino")
    foveal("export", str(run), "--to", "openvino", "--int8", "--max-loss", "100")
    return run


def foveal(*words: str) -> None:
    done = subprocess.run([*FOVEAL, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"foveal {words[0]} failed: {done.stderr.strip()[-500:]}")
