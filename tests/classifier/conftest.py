"""A small trained-looking classifier, saved once and copied for each test that damages it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from foveal.classifier.card import CARD, WEIGHTS, content_hash
from small_classifiers import make_classifier


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "classifier"
    make_classifier().save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture
def reseal(copy: Path) -> Callable[..., None]:
    """Rewrite the copy with other weights or card values, every hash right: a forgery, not an accident."""

    def write(weights: dict[str, torch.Tensor] | bytes | None = None, **changes: object) -> None:
        import hashlib

        from safetensors.torch import save

        if weights is not None:
            (copy / WEIGHTS).write_bytes(weights if isinstance(weights, bytes) else save(weights))
        card = json.loads((copy / CARD).read_text()) | changes
        digest = hashlib.sha256((copy / WEIGHTS).read_bytes()).hexdigest()
        card["weights"] = {"file": WEIGHTS, "sha256": digest}
        card["content_hash"] = content_hash(card)
        (copy / CARD).write_text(json.dumps(card))

    return write


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small networks on a busy machine: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
