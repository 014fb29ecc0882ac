"""Foveal: image classifiers that you can look inside, prove, and put to work.

::

    import foveal

    ds = foveal.load("flowers/")
    run = foveal.train(ds, model="lenet5", epochs=5)
    clf = foveal.Classifier.load(run.path)
    clf.predict("some.jpg")

Importing this package loads no torch: every name below is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.classifier import Classifier, Prediction
    from foveal.data.dataset import Dataset
    from foveal.data.load import load
    from foveal.data.sources.manifest import Columns
    from foveal.errors import FovealError
    from foveal.explanation.attribute import attribute
    from foveal.explanation.capture import capture
    from foveal.explanation.explanation import Explanation, Explanations
    from foveal.models.anatomy import Anatomy
    from foveal.models.catalog import create_model
    from foveal.run import Run
    from foveal.sklearn import ImageClassifier
    from foveal.training.recipe import Recipe
    from foveal.workflows.compare import compare
    from foveal.workflows.evaluate import evaluate
    from foveal.workflows.explain import explain
    from foveal.workflows.export import Exported, export
    from foveal.workflows.find_rate import FoundRate, find_learning_rate
    from foveal.workflows.inspect import inspect
    from foveal.workflows.learning_curve import LearningCurve, learning_curve
    from foveal.workflows.look_inside import look_inside
    from foveal.workflows.measure import measure
    from foveal.workflows.repeat import Repeats, repeat
    from foveal.workflows.robustness import robustness
    from foveal.workflows.shortcuts import find_shortcuts
    from foveal.workflows.train import train
    from foveal.workflows.verify import verify

__version__ = "0.1.0"

_HOMES = {
    "Anatomy": "foveal.models.anatomy",
    "Classifier": "foveal.classifier",
    "Columns": "foveal.data.sources.manifest",
    "Dataset": "foveal.data.dataset",
    "Explanation": "foveal.explanation.explanation",
    "Explanations": "foveal.explanation.explanation",
    "Exported": "foveal.workflows.export",
    "FoundRate": "foveal.workflows.find_rate",
    "FovealError": "foveal.errors",
    "ImageClassifier": "foveal.sklearn",
    "LearningCurve": "foveal.workflows.learning_curve",
    "Prediction": "foveal.classifier",
    "Recipe": "foveal.training.recipe",
    "Repeats": "foveal.workflows.repeat",
    "Run": "foveal.run",
    "compare": "foveal.workflows.compare",
    "create_model": "foveal.models.catalog",
    "evaluate": "foveal.workflows.evaluate",
    "explain": "foveal.workflows.explain",
    "export": "foveal.workflows.export",
    "find_shortcuts": "foveal.workflows.shortcuts",
    "find_learning_rate": "foveal.workflows.find_rate",
    "inspect": "foveal.workflows.inspect",
    "attribute": "foveal.explanation.attribute",
    "capture": "foveal.explanation.capture",
    "check": "foveal.workflows.check",
    "divide": "foveal.workflows.divide",
    "learning_curve": "foveal.workflows.learning_curve",
    "load": "foveal.data.load",
    "look_inside": "foveal.workflows.look_inside",
    "measure": "foveal.workflows.measure",
    "repeat": "foveal.workflows.repeat",
    "robustness": "foveal.workflows.robustness",
    "train": "foveal.workflows.train",
    "train_folds": "foveal.workflows.folds",
    "verify": "foveal.workflows.verify",
}

__all__ = [
    "Anatomy",
    "Classifier",
    "Columns",
    "Dataset",
    "Explanation",
    "Explanations",
    "Exported",
    "FoundRate",
    "FovealError",
    "ImageClassifier",
    "LearningCurve",
    "Prediction",
    "Recipe",
    "Repeats",
    "Run",
    "attribute",
    "capture",
    "check",
    "compare",
    "create_model",
    "divide",
    "evaluate",
    "explain",
    "export",
    "find_learning_rate",
    "find_shortcuts",
    "inspect",
    "learning_curve",
    "load",
    "look_inside",
    "measure",
    "repeat",
    "robustness",
    "train",
    "train_folds",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'foveal' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
