"""A cache of its own for every test of weights, and a listed file of the smallest network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from weight_files import pth, random_weights, sha256

from foveal.models.weights.published import PUBLISHED
from foveal.models.weights.record import PretrainedWeights

SMALL = "squeezenet1_1.imagenet1k_v1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PretrainedWeights]:
    """Return a function that lists other bytes as a file of the catalog, at other addresses, or with other fields."""

    def change(content: bytes, name: str = SMALL, **fields: object) -> PretrainedWeights:
        entry = replace(PUBLISHED[name], **{"sha256": sha256(content), "member": "", **fields})
        monkeypatch.setitem(PUBLISHED, name, entry)  # type: ignore[arg-type]
        return entry

    return change


@pytest.fixture(scope="session")
def small_file() -> bytes:
    """A ``.pth`` of SqueezeNet 1.1."""
    return pth(random_weights("squeezenet1_1"))
