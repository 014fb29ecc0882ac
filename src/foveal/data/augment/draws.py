"""Chance without a generator: every number is a hash of the image's seed and of what the number is for.

An image is then changed in the same way alone and in any batch, at any place of it, on any device.
"""

from __future__ import annotations

from enum import IntEnum, auto

import torch
from torch import Tensor

from foveal.errors import UsageError

GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WORD = 2**64 - 1
BEND = (0.9490332781, 0.0186423825)  # solved numerically for variance 1 and kurtosis 3; see `normal`


class Lot(IntEnum):
    """What a number is drawn for. New ones go to the end: a seed means the same in every version."""

    HORIZONTAL_FLIP = auto()
    VERTICAL_FLIP = auto()
    PAD_X = auto()
    PAD_Y = auto()
    CROP_AREA = auto()
    CROP_ASPECT = auto()
    CROP_X = auto()
    CROP_Y = auto()
    ROTATION = auto()
    TRANSLATION_X = auto()
    TRANSLATION_Y = auto()
    ZOOM = auto()
    ELASTIC = auto()
    BRIGHTNESS = auto()
    CONTRAST = auto()
    GAMMA = auto()
    SATURATION = auto()
    HUE = auto()
    PCA_COLOUR = auto()
    BLUR = auto()
    NOISE = auto()
    CUTOUT_X = auto()
    CUTOUT_Y = auto()


class Draws:
    """What chance gives each image of a batch, by its seed, int64 (B,).

    Numbers are float64, so that what vector and scalar units round differently does not reach a pixel. A device that
    has none of them (MPS) leaves the few numbers an image to the CPU.
    """

    def __init__(self, seeds: Tensor) -> None:
        home = torch.device("cpu") if seeds.device.type == "mps" else seeds.device
        lots = torch.arange(len(Lot) + 1, device=home)  # no lot has the number 0
        self.device = home
        self.words = scrambled(scrambled(seeds.to(home))[:, None] + lots * signed(GOLDEN))  # (B, lots)
        self.shares = shifted(self.words, 11).double() * 2.0**-53  # (B, lots), 0 ≤ share < 1

    def share(self, lot: Lot) -> Tensor:
        """Return a number from 0 to below 1 for each image, float64 (B,)."""
        return self.shares[:, lot]

    def between(self, lot: Lot, low: float, high: float) -> Tensor:
        """Return a number from `low` to `high` for each image, float64 (B,)."""
        return self.share(lot) * (high - low) + low

    def whole(self, lot: Lot, most: int) -> Tensor:
        """Return a whole number from -most to most for each image, int64 (B,)."""
        return (self.share(lot) * (2 * most + 1)).floor().long() - most

    def chance(self, lot: Lot, probability: float) -> Tensor:
        """Return for each image whether it happens, bool (B,)."""
        return self.share(lot) < probability

    def keys(self, lot: Lot) -> Tensor:
        """Return two words for `hashes`, int32 (B, 2)."""
        word = self.words[:, lot]
        lower = (word << 32) >> 32  # with its sign, so that it fits
        return torch.stack([lower, word >> 32], 1).int()


def image_seeds(seed: int, epoch: int, rows: Tensor) -> Tensor:
    """Return the seed of each image for `augment_batch`, int64 (B,): a hash of (seed, epoch, row).

    `rows` (B,) are the images' numbers in the data set, int64, on any device; the seeds lie there too. Within one
    epoch no two rows share a seed.
    """
    if rows.dtype != torch.int64 or rows.ndim != 1:
        raise UsageError(f"Rows are one int64 number an image, not {_said(rows)}.")
    key = _scrambled_number(_scrambled_number(seed + GOLDEN) + GOLDEN * (epoch + 1))
    return scrambled(rows * signed(GOLDEN) + signed(key))  # GOLDEN is odd: different rows stay different


def scrambled(words: Tensor) -> Tensor:
    """Return a hash of each of `words`, int64, one to one: the finalizer of SplitMix64 (Steele et al. 2014, fig. 17).

    The multiplications wrap around, as two's complement does on every device.
    """
    words = (words ^ shifted(words, 30)) * signed(FIRST)
    words = (words ^ shifted(words, 27)) * signed(SECOND)
    return words ^ shifted(words, 31)


def _scrambled_number(word: int) -> int:
    """Return what `scrambled` does of one number, from 0 to 2⁶⁴ - 1."""
    word &= WORD
    word = (word ^ word >> 30) * FIRST & WORD
    word = (word ^ word >> 27) * SECOND & WORD
    return word ^ word >> 31


def shifted(words: Tensor, bits: int) -> Tensor:
    """Return int64 `words` shifted to the right as if they had no sign."""
    return (words >> bits) & (WORD >> bits)


def signed(word: int) -> int:
    """Return the number below 2⁶⁴ whose 64 bits are those of `word`, as int64 has it."""
    word &= WORD
    return word - (1 << 64) if word >> 63 else word


def hashes(keys: Tensor, count: int) -> Tensor:
    """Return `count` random words an image, int32 (b, count), of its `keys` (b, 2).

    A 32-bit hash (C. Wellons, "Hash function prospector", 2018: lowbias32) with a key before each of its products: for
    a word a pixel, half as wide as SplitMix64's and three times as fast.
    """
    x = torch.arange(count, dtype=torch.int32, device=keys.device) ^ keys[:, :1]
    x ^= ((x >> 16).bitwise_and_(0xFFFF)).bitwise_xor_(keys[:, 1:])
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= 0x846CA68B - (1 << 32)
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


def normal(words: Tensor) -> Tensor:
    """Return a normally distributed number for each of `words`, int32, as float32: mean 0, standard deviation 1.

    z, the sum of a word's four bytes less its mean and over its standard deviation, as z · (a + b z²), of which
    variance and kurtosis are a normal distribution's: whole numbers and products, which every device computes alike.
    Its distribution function is off by 0.002 at most, and none is beyond 4.1.
    """
    pairs = (words & 0xFF00FF).add_((words >> 8).bitwise_and_(0xFF00FF))
    z = ((pairs & 0xFFFF) + (pairs >> 16)).float()  # 0 … 1020
    z -= 510.0
    z *= (4 * (256**2 - 1) / 12) ** -0.5
    bend = z * z
    bend *= BEND[1]
    bend += BEND[0]
    return z.mul_(bend)


def _said(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
