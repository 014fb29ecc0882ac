"""What an image looks like in some forty numbers, measured without any network."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Kind = Literal[
    "brightness", "contrast", "black", "white", "skewness", "colour", "detail", "direction", "layout", "asymmetry"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

VERSION = 1  # of what is measured: what was kept of another version is measured anew
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow converts
BLACK, WHITE = 10, 245  # grey levels: up to, and from
OCTAVES = 5
SMALLEST_SIDE = 6  # of an octave: below, too few differences are left
MIDDLE_SIDE, COARSE_SIDE = 64, 32  # at most so many pixels, for directions and for layout
DIRECTIONS = 8
CELLS = 4  # a side of the layout
QUANTISATION = 1.0  # grey levels squared: the energy of second differences that rounding alone leaves
WEAKEST_EDGE = 0.25  # grey levels: mean gradient in one direction that counts as much as none
FAINTEST = 16.0  # grey levels squared: below this variance an image is blank
COLOUR_SIDE = 112  # colour is measured at every so-manieth pixel that leaves at least so many on a side
PIXELS_AT_ONCE = 2**16  # so that what is held stays in the cache of the processor


ASPECTS: tuple[tuple[tuple[Kind, ...], str], ...] = (  # of which kinds, and how it is said of an image
    (("brightness", "contrast", "black", "white", "skewness"), "with light and dark in other proportions"),
    (("colour",), "of another colourfulness"),
    (("detail",), "with fine and coarse detail in other proportions"),
    (("direction",), "with edges in other directions"),
    (("layout",), "with light and dark in other places"),
    (("asymmetry",), "of another symmetry"),
    (KINDS, "unlike them in how brightness, detail and layout go together"),
)


@dataclass(frozen=True)
class Statistic:
    """A number or a few that belong together: what it is called, how it is said, and how finely it is resolved.

    `less` and `more` complete "the image is …"; they are empty where a direction means nothing. `resolution` is the
    difference, in the statistic's unit, that counts as one standard deviation where no training image differs.
    """

    kind: Kind
    name: str
    columns: slice
    less: str
    more: str
    resolution: float


@dataclass(frozen=True)
class Aspect:
    """Statistics that are compared together, by `columns` of `measure`, and how it is said that they differ."""

    columns: slice
    words: str


@functools.lru_cache(maxsize=16)
def statistics_of(height: int, width: int, channels: int) -> tuple[Statistic, ...]:
    """Return the statistics, in the order of the columns of `measure`, for images of this size."""
    found: list[Statistic] = []

    def add(kind: Kind, name: str, less: str, more: str, resolution: float, columns: int = 1) -> None:
        start = found[-1].columns.stop if found else 0
        found.append(Statistic(kind, name, slice(start, start + columns), less, more, resolution))

    add("brightness", "brightness", "darker", "brighter", 0.01)
    add("contrast", "contrast", "lower in contrast", "higher in contrast", 0.01)
    add("black", "share of black", "with less black", "with more black", 0.02)
    add("white", "share of white", "with less white", "with more white", 0.02)
    add("skewness", "skewness of brightness", "", "", 0.1)
    if channels == 3:
        add("colour", "colourfulness", "less colourful", "more colourful", 0.01)
    for octave in range(_octaves(height, width)):
        size = 2**octave
        less = "less sharp" if octave == 0 else f"with less detail of {size} pixels"
        more = "sharper or noisier" if octave == 0 else f"with more detail of {size} pixels"
        add("detail", f"detail of {size} pixels" if octave else "sharpness", less, more, 0.1)
    add("direction", "directions of edges", "", "", 0.02, DIRECTIONS)
    coarse = _within(_sizes(height, width), COARSE_SIDE)
    cells = min(CELLS, coarse[0]) * min(CELLS, coarse[1])
    add("layout", "layout of light and dark", "", "", 0.1, cells)
    add("asymmetry", "left-right asymmetry", "more alike left and right", "less alike left and right", 0.02)
    add("asymmetry", "up-down asymmetry", "more alike above and below", "less alike above and below", 0.02)
    return tuple(found)


def aspects_of(height: int, width: int, channels: int) -> list[Aspect]:
    """Return what images of this size are compared by: statistics of one kind together, and last all at once."""
    found = []
    for kinds, words in ASPECTS:
        columns = [one.columns for one in statistics_of(height, width, channels) if one.kind in kinds]
        if columns:
            found.append(Aspect(slice(columns[0].start, columns[-1].stop), words))
    return found


class NormalScores:
    """Takes statistics to standard deviations of a normal distribution, so that heavy tails are no longer heavy.

    `knots` (K, L) are quantiles of each statistic over training images and `scores` (L,) those of a normal
    distribution at the same levels, rising. Between knots the line is straight; beyond them it goes on with the mean
    slope from the median, and where all knots are equal with one for each of `resolutions` (K,).
    """

    def __init__(self, knots: np.ndarray, scores: np.ndarray, resolutions: np.ndarray) -> None:
        self._curves: list[tuple[np.ndarray, np.ndarray]] = []
        ends = []
        for x, resolution in zip(knots, resolutions, strict=True):
            places, which = np.unique(x, return_inverse=True)
            heights = np.bincount(which, scores) / np.bincount(which)  # of equal knots the mean score
            median = x[len(x) // 2]
            above = max((places[-1] - median) / max(heights[-1], 1.0), resolution)
            below = max((median - places[0]) / max(-heights[0], 1.0), resolution)
            self._curves.append((places, heights))
            ends.append((places[0], places[-1], below, above))
        self._first, self._last, self._below, self._above = np.array(ends).reshape(-1, 4).T  # each (K,)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the scores (N, K) of `values` (N, K)."""
        beyond = np.maximum(0, values - self._last) / self._above - np.maximum(0, self._first - values) / self._below
        between = [np.interp(values[:, column], *curve) for column, curve in enumerate(self._curves)]
        found: np.ndarray = np.stack(between, axis=1) + beyond
        return found


def measure(pixels: np.ndarray) -> np.ndarray:
    """Return the statistics (N, K) float64 of uint8 `pixels` (N, H, W, 1 or 3); `statistics_of` names the columns.

    Each image is measured by itself. With I its grey levels, from 0 to 255, the columns are

    - mean and standard deviation of I, divided by 255; the square roots of the shares of near-black and near-white
      pixels; the skewness of I;
    - for colour, the colourfulness of Hasler and Süsstrunk 2003, divided by 255;
    - at each octave k (I averaged over squares of 2^k pixels), the logarithm of the mean squared second
      difference of neighbours divided by the variance of I: blur and enlarging lower it, noise raises it;
    - the square roots of the shares of eight edge directions, weighted by the strength of the gradient, with direction
      and opposite direction the same: turning by 90° shifts them by half a turn;
    - the mean of each cell of a 4×4 grid, less the mean of all, divided by the standard deviation of I: its negative
      where black and white are swapped;
    - the mean absolute difference to the mirror image, left-right and up-down, divided by the standard deviation.
    """
    height, width, channels = pixels.shape[1:]
    step = max(1, PIXELS_AT_ONCE // (height * width))
    none = np.zeros((0, statistics_of(height, width, channels)[-1].columns.stop))
    return np.concatenate([none, *(_measure(pixels[start : start + step]) for start in range(0, len(pixels), step))])


def _measure(pixels: np.ndarray) -> np.ndarray:
    grey, colourfulness = _grey_and_colour(pixels)  # (N, H, W), (N, 0 or 1)
    mean = _means(grey)  # (N,)
    centred = grey - mean[:, None, None].astype(np.float32)
    variance = _mean_products(centred, centred)
    skewness = _mean_products(centred * centred, centred) / (variance + FAINTEST) ** 1.5
    deviation = np.sqrt(variance + FAINTEST)  # (N,) never 0
    levels = _pyramid(centred)
    energies = [_energy(level) for level in levels[: _octaves(*grey.shape[1:])]]
    detail = [np.log((energy + QUANTISATION) / (variance + FAINTEST)) for energy in energies]
    by_size = {level.shape[1:]: level for level in levels}
    coarse, middle = (by_size[_within(list(by_size), side)] for side in (COARSE_SIDE, MIDDLE_SIDE))
    columns = [
        mean / 255,
        np.sqrt(variance) / 255,
        np.sqrt(_shares(grey <= BLACK)),
        np.sqrt(_shares(grey >= WHITE)),
        skewness,
        *colourfulness.T,
        *detail,
        *_directions(middle).T,
        *(_cells(coarse) / deviation[:, None]).T,
        _means(np.abs(coarse - coarse[:, :, ::-1])) / deviation,
        _means(np.abs(coarse - coarse[:, ::-1])) / deviation,
    ]
    return np.stack(columns, axis=1)


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return (height, width) halved again and again, down to the coarsest size that is used."""
    sizes = [(height, width)]
    while min(height, width) >= 2 and (max(height, width) > COARSE_SIDE or min(height, width) // 2 >= SMALLEST_SIDE):
        height, width = height // 2, width // 2
        sizes.append((height, width))
    return sizes


def _within(sizes: list[tuple[int, int]], side: int) -> tuple[int, int]:
    """Return the largest of `sizes` with no side above `side`, or else the smallest of all."""
    return next((size for size in sizes if max(size) <= side), sizes[-1])


def _octaves(height: int, width: int) -> int:
    """Return at how many octaves differences are taken: one at least."""
    enough = [size for size in _sizes(height, width)[:OCTAVES] if min(size) >= SMALLEST_SIDE]
    return max(1, len(enough))


def _means(values: np.ndarray) -> np.ndarray:
    """Return the mean (N,) of each row of `values` (N, …) in float64, whatever the other rows are; 0 of none."""
    flat = np.ascontiguousarray(values).reshape(len(values), -1)  # one axis: the order of adding is always the same
    means: np.ndarray = flat.sum(axis=1, dtype=np.float64) / max(1, flat.shape[1])
    return means


def _mean_products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the mean (N,) of the products of `first` and `second` (N, h, w): rows in float32, all in float64."""
    rows = np.einsum("nhw,nhw->nh", first, second)
    products: np.ndarray = rows.sum(axis=1, dtype=np.float64) / max(1, first[0].size)
    return products


def _shares(which: np.ndarray) -> np.ndarray:
    """Return the share (N,) of each row of `which` (N, …) bool that is true."""
    shares: np.ndarray = np.array([np.count_nonzero(one) for one in which]) / max(1, which[0].size)
    return shares


def _grey_and_colour(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return grey levels (N, H, W) float32, and the colourfulness (N, 1), or (N, 0) for grey images."""
    if pixels.shape[3] == 1:
        return pixels[..., 0].astype(np.float32), np.zeros((len(pixels), 0))
    red, green, blue = (pixels[..., channel].astype(np.float32) for channel in range(3))
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    if np.array_equal(red, green) and np.array_equal(green, blue):  # X-rays, say
        return grey, np.zeros((len(pixels), 1))
    step = max(1, min(grey.shape[1:]) // COLOUR_SIDE)
    red, green, blue = (one[:, ::step, ::step] for one in (red, green, blue))
    first, second = red - green, (red + green) / 2 - blue  # the opponent colours
    means = [_means(one) for one in (first, second)]
    variances = [_mean_products(one, one) - mean**2 for one, mean in zip((first, second), means, strict=True)]
    spread = np.sqrt(np.maximum(0, sum(variances)))
    colourfulness: np.ndarray = (spread + 0.3 * np.hypot(*means)) / 255
    return grey, colourfulness[:, None]


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Return `image` (N, H, W) averaged over squares of 1, 2, 4, … pixels, one of each of `_sizes`."""
    levels = [image]
    for height, width in _sizes(*image.shape[1:])[1:]:
        image = image[:, : height * 2, : width * 2]  # an odd last line is left out
        image = image[:, ::2] + image[:, 1::2]
        image = (image[:, :, ::2] + image[:, :, 1::2]) * np.float32(0.25)  # (N, h, w)
        levels.append(image)
    return levels


def _energy(image: np.ndarray) -> np.ndarray:
    """Return the mean squared second difference (N,), across and down, of `image` (N, h, w).

    First differences would not do: those of the large shapes outweigh all detail, even in a sharp image.
    """
    down = image[:, 1:] - image[:, :-1]
    down = down[:, 1:] - down[:, :-1]
    across = _second_differences_across(image)
    energy: np.ndarray = _mean_products(down, down) + _mean_products(across, across)
    return energy


def _second_differences_across(image: np.ndarray) -> np.ndarray:
    """Return them (N, h, w - 2): taken along the whole image, three times as fast as row by row, and ends left out."""
    flat = image.reshape(len(image), -1)
    first = flat[:, 1:] - flat[:, :-1]
    second = np.zeros_like(flat)
    np.subtract(first[:, 1:], first[:, :-1], out=second[:, :-2])
    inside: np.ndarray = second.reshape(image.shape)[:, :, :-2]
    return inside


def _directions(image: np.ndarray) -> np.ndarray:
    """Return the square roots (N, 8) of the shares of edge directions in `image` (N, h, w); even where there are none.

    A gradient between two of the eight directions counts for both, by its distance from each.
    """
    count = len(image)
    across = image[:, 1:-1, 2:] - image[:, 1:-1, :-2]
    down = image[:, 2:, 1:-1] - image[:, :-2, 1:-1]
    strength = np.sqrt(across * across + down * down).reshape(count, -1)  # (N, P)
    place = np.arctan2(down, across).reshape(count, -1) * np.float32(DIRECTIONS / np.pi)  # -8 … 8
    place[place < 0] += DIRECTIONS  # the opposite direction
    lower = np.floor(place)
    upper_share = place - lower
    at = (lower.astype(np.int64) + np.arange(count)[:, None] * (DIRECTIONS + 2)).ravel()
    points = max(1, strength.shape[1])
    histogram = np.zeros((count, DIRECTIONS + 2))
    for steps, share in ((0, 1 - upper_share), (1, upper_share)):
        weights = (strength * share).ravel() / points
        histogram += np.bincount(at + steps, weights, minlength=histogram.size).reshape(histogram.shape)
    histogram[:, :2] += histogram[:, DIRECTIONS:]  # half a turn is none
    by_image = histogram[:, :DIRECTIONS] + WEAKEST_EDGE  # in each, so that noise in a blank image is none
    shares: np.ndarray = np.sqrt(by_image / by_image.sum(axis=1, keepdims=True))
    return shares


def _cells(image: np.ndarray) -> np.ndarray:
    """Return the means (N, 16) of the cells of a 4×4 grid over `image` (N, h, w), less the mean of them all."""
    count, height, width = image.shape
    if not height % CELLS and not width % CELLS:  # all alike: one mean of them all, to the bit as below
        alike = image.reshape(count, CELLS, height // CELLS, CELLS, width // CELLS).swapaxes(2, 3)
        cells = _means(alike.reshape(count * CELLS**2, -1)).reshape(count, -1)
    else:
        rows, columns = (np.linspace(0, side, min(CELLS, side) + 1).astype(int) for side in (height, width))
        cells = np.stack(
            [
                _means(image[:, top:bottom, left:right])
                for top, bottom in itertools.pairwise(rows)
                for left, right in itertools.pairwise(columns)
            ],
            axis=1,
        )
    centred: np.ndarray = cells - cells.mean(axis=1, keepdims=True)
    return centred
