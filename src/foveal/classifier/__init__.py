"""The artefact: a network with its classes and its preprocessing, which predicts, is saved and loaded."""

from foveal.classifier.classifier import Classifier
from foveal.classifier.prediction import Prediction

__all__ = ["Classifier", "Prediction"]
