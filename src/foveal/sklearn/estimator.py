"""The scikit-learn estimator: Foveal's training loop behind `fit`, its classifier behind `predict`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_random_state, check_X_y
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from foveal.classifier import Classifier
from foveal.classifier.device import choose_device, describe_device
from foveal.data.pixels import pixel_digests
from foveal.data.splits import hold_out, joined_units
from foveal.errors import DataError, Interrupted, OutputError, UsageError
from foveal.files import saying_why
from foveal.models.catalog import checked_options, create_model, find
from foveal.models.network import Network
from foveal.progress import Progress
from foveal.run import Run
from foveal.sklearn.samples import ParameterError, SampleError, Samples, group_names, named, shaped
from foveal.training.loop import Fit
from foveal.training.loop import fit as fit_network
from foveal.training.recipe import Recipe
from foveal.training.seeding import own_random_state
from foveal.training.stage import TrainingData


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An image classifier that scikit-learn can fit, clone, search and put into a pipeline.

    X is uint8 images (N, H, W) or (N, H, W, 1 or 3), or flat (N, features) with `image_shape`. uint8 is
    read as images and goes through the preprocessing of every Foveal classifier. **Any other type is
    numbers**: each channel is standardised by the mean and deviation of the training images, so any
    range will do, and nothing is taken for brightness. Flat X without `image_shape` is rows of numbers,
    images one pixel high, which the network `mlp` takes.

    `fit` holds images out of X for early stopping (never tearing a group or separating exact copies) and
    runs the training loop of ``foveal train`` in a temporary folder. There is no test split: testing is
    what `cross_val_score` and `score` are for. The same data, parameters and `random_state` give the same
    weights on the same machine and number of threads.

    Args:
        model: a name of ``foveal models``, ``timm:NAME``, ``package.module:builder``, or a torch.nn.Module, which
            is copied and not changed: every fit begins from the weights that it has.
        model_options: the network's own options, e.g. ``{"activation": "relu"}``.
        image_shape: (H, W) or (H, W, 1 or 3) of the images in flat X.
        size: (height, width) that the network takes; its native size, or the images' own, by default.
        epochs: passes over the images; by default so many that half a million images are seen, 10 to 40.
        epoch_images: an epoch sees so many images, drawn anew each time; all of them by default.
        batch_size: images a step.
        optimizer: adamw, adam, sgd, rmsprop or muon.
        learning_rate: the highest rate; by default the optimiser's own.
        weight_decay: never on norms and biases.
        momentum: of sgd and muon.
        nesterov: whether the momentum is Nesterov's; with sgd.
        schedule: how the learning rate moves: one_cycle, cosine, step, plateau or constant.
        loss: cross_entropy, focal or mse; the network's own by default.
        focal_gamma: how much less the images weigh that are classified well; with focal.
        label_smoothing: share of the target that is spread over all classes; with cross_entropy.
        class_weights: ``"balanced"`` lets rare classes weigh more in the loss.
        clip_norm: the gradient is clipped to this norm.
        patience: stop after so many epochs without a better validation loss; 0 never does.
        validation: share of X that is held out for choosing the epoch. A class that lies in a single
            group stays in training. 0 holds nothing out: the epoch with the lowest loss on the training
            images is kept.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: of the CPU; torch's choice by default.
        random_state: of the held-out images, the weights and the order; None draws a new one each time.
        run_dir: a folder to make, which keeps history.csv, the checkpoints and, for images, the classifier.
            It must not exist, so it is for a single fit.
        verbose: whether to show progress on standard error.

    Attributes:
        classes_: the class labels, sorted.
        n_features_in_: values an image.
        image_shape_: (height, width, channels) of the images in X.
        history_: one dictionary an epoch: losses, accuracies, learning rate, seconds.
        best_epoch_: the epoch whose weights were kept.
        validation_rows_: which rows of X were held out.
    """

    def __init__(
        self,
        model: str | nn.Module = "lenet5",
        *,
        model_options: Mapping[str, Any] | None = None,
        image_shape: tuple[int, ...] | None = None,
        size: tuple[int, int] | None = None,
        epochs: int | None = None,
        epoch_images: int | None = None,
        batch_size: int = 64,
        optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "muon"] = "adamw",
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] = "one_cycle",
        loss: Literal["cross_entropy", "focal", "mse"] | None = None,
        focal_gamma: float = 2.0,
        label_smoothing: float = 0.0,
        class_weights: Literal["none", "balanced"] = "none",
        clip_norm: float | None = None,
        patience: int = 10,
        validation: float = 0.15,
        device: str | torch.device = "auto",
        threads: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        run_dir: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.model_options = model_options
        self.image_shape = image_shape
        self.size = size
        self.epochs = epochs
        self.epoch_images = epoch_images
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.nesterov = nesterov
        self.schedule = schedule
        self.loss = loss
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.clip_norm = clip_norm
        self.patience = patience
        self.validation = validation
        self.device = device
        self.threads = threads
        self.random_state = random_state
        self.run_dir = run_dir
        self.verbose = verbose

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train on images X (N, …) and labels y (N,), and return the estimator.

        `groups` (N,), where given, are patients or other units: none lies both in the images trained on
        and in those held out. Raises ValueError for X, y or groups that cannot be used, UsageError for a
        parameter that is wrong, TrainingError when training diverges.
        """
        images, labels = self._images_and_labels(X, y)
        with named(self.model) as model:
            return self._fitted(images, labels, groups, self._recipe(images, model))

    def _fitted(self, images: np.ndarray, labels: np.ndarray, groups: Any, recipe: Recipe) -> Self:
        names = group_names(groups, len(images)) if groups is not None else None
        share = 0.0 if self._holds_nothing_out() else recipe.validation
        train, validation = _divided(images, labels, names, share, recipe.seed)
        samples = Samples.learnt(images, train, recipe)
        frame = samples.preprocess
        recipe = recipe.resolved(
            train_images=len(train),
            size=(frame.height, frame.width),
            channels=frame.channels,
            device=str(choose_device(recipe.device)),
            threads=torch.get_num_threads(),
        )
        data = TrainingData(
            samples.pixels(images), labels, train, validation if len(validation) else train, len(self.classes_)
        )
        with self._folder() as run, Progress(silent=not self.verbose) as progress, own_random_state(recipe):
            network = self._network(recipe, samples)
            trained = _trained(network, data, samples, recipe, run, progress)
            self.history_ = run.history
            self._classifier = Classifier(
                network,
                recipe.model,
                dict(recipe.model_options),
                tuple(str(one) for one in self.classes_.tolist()),
                frame,
                _provenance(images, train, trained, recipe),
            )
            if self.run_dir is not None and samples.are_images:
                self._classifier.save(run.classifier_dir)
        self._samples = samples
        self.image_shape_ = samples.shape
        self.best_epoch_ = trained.best_epoch
        self.validation_rows_ = validation
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class (N, classes), in the order of `classes_`."""
        check_is_fitted(self)
        images = self._images(X)
        if (images.dtype == np.uint8) < self._samples.are_images:
            raise SampleError(f"X is {images.dtype}, but the images that were fitted are uint8.")
        return self._classifier.probabilities(self._samples.pixels(images))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class (N,) of each image."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[best]
        return labels

    def to_classifier(self) -> Classifier:
        """Return the Foveal classifier that was trained, which takes files and pictures too; its classes are texts.

        Raises UsageError when it was fitted on numbers: what brightness they stand for is not known.
        """
        check_is_fitted(self)
        if not self._samples.are_images:
            raise UsageError(
                "This estimator was fitted on numbers, and a classifier takes images; fit it on uint8 from 0 to 255."
            )
        return self._classifier

    def save(self, folder: str | Path) -> str:
        """Write the classifier into `folder`, as ``foveal train`` does, and return its content hash.

        Raises OutputError when `folder` exists already and is not empty.
        """
        classifier, place = self.to_classifier(), _path("folder", folder)
        with saying_why(place):
            if place.exists() and (not place.is_dir() or any(place.iterdir())):
                raise OutputError(f"{place} exists already and is not empty; save the classifier elsewhere.")
        return classifier.save(place)

    def _images_and_labels(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, H, W, C) and each label's index, and learn the classes and the number of features."""
        X = X if hasattr(X, "ndim") else np.asarray(X)
        if X.ndim > 2:
            X, y = check_X_y(X, y, allow_nd=True, dtype="numeric", estimator=self)
            self.n_features_in_ = int(np.prod(X.shape[1:]))
        else:
            X, y = validate_data(self, X, y, dtype="numeric")
        check_classification_targets(y)
        images = shaped(X, self.image_shape)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise SampleError(f"y holds one class, {self.classes_[0]!r}; a classifier needs at least two classes.")
        return images, labels.astype(np.int64)

    def _images(self, X: Any) -> np.ndarray:
        """Return X as images (N, H, W, C) of the fitted shape."""
        X = X if hasattr(X, "ndim") else np.asarray(X)
        if X.ndim > 2:
            X = check_array(X, allow_nd=True, dtype="numeric", estimator=self)
        else:
            X = validate_data(self, X, dtype="numeric", reset=False)
        images = shaped(X, self.image_shape_ if X.ndim == 2 else None)
        if images.shape[1:] != self.image_shape_:
            raise SampleError(f"X holds images of shape {images.shape[1:]}; those fitted have {self.image_shape_}.")
        return images

    def _recipe(self, images: np.ndarray, model: str) -> Recipe:
        """Return the parameters as a recipe; UsageError says which one is wrong."""
        options = {} if self.model_options is None else self.model_options
        if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
            raise ParameterError(f'model_options is a dictionary such as {{"activation": "relu"}}, not {options!r}.')
        model = find(model).name
        rows = images.shape[1] == 1 and self.image_shape is None  # of numbers: there is no frame to fit them into
        fields = {
            "model": model,
            "model_options": checked_options(find(model), options),
            "size": images.shape[1:3] if rows and self.size is None else self.size,
            "epochs": self.epochs,
            "epoch_images": self.epoch_images,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "schedule": self.schedule,
            "loss": self.loss,
            "focal_gamma": self.focal_gamma,
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
            "clip_norm": self.clip_norm,
            "patience": self.patience,
            "device": str(self.device) if isinstance(self.device, torch.device) else self.device,
            "threads": self.threads,
            "seed": self._seed(),
        }
        if not self._holds_nothing_out():
            fields["validation"] = self.validation
        return Recipe().changed(fields)

    def _holds_nothing_out(self) -> bool:
        return isinstance(self.validation, int | float | np.number) and self.validation == 0

    def _network(self, recipe: Recipe, samples: Samples) -> Network:
        frame = samples.preprocess
        try:
            return create_model(
                recipe.model,
                classes=len(self.classes_),
                channels=frame.channels,
                size=(frame.height, frame.width),
                options=recipe.model_options,
            )
        except UsageError as error:
            if samples.shape[0] > 1 or self.image_shape is not None:
                raise
            raise UsageError(f"{error} X is flat: image_shape=(H, W) says how its features make an image.") from error

    def _seed(self) -> int:
        """Return the seed that `random_state` is, or draws."""
        if isinstance(self.random_state, int | np.integer) and 0 <= self.random_state < 2**63:
            return int(self.random_state)
        try:
            return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        except ValueError as error:
            raise ParameterError(
                f"random_state is a whole number from 0 on, a RandomState or None, not {self.random_state!r}."
            ) from error

    @contextmanager
    def _folder(self) -> Iterator[Run]:
        """Yield the folder that the training loop works in: `run_dir`, or one that vanishes."""
        if self.run_dir is None:
            with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
                yield Run(Path(folder))
            return
        place = _path("run_dir", self.run_dir)
        with saying_why(place):
            taken = place.exists()
        if taken:
            raise OutputError(f"{place} exists already; choose another run_dir, a new one for every fit.")
        yield Run(place)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the network lies on the CPU, so that a machine without this device can read it."""
        state: dict[str, Any] = super().__getstate__()
        fitted = state.get("_classifier")
        if fitted is not None and next(fitted.network.parameters()).device.type != "cpu":
            state = {**state, "_classifier": replace(fitted, network=deepcopy(fitted.network).cpu())}
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _path(name: str, place: object) -> Path:
    """Return `place` as a path; ParameterError when it is none."""
    if not isinstance(place, str | os.PathLike) or not str(place) or "\0" in str(place):
        raise ParameterError(f"{name} is the path of a folder, not {place!r}.")
    return Path(place)


def _divided(
    images: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and the rows held out, no group torn and no exact copies separated."""
    if not share:
        return np.arange(len(images)), np.arange(0)
    units = joined_units(pixel_digests(images), [] if groups is None else [groups])
    try:
        held = hold_out(labels, units, share=share, seed=seed)
    except DataError as error:
        raise SampleError(
            f"{str(error).rstrip('.')}. With validation=0 the estimator trains on all of them."
        ) from error
    return np.flatnonzero(~held), np.flatnonzero(held)


def _trained(
    network: Network, data: TrainingData, samples: Samples, recipe: Recipe, run: Run, progress: Progress
) -> Fit:
    """Run the training loop; a request to stop is a KeyboardInterrupt, which no search over parameters swallows."""
    try:
        return fit_network(network, data, samples.preprocess, recipe, run, progress)
    except Interrupted as stop:
        raise KeyboardInterrupt from stop


def _provenance(images: np.ndarray, train: np.ndarray, trained: Fit, recipe: Recipe) -> dict[str, Any]:
    """Return where the classifier comes from, by the names that a run gives them."""
    chosen = {name: value for name, value in recipe.model_dump(mode="json").items() if value is not None}
    return {
        "dataset": "arrays",
        "images": len(images),
        "train_images": len(train),
        "best_epoch": trained.best_epoch,
        "stopped_early": trained.stopped_early,
        "recipe": {name: value for name, value in chosen.items() if name not in ("source", "test")},
        "trained_by": "foveal.ImageClassifier",
        "foveal": version("foveal"),
        "torch": torch.__version__,
        "device": describe_device(torch.device(recipe.device)),
    }
