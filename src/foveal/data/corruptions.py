"""Graded corruptions: what an image may suffer on its way to the network, each at five strengths, mild to severe.

They work on uint8 pixels (N, H, W, C) as the preprocessing gives them. A strength is a physical quantity, so that it
means the same at every size and in every data set:

==================  =================================================  =========================  ==============
corruption          strength                                           strengths                  nothing at
==================  =================================================  =========================  ==============
`gaussian_noise`    standard deviation, share of the range 0 to 255    2, 5, 10, 20, 30 %         0
`shot_noise`        the same at white: 1/√photons                      5, 10, 20, 30, 50 %        0
`gaussian_blur`     standard deviation, share of the shorter side      1, 2, 3, 4.5, 6 %          0
`defocus`           radius of the disc, share of the shorter side      1.5, 3, 5, 7.5, 10 %       0
`jpeg`              quality, of the pixels that the network sees       80, 50, 30, 15, 5          100, nearly
`contrast`          share of the distance from the mean that is kept   75, 50, 30, 20, 10 %       100 %
`brightness`        added, share of the range                          10, 20, 30, 40, 50 %       0
`rotation`          degrees, to the left or right                      5, 10, 20, 30, 45°         0
`shift`             share of the side, in any direction, whole pixels  3, 6, 10, 15, 20 %         0
`resolution`        share of the side that is kept, then enlarged      75, 50, 35, 25, 15 %       100 %
==================  =================================================  =========================  ==============

Chance is a hash of (seed, the image's own number, the corruption): an image is changed alike alone and in any batch.
It does not depend on the strength, so that a curve over the strengths shows these and not another lot. The kinds are
those of D. Hendrycks, T. Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations",
2019, and geometry; their strengths are in pixels of 224 × 224 images and are not taken over.
"""

from __future__ import annotations

import functools
import io
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from foveal.data.augment.batch import PART
from foveal.data.augment.colour import brightness_of, mean_colours, tone_table
from foveal.data.augment.draws import Draws, Lot, hashes, image_seeds, normal
from foveal.data.augment.geometry import Moves, Sampling, WholePixels, mirrored
from foveal.data.augment.policy import Augment
from foveal.data.augment.texture import blur_weights, weighted
from foveal.data.images import in_threads
from foveal.data.pixels import pixel_digests
from foveal.errors import UsageError, nearest

EXACT = 1 << 24  # whole numbers below it are exact in float32
Damage = Callable[[Tensor, float, Draws], Tensor]


@dataclass(frozen=True)
class Corruption:
    """One kind of damage: what its strength is, how much does nothing, and five that are tried, mild to severe."""

    name: str
    title: str
    quantity: str  # what the strength is
    clean: float  # the strength that changes nothing, or next to nothing
    strengths: tuple[float, ...]
    limits: tuple[float, float]  # of a strength
    damage: Damage  # uint8 (b, C, H, W), strength, draws → any number, which is rounded into 0 to 255
    scale: float = 100.0  # from the strength to the number that is written
    suffix: str = " %"

    def written(self, strength: float) -> str:
        """Return a strength as people read it: ``5 %``, ``10°``, ``50``."""
        return written(strength, self.scale, self.suffix)


def written(strength: float, scale: float, suffix: str) -> str:
    """Return `strength` times `scale`, rounded to two digits, and `suffix`."""
    return f"{float(f'{strength * scale:.2g}'):g}{suffix}"


def find_corruptions(names: Iterable[str] | None = None) -> tuple[Corruption, ...]:
    """Return the corruptions called so, all by default; UsageError names an unknown one, a double one, or none."""
    wanted = list(CORRUPTIONS) if names is None else [name.strip().lower().replace("-", "_") for name in names]
    for name in wanted:
        if name not in CORRUPTIONS:
            known = ", ".join(CORRUPTIONS)
            raise UsageError(f'There is no corruption "{name}"; choose of {known}.{nearest(name, CORRUPTIONS)}')
        if wanted.count(name) > 1:
            raise UsageError(f'The corruption "{name}" is named twice.')
    if not wanted:
        raise UsageError(f"Name at least one corruption of {', '.join(CORRUPTIONS)}.")
    return tuple(CORRUPTIONS[name] for name in wanted)


def content_numbers(pixels: np.ndarray) -> np.ndarray:
    """Return a number, int64 (N,), for each image of uint8 `pixels` (N, H, W, C), by its content."""
    return np.array([int(digest[:15], 16) for digest in pixel_digests(pixels).tolist()], np.int64)


def corrupt(pixels: np.ndarray, name: str, strength: float, numbers: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return uint8 `pixels` (N, H, W, 1 or 3) with the corruption called `name` of this strength; a new array.

    `numbers` (N,) int64 tell the images apart, see `content_numbers`. Raises UsageError for an unknown name, a
    strength that cannot be, or arrays of another kind.
    """
    (corruption,) = find_corruptions([name])
    low, high = corruption.limits
    if not low <= strength <= high:
        raise UsageError(f"The strength of {corruption.name} is from {low:g} to {high:g}, not {strength!r}.")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
        raise UsageError(f"Corruptions take uint8 (N, H, W, 1 or 3), not {pixels.dtype} {pixels.shape}.")
    if numbers.shape != pixels.shape[:1]:
        raise UsageError(f"Corruptions take one number an image, {len(pixels)} of them, not {numbers.shape}.")
    out = np.array(pixels)
    if strength == corruption.clean:
        return out
    view = zlib.crc32(corruption.name.encode())
    seeds = image_seeds(seed, view, torch.from_numpy(np.ascontiguousarray(numbers, np.int64)))
    step = max(1, PART // max(1, pixels[:1].size))
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        x = torch.from_numpy(out[part]).permute(0, 3, 1, 2).contiguous()  # (b, C, H, W)
        y = corruption.damage(x, strength, Draws(seeds[part]))
        if y.dtype != torch.uint8:
            y = y.round().clamp(0, 255).to(torch.uint8)
        out[part] = y.permute(0, 2, 3, 1).numpy()
    return out


def moved(pixels: np.ndarray, down: int, across: int) -> np.ndarray:
    """Return `pixels` (N, H, W, C) moved by so many pixels down and to the right, mirrored at the edges."""
    _, height, width, _ = pixels.shape
    rows = mirrored(torch.arange(height) - down, height).numpy()
    columns = mirrored(torch.arange(width) - across, width).numpy()
    return np.ascontiguousarray(pixels[:, rows][:, :, columns])


def _gaussian_noise(x: Tensor, strength: float, draws: Draws) -> Tensor:
    noise = normal(hashes(draws.keys(Lot.NOISE), x[0].numel())).view(x.shape)
    return noise.mul_(255 * strength).add_(x)


def _shot_noise(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Count photons: Poisson numbers with the mean v/255 · P at the value v, where white is P = 1/strength²."""
    table, most = _photon_table(strength)
    words = hashes(draws.keys(Lot.NOISE), x[0].numel()).view(x.shape).numpy()
    share = (words.astype(np.float64) + 2**31 + 0.5) / 2**32  # above 0, below 1
    level = x.numpy().astype(np.int64)
    photons = np.searchsorted(table, share + level) - level * most  # the least k with P(X ≤ k) ≥ share
    return torch.from_numpy(photons * (255 * strength**2))


@functools.lru_cache(maxsize=8)
def _photon_table(strength: float) -> tuple[np.ndarray, int]:
    """Return the distribution functions of the 256 values one behind the other, each 1 above the last; their length."""
    from scipy.special import pdtr

    white = strength**-2
    most = math.ceil(white + 10 * math.sqrt(white) + 20)
    means = np.arange(256)[:, None] / 255 * white
    chances = pdtr(np.arange(most), means)  # (256, most)
    chances[:, -1] = 1.0
    return (chances + np.arange(256)[:, None]).reshape(-1), most


def _gaussian_blur(x: Tensor, strength: float, draws: Draws) -> Tensor:
    del draws
    sigma = torch.tensor([strength * min(x.shape[2:])], dtype=torch.float64)
    weights = blur_weights(sigma, math.ceil(3 * float(sigma))).float()  # (1, radius + 1)
    y = x.float()
    for axis in (2, 3):
        y = weighted(y, axis, weights)
    return y


def _defocus(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Average over a disc whose edge pixels count by the share that it covers; mirrored at the picture's edges."""
    del draws
    count, channels, height, width = x.shape
    kernel = _disc(strength * min(height, width))
    reach = len(kernel) // 2
    rows = mirrored(torch.arange(-reach, height + reach), height)
    columns = mirrored(torch.arange(-reach, width + reach), width)
    wide = x.index_select(2, rows).index_select(3, columns).float().view(count * channels, 1, *_grown(x, reach))
    total = functional.conv2d(wide, kernel[None, None])  # whole numbers below EXACT: the same in every batch
    return total.view(x.shape).div_(kernel.sum())


def _grown(x: Tensor, reach: int) -> tuple[int, int]:
    return x.shape[2] + 2 * reach, x.shape[3] + 2 * reach


def _disc(radius: float) -> Tensor:
    """Return float32 (k, k), whole numbers: of the points in each pixel, how many lie within `radius` of the middle."""
    reach = math.ceil(radius - 0.5)
    points = max(1, min(16, math.isqrt(int(EXACT / 256 / (math.pi * (radius + 1) ** 2)))))  # a side of a pixel
    places = (np.arange((2 * reach + 1) * points) + 0.5) / points - (reach + 0.5)
    inside = places[:, None] ** 2 + places**2 <= radius**2
    side = 2 * reach + 1
    counts = inside.reshape(side, points, side, points).sum(axis=(1, 3))
    if not counts.any():
        counts[reach, reach] = 1  # a disc smaller than the grid of points
    return torch.from_numpy(counts.astype(np.float32))


def _jpeg(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Write each image as a JPEG of this quality, as Pillow does (4:2:0), and read it again."""
    del draws
    pixels = x.permute(0, 2, 3, 1).numpy()  # (b, H, W, C)
    out = np.empty(pixels.shape, np.uint8)

    def work(row: int) -> None:
        image = pixels[row]
        file = io.BytesIO()
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
        picture.save(file, "JPEG", quality=round(strength))
        with Image.open(file) as read:
            out[row] = np.asarray(read).reshape(image.shape)

    in_threads(work, range(len(pixels)), lambda _: None)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _contrast(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Draw all values towards the picture's mean brightness."""
    del draws
    one = torch.ones(len(x), dtype=torch.float64)
    table = tone_table(brightness_of(mean_colours(x)), one, one * strength, one)  # (b, 256)
    return table.gather(1, x.flatten(1).long()).view(x.shape)


def _brightness(x: Tensor, strength: float, draws: Draws) -> Tensor:
    del draws
    return x.float() + 255 * strength


def _rotation(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Turn to the left or right by lot, bilinear, mirrored at the edges."""
    radians = torch.where(draws.chance(Lot.ROTATION, 0.5), 1.0, -1.0).double() * math.radians(strength)
    moves = _moves(len(x), radians=radians)
    sampling = Sampling(moves, None, x.shape[2], x.shape[3], "reflect", x.device)
    return sampling(x.float(), slice(None))


def _shift(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Move by whole pixels in a direction by lot, mirrored at the edges."""
    height, width = x.shape[2:]
    angle = draws.between(Lot.TRANSLATION_X, 0, 2 * math.pi)
    across, down = angle.cos() * (strength * width), angle.sin() * (strength * height)
    moves = _moves(len(x), translation=torch.stack([across, down], 1).round().long())
    return WholePixels(Augment(translation=strength, fill="reflect"), moves, height, width, x.device)(x, slice(None))


def _moves(count: int, radians: Tensor | None = None, translation: Tensor | None = None) -> Moves:
    none, one = torch.zeros(count, 2, dtype=torch.int64), torch.ones(count, 2, dtype=torch.float64)
    return Moves(
        flipped=none.bool(),
        padding=none,
        crop=one,
        crop_middle=none.double(),
        radians=torch.zeros(count, dtype=torch.float64) if radians is None else radians,
        scale=one[:, 0],
        translation=none if translation is None else translation,
    )


def _resolution(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Scale down with antialiasing, round to 8 bits as a small file would, and enlarge again; both bilinear."""
    del draws
    size = [max(1, round(strength * side)) for side in x.shape[2:]]
    small = functional.interpolate(x.float(), size, mode="bilinear", antialias=True).round_().clamp_(0, 255)
    return functional.interpolate(small, x.shape[2:], mode="bilinear")


_OF_SIDE = "of the shorter side"
CORRUPTIONS: Mapping[str, Corruption] = {
    one.name: one
    for one in (
        Corruption("gaussian_noise", "Gaussian noise", "standard deviation, of the range", 0,
                   (0.02, 0.05, 0.1, 0.2, 0.3), (0, 4), _gaussian_noise),
        Corruption("shot_noise", "Shot noise", "deviation at white, of the range", 0,
                   (0.05, 0.1, 0.2, 0.3, 0.5), (0, 4), _shot_noise),
        Corruption("gaussian_blur", "Gaussian blur", f"standard deviation, {_OF_SIDE}", 0,
                   (0.01, 0.02, 0.03, 0.045, 0.06), (0, 1), _gaussian_blur),
        Corruption("defocus", "Defocus", f"radius, {_OF_SIDE}", 0,
                   (0.015, 0.03, 0.05, 0.075, 0.1), (0, 1), _defocus),
        Corruption("jpeg", "JPEG", "quality", 100, (80, 50, 30, 15, 5), (1, 100), _jpeg, 1, ""),
        Corruption("contrast", "Low contrast", "of the contrast is kept", 1,
                   (0.75, 0.5, 0.3, 0.2, 0.1), (0, 1), _contrast),
        Corruption("brightness", "Brightness", "of the range, added", 0,
                   (0.1, 0.2, 0.3, 0.4, 0.5), (0, 1), _brightness),
        Corruption("rotation", "Rotation", "angle, left or right", 0, (5, 10, 20, 30, 45), (0, 180), _rotation, 1, "°"),
        Corruption("shift", "Shift", "of the side, any direction", 0,
                   (0.03, 0.06, 0.1, 0.15, 0.2), (0, 1), _shift),
        Corruption("resolution", "Low resolution", "of the side is kept", 1,
                   (0.75, 0.5, 0.35, 0.25, 0.15), (0, 1), _resolution),
    )
}  # fmt: skip
