"""What may be done to training images, and how strongly: a frozen policy, its presets, and itself in words.

A strength of 0 is off. Lengths are shares of the image's side, or pixels where the name of the field says so below,
so that a preset serves any size. Nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from foveal.errors import UsageError, nearest

Fill = Literal["black", "reflect"]

LIMITS: dict[str, tuple[float, float]] = {  # smallest and largest value that makes sense
    "horizontal_flip": (0, 1),
    "vertical_flip": (0, 1),
    "pad_crop": (0, 0.5),
    "resized_crop": (0, 1),
    "rotation_deg": (0, 180),
    "translation": (0, 0.5),
    "zoom": (0, 0.9),
    "elastic": (0, 100),
    "elastic_sigma": (1, 1000),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "gamma": (0, 4),
    "saturation": (0, 1),
    "hue": (0, 0.5),
    "pca_colour": (0, 1),
    "blur": (0, 20),
    "noise": (0, 1),
    "cutout": (0, 1),
    "mixup": (0, 100),
    "cutmix": (0, 100),
}
SETTINGS = ("elastic_sigma", "fill")  # how, not how strongly: they change nothing alone
MIXING = ("mixup", "cutmix")
SMALLEST_CROP = 0.01  # of the area; 0 is off


@dataclass(frozen=True)
class Augment:
    """Every strength of the augmentation. The default is none at all.

    Geometry, of which all but the whole-pixel parts are bilinear, in one sampling:

    - `horizontal_flip`, `vertical_flip`: the probability.
    - `pad_crop`: the share of the side padded all around, then cropped back at random (He et al. 2016, sec. 4.2:
      4 pixels of 32, here 0.125); a shift by whole pixels.
    - `resized_crop`: the smallest share of the area that is cut out and scaled to the full size; aspect 3/4 to 4/3
      (Szegedy et al. 2015, sec. 6, from 0.08).
    - `rotation_deg`: at most so many degrees to either side. `translation`: at most this share of each side, in whole
      pixels. `zoom`: the scale is drawn from 1 - zoom to 1 + zoom.
    - `elastic`: standard deviation, in pixels, of the displacement along each axis, smooth over `elastic_sigma` pixels
      (Simard et al. 2003).
    - `fill`: what lies outside of the picture, ``black`` or its mirror image, ``reflect``.

    Colour; on grey images saturation, hue and pca_colour do nothing:

    - `brightness`, `contrast`, `saturation`: a factor of 1 - strength to 1 + strength.
    - `gamma`: an exponent of 1 / (1 + gamma) to 1 + gamma.
    - `hue`: a turn of the colour circle, at most this share of it to either side.
    - `pca_colour`: standard deviation of steps along ImageNet's colour axes (Krizhevsky et al. 2012, sec. 4.1: 0.1).

    Texture: `blur`, the largest sigma of a Gaussian in pixels; `noise`, the standard deviation of Gaussian noise on
    the scale 0 to 1; `cutout`, the side of a square laid over the picture, as a share of its shorter side (DeVries,
    Taylor 2017).

    Mixing, of float batches with soft labels: `mixup` (Zhang et al. 2018) and `cutmix` (Yun et al. 2019), the α of
    Beta(α, α). Where both are on, each batch gets one of them by lot.
    """

    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    pad_crop: float = 0.0
    resized_crop: float = 0.0
    rotation_deg: float = 0.0
    translation: float = 0.0
    zoom: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 4.0
    fill: Fill = "black"
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    pca_colour: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not _is_number(value) or not low <= value <= high:
                raise UsageError(f"{name} is a number from {low:g} to {high:g}, not {value!r}.")
        if 0 < self.resized_crop < SMALLEST_CROP:
            raise UsageError(f"resized_crop is 0 (off) or at least {SMALLEST_CROP:g}, not {self.resized_crop!r}.")
        if self.fill not in get_args(Fill):
            raise UsageError(f'fill is "black" or "reflect", not {self.fill!r}.')

    @property
    def changes_images(self) -> bool:
        """Whether anything is done to single images."""
        return any(getattr(self, name) for name in LIMITS if name not in (*SETTINGS, *MIXING))

    @property
    def mixes_images(self) -> bool:
        """Whether images of a batch are mixed, so that labels are soft."""
        return any(getattr(self, name) for name in MIXING)

    @property
    def keeps_whole_pixels(self) -> bool:
        """Whether the geometry only moves whole pixels, so that none is interpolated."""
        return not (self.resized_crop or self.rotation_deg or self.zoom or self.elastic)

    @property
    def moves_pixels(self) -> bool:
        """Whether the geometry does anything at all."""
        whole = self.horizontal_flip or self.vertical_flip or self.pad_crop or self.translation
        return bool(whole) or not self.keeps_whole_pixels

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, as JSON and TOML store it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Augment:
        """Return the policy with the `stored` fields, the others off; UsageError for one unknown or out of range."""
        return _changed(cls(), stored)

    @classmethod
    def parse(cls, text: str) -> Augment:
        """Return the policy that `text` names: a preset, fields, or both, as in ``xray,rotation_deg=10,fill=reflect``.

        Fields change the preset, which comes first; without a preset all else is off. UsageError for what is unknown,
        out of range or no number.
        """
        first, *words = [word.strip() for word in text.split(",")]
        if "=" in first:
            return _changed(cls(), _named_values([first, *words]))
        if first not in PRESETS:
            known = ", ".join(PRESETS)
            raise UsageError(f'"{first}" is no augmentation; there are {known}.{nearest(first, PRESETS)}')
        return _changed(PRESETS[first], _named_values(words))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _changed(policy: Augment, named: Mapping[str, Any]) -> Augment:
    known = [field.name for field in fields(Augment)]
    for name in named:
        if name not in known:
            raise UsageError(f'"{name}" is nothing that augmentation does.{nearest(str(name), known)}')
    return replace(policy, **named)


def _named_values(words: list[str]) -> dict[str, Any]:
    """Return name → value of words like ``zoom=0.1``; a value that is no number stays text."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            raise UsageError(f'Augmentation is changed by name=value, as in zoom=0.1, not by "{word}".')
        if name in found:
            raise UsageError(f"{name} is given twice.")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


PRESETS: dict[str, Augment] = {
    "none": Augment(),
    "photo": Augment(
        horizontal_flip=0.5, resized_crop=0.6, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, fill="reflect"
    ),
    "digit": Augment(rotation_deg=10, translation=0.1, zoom=0.1, elastic=0.6, elastic_sigma=4),
    # Never flipped: the heart is on the left. Grey: neither saturation nor hue.
    "xray": Augment(rotation_deg=5, translation=0.05, zoom=0.1, brightness=0.1, contrast=0.15, gamma=0.15, noise=0.01),
}


def describe(policy: Augment) -> list[str]:
    """Return what `policy` does, a phrase each, for a report; nothing for a policy that does nothing."""
    p = policy
    outside = "black" if p.fill == "black" else "the mirror image"
    said = [
        (p.horizontal_flip, f"{_percent(p.horizontal_flip)} flipped left to right"),
        (p.vertical_flip, f"{_percent(p.vertical_flip)} flipped upside down"),
        (p.pad_crop, f"padded by {_percent(p.pad_crop)} of the side and cropped back at random"),
        (p.resized_crop, f"a crop of {_percent(p.resized_crop)} to 100 % of the area, scaled to the full size"),
        (p.rotation_deg, f"rotation up to {p.rotation_deg:g}°"),
        (p.translation, f"translation up to {_percent(p.translation)} of the side"),
        (p.zoom, f"zoom from {_percent(1 - p.zoom)} to {_percent(1 + p.zoom)}"),
        (p.elastic, f"elastic by {p.elastic:g} px (standard deviation), smooth over {p.elastic_sigma:g} px"),
        (p.moves_pixels, f"outside of the picture: {outside}"),
        (p.brightness, f"brightness ±{_percent(p.brightness)}"),
        (p.contrast, f"contrast ±{_percent(p.contrast)}"),
        (p.gamma, f"gamma from {1 / (1 + p.gamma):.2f} to {1 + p.gamma:.2f}"),
        (p.saturation, f"saturation ±{_percent(p.saturation)}"),
        (p.hue, f"hue ±{360 * p.hue:g}°"),
        (p.pca_colour, f"colour along ImageNet's axes, standard deviation {p.pca_colour:g}"),
        (p.blur, f"blur up to {p.blur:g} px"),
        (p.noise, f"noise of {_percent(p.noise)} of the full range (standard deviation)"),
        (p.cutout, f"a square of {_percent(p.cutout)} of the shorter side laid over"),
        (p.mixup, f"mixup, α {p.mixup:g}"),
        (p.cutmix, f"cutmix, α {p.cutmix:g}"),
    ]
    return [words for strength, words in said if strength]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
