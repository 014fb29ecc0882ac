"""A small trained run, exported once for every engine, and copied for each test that damages it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from noisy_fruit import draw_fruit


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
