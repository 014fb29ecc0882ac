"""Foveal inside scikit-learn: an estimator that trains, predicts and scores as scikit-learn's own do."""

from foveal.sklearn.estimator import ImageClassifier

__all__ = ["ImageClassifier"]
