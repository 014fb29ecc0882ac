"""The artefact that training leaves behind: it predicts, is saved and loaded, and shows itself.

What it decides with (calibration, operating points, prediction sets) is NumPy alone, so the names here load torch only
when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.classifier.classifier import Classifier
    from foveal.classifier.prediction import Prediction

__all__ = ["Classifier", "Prediction"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'foveal.classifier' has no attribute {name!r}")
    return getattr(importlib.import_module(f"foveal.classifier.{name.lower()}"), name)
