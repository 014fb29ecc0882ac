"""What stands in X becomes what a network takes.

uint8 is images, and goes the way of every image: through `Preprocess`. Any other type is numbers,
as scikit-learn's own estimators read them: every channel is standardised by the mean and deviation
of the training images, in float64, and the result is fitted into the frame as an image would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from foveal.data.images import as_image_array
from foveal.data.pixels import mean_and_std
from foveal.errors import DataError, UsageError
from foveal.models.foreign.given import lending
from foveal.models.foreign.keras_network import is_keras
from foveal.preprocess import Preprocess
from foveal.training.recipe import Recipe
from foveal.workflows.prepare import choose_preprocess

Shape = tuple[int, int, int]  # (height, width, channels)


class SampleError(DataError, ValueError):
    """X, y or groups cannot be used; scikit-learn expects a ValueError of every estimator."""


class ParameterError(UsageError, ValueError):
    """A parameter of the estimator is wrong; a ValueError too, as scikit-learn's own estimators raise."""


@contextmanager
def named(model: object) -> Iterator[str]:
    """Yield the name of the network `model`, which stands for it meanwhile; ParameterError when it is none."""
    if not isinstance(model, str | nn.Module) and not is_keras(model):
        raise ParameterError(f"model is a name of `foveal models` or a torch.nn.Module, not {model!r}.")
    with lending(model) as name:
        yield str(name)


@dataclass(frozen=True)
class Samples:
    """How X of one shape and kind is brought to a network, as learnt from the training images."""

    shape: Shape
    preprocess: Preprocess  # for numbers it changes nothing: they are standardised before
    mean: tuple[float, ...] | None = None  # a channel; None where X is images
    std: tuple[float, ...] | None = None

    @property
    def are_images(self) -> bool:
        """Whether X holds uint8 images rather than numbers."""
        return self.mean is None

    @classmethod
    def learnt(cls, images: np.ndarray, train: np.ndarray, recipe: Recipe) -> Samples:
        """Return the way that `images` (N, H, W, C) take, with mean and deviation of those at the rows `train`."""
        height, width, channels = images.shape[1:]
        frame = choose_preprocess((height, width), channels, recipe)
        shape = (height, width, channels)
        if images.dtype == np.uint8:
            mean, std = mean_and_std(frame.geometry_of_arrays(images[train]), np.arange(len(train)), frame)
            return cls(shape, replace(frame, mean=mean, std=std))
        values = images[train].astype(np.float64, copy=False)
        middle, deviation = values.mean(axis=(0, 1, 2)), values.std(axis=(0, 1, 2))
        deviation[deviation == 0] = 1.0
        plain = replace(frame, mean=(0.0,) * channels, std=(1 / 255,) * channels)
        return cls(shape, plain, tuple(middle.tolist()), tuple(deviation.tolist()))

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Return `images` (N, h, w, C) as the network's own (N, H, W, C): uint8 for images, float32 for numbers."""
        if self.are_images:
            return self.preprocess.geometry_of_arrays(images)
        values = (images.astype(np.float64, copy=False) - np.array(self.mean)) / np.array(self.std)
        return self.preprocess.geometry_of_numbers(values.astype(np.float32))


def shaped(x: np.ndarray, image_shape: tuple[int, ...] | None) -> np.ndarray:
    """Return checked `x` as (N, H, W, C); (N, features) by `image_shape`, without it as images one pixel high.

    Raises SampleError when the shapes do not fit, ParameterError when `image_shape` is none.
    """
    wanted = None if image_shape is None else _full(image_shape)
    if x.ndim == 2:
        wanted = wanted or (1, x.shape[1], 1)
        if x.shape[1] != int(np.prod(wanted)):
            raise SampleError(
                f"X has {x.shape[1]} features, but image_shape={image_shape} has {np.prod(wanted)} values an image."
            )
        return x.reshape(-1, *wanted)
    images = x if x.dtype != np.uint8 or x.ndim not in (3, 4) else _images(x)
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        first = x.ndim == 4 and x.shape[1] in (1, 3)
        hint = " Move the channels last with X.transpose(0, 2, 3, 1)." if first else ""
        raise SampleError(f"X has shape {x.shape}; give (N, H, W), (N, H, W, 1 or 3) or (N, features).{hint}")
    if wanted is not None and images.shape[1:] != wanted:
        raise SampleError(f"X holds images of shape {images.shape[1:]}, but image_shape={image_shape}.")
    return images


def group_names(groups: object, count: int) -> np.ndarray:
    """Return the names of `groups` (N,), empty where not known (None or NaN); SampleError for another shape."""
    column = np.asarray(groups, dtype=object)
    if column.shape != (count,):
        raise SampleError(f"groups has shape {column.shape}; {count} images need {count} values in one dimension.")
    return np.array(["" if one is None or one != one else str(one) for one in column.tolist()])  # noqa: PLR0124 - NaN


def _images(x: np.ndarray) -> np.ndarray:
    try:
        return as_image_array(x).pixels
    except DataError as error:
        raise SampleError(str(error)) from error


def _full(image_shape: object) -> Shape:
    """Return (height, width, channels) for ``(H, W)`` or ``(H, W, C)``; ParameterError for anything else."""
    given = tuple(image_shape) if isinstance(image_shape, Iterable) else ()
    whole = [int(one) for one in given if isinstance(one, int | np.integer) and not isinstance(one, bool)]
    if len(whole) != len(given) or len(whole) not in (2, 3) or min(whole) < 1 or whole[2:] not in ([], [1], [3]):
        raise ParameterError(
            f"image_shape is (H, W) or (H, W, 1 or 3) in whole numbers from 1 on, not {image_shape!r}."
        )
    return whole[0], whole[1], whole[2] if len(whole) == 3 else 1
