"""A small trained run, exported once for every engine, and copied for each test that damages it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

COLOURS = {"apple": (170, 70, 70), "lime": (90, 150, 80), "plum": (120, 80, 140)}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def engines_installed() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason=f"{package} is not installed (make test-all installs it)")


def draw_fruit(folder: Path, count: int, seed: int = 7) -> Path:
    """Write `count` images of each class: discs, so noisy that a network is not sure of any."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:20, :24]
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            inside = (y - rng.uniform(7, 13)) ** 2 + (x - rng.uniform(8, 16)) ** 2 < rng.uniform(5, 8) ** 2
            pixels = np.where(inside[..., None], colour, (90, 90, 90)) + rng.normal(0, 60, (20, 24, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def fruit(tmp_path_factory) -> Path:
    return draw_fruit(tmp_path_factory.mktemp("data") / "fruit", 40)


@pytest.fixture(scope="session")
def trained(fruit, tmp_path_factory) -> Path:
    """A run of a small network with batch normalisation, trained well enough to know the fruit."""
    import foveal

    out = tmp_path_factory.mktemp("runs") / "fruit"
    return foveal.train(fruit, model="simple_cnn", out=out, epochs=4, batch_size=16, threads=1, progress=False).path


@pytest.fixture(scope="session")
def exported(trained, engines_installed, tmp_path_factory) -> Path:
    """The run with every engine in it."""
    from foveal.workflows.export import export

    copy = Path(shutil.copytree(trained, tmp_path_factory.mktemp("exported") / "fruit"))
    for to in ("onnx", "openvino", "torch-export"):
        export(copy, to=to, progress=False)
    for to in ("onnx", "openvino"):
        export(copy, to=to, int8=True, max_loss=20, progress=False)
    return copy


@pytest.fixture
def run(exported, tmp_path) -> Path:
    """A copy of the exported run that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "run"))


@pytest.fixture
def plain(trained, tmp_path) -> Path:
    """A copy of the run without any engine."""
    return Path(shutil.copytree(trained, tmp_path / "plain"))
