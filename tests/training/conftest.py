"""What the tests of training share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import foveal
from foveal.data.dataset import Dataset


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small networks on a busy machine: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def few_digits() -> Dataset:
    """300 of the digits."""
    digits = foveal.load("digits")
    images = np.stack([np.asarray(digits.images.picture(row)) for row in range(300)])
    return foveal.load(images, digits.labels[:300], name="few")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def resave() -> Callable[..., None]:
    """Change the state in a checkpoint and write it again, whole."""
    from foveal.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

    def change(path: Path, edit: Callable[[dict], None]) -> None:
        old = read_checkpoint(path)
        state = json.loads(json.dumps(old.state))
        edit(state)
        write_checkpoint(path, Checkpoint(old.network, old.optimizer, old.random, state))

    return change
