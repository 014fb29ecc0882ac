"""Shortcuts: over many images, how much of what speaks for a class lies where the subject is not.

Zones of an image: the padding (black bars), and, of the picture between the bars, its outer border, its corners, and
marks that look like text. What a share says is read beside that of the area: a map that has no idea of the place puts
into each zone as much as the zone is large.

Source of the concern: DeGrave, Janizek, Lee: "AI for radiographic COVID-19 detection selects shortcuts over signal",
2021. The zones and the threshold are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, find_objects, label, uniform_filter

from foveal.errors import UsageError
from foveal.explanation.located import DRAWS, Share, mean_share
from foveal.preprocess import Preprocess

BORDER, CORNER = 0.1, 0.2  # of each side of the picture
TEXT_EDGE = 0.2  # of each side: marks are looked for in this outer part
BRIGHT, STEP = 0.85, 0.25  # a mark is brighter than this, and than the mean around it by so much
LARGEST_MARK, SMALLEST_MARK = 0.12, 2  # of a connected mark: its longer side as a share of the shorter one, and pixels
AROUND, GROWN = 0.1, 0.015  # sides of the surroundings, and by how much marks grow, as shares of the shorter side
MORE_THAN_AREA = 1.2  # a zone is flagged that surely has a fifth more than its area; a central subject leaves it less
Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels; the latter two exclusive
FEWEST = 10  # images from which on a zone can be flagged: an interval of fewer is too narrow
ZONES = ("border", "corners", "text", "padding")
PLACES = {
    "border": "in the outer border",
    "corners": "in the corners",
    "text": "on marks that look like text",
    "padding": "on the black bars of the padding",
}


@dataclass(frozen=True)
class Zone:
    """What lies in one zone of the images that have it and in which something spoke for the class."""

    zone: str
    share: Share  # of all that spoke for the class
    area: float  # mean share of the image that the zone is
    ratio: Share  # share / area

    @property
    def is_flagged(self) -> bool:
        """Whether surely more lies here than the area explains."""
        return self.ratio.low > MORE_THAN_AREA and self.ratio.n >= FEWEST

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return {
            "zone": self.zone,
            "share": self.share.to_dict(),
            "area": self.area,
            "ratio": self.ratio.to_dict(),
            "is_flagged": self.is_flagged,
        }


@dataclass(frozen=True, eq=False)
class ClassView:
    """What spoke for one class, over its images; each image counts alike, whatever the strength of its map."""

    label: str
    n: int
    silent: int  # of them: images in which nothing spoke for the class; they count in no share
    signed: np.ndarray  # (H, W) float64: mean of the maps, each divided by the mean of its magnitudes
    unsigned: np.ndarray  # (H, W) float64: the same of the magnitudes, so 1 on average
    zones: tuple[Zone, ...]  # those that some image has

    def findings(self) -> tuple[str, ...]:
        """Return a sentence for each zone, those that are flagged first."""
        ordered = sorted(self.zones, key=lambda zone: not zone.is_flagged)
        return tuple(self._sentence(zone) for zone in ordered)

    def _sentence(self, zone: Zone) -> str:
        share, ratio = zone.share, zone.ratio
        few = share.n < FEWEST
        interval = "" if few else f" ({_percent(share.low)} to {_percent(share.high)})"
        is_ = "is" if zone.zone == "border" else "are"
        said = (
            f"{self.label}: {_percent(share.value)} %{interval} of what spoke for it lies {PLACES[zone.zone]}, which "
            f"{is_} {_percent(zone.area)} % of the image (n = {share.n:,})"
        )
        if few:
            return f"{said}: too few images to tell."
        if not zone.is_flagged:
            return f"{said}."
        times = f"{ratio.value:.1f} times ({ratio.low:.1f} to {ratio.high:.1f}) what the area explains"
        return f"{said}; that is {times}: it may be a shortcut."

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the maps, ready for JSON."""
        zones = [zone.to_dict() for zone in self.zones]
        return {"class": self.label, "n": self.n, "silent": self.silent, "zones": zones, "findings": [*self.findings()]}


@dataclass(frozen=True, eq=False)
class Shortcuts:
    """The view of all classes that were explained."""

    classes: tuple[ClassView, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """What was found, one sentence a zone, class by class."""
        return tuple(sentence for view in self.classes for sentence in view.findings())

    @property
    def flagged(self) -> tuple[tuple[str, str], ...]:
        """(class, zone) of all that may be a shortcut."""
        return tuple((view.label, zone.zone) for view in self.classes for zone in view.zones if zone.is_flagged)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the maps, ready for JSON."""
        return {"flagged_from": MORE_THAN_AREA, "classes": [view.to_dict() for view in self.classes]}


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.1f}"


@dataclass(eq=False)
class ShortcutTally:
    """Takes images with their maps, batch after batch; keeps two sums a class, and a few numbers an image."""

    classes: Sequence[str]
    _signed: dict[int, np.ndarray] = field(default_factory=dict)
    _unsigned: dict[int, np.ndarray] = field(default_factory=dict)
    _shares: dict[int, list[list[float]]] = field(default_factory=dict)  # of each zone; nan where nothing spoke
    _areas: dict[int, list[list[float]]] = field(default_factory=dict)
    _size: tuple[int, int] | None = None

    def add(
        self, pixels: np.ndarray, maps: np.ndarray, numbers: np.ndarray, *, boxes: Sequence[Box] | None = None
    ) -> None:
        """Count in `maps` (B, H, W) of images `pixels` (B, H, W, C) uint8 for the classes `numbers` (B,).

        `boxes` say where in the frame each picture lies (`picture_box`); without them there is no padding.
        UsageError for shapes that do not belong together, for another size than before, and for values that are not
        finite.
        """
        if pixels.ndim != 4 or pixels.dtype != np.uint8 or maps.shape != pixels.shape[:3] or len(numbers) != len(maps):
            raise UsageError(f"Images {pixels.shape} uint8, maps {maps.shape} and {len(numbers)} classes do not match.")
        if self._size not in (None, maps.shape[1:]):
            raise UsageError(f"The images have been {self._size} until now, and are {maps.shape[1:]}.")
        if not np.isfinite(maps).all():
            raise UsageError("The maps have values that are not finite.")
        self._size = maps.shape[1:]
        places = [None] * len(maps) if boxes is None else boxes
        for image, values, number, box in zip(pixels, maps.astype(np.float64), numbers.tolist(), places, strict=True):
            zones = zones_of(image, box)
            positive = np.maximum(values, 0)
            total, strength = positive.sum(), np.abs(values).mean()
            scaled = values / strength if strength > 0 else values
            if number not in self._signed:
                self._signed[number], self._unsigned[number] = np.zeros(self._size), np.zeros(self._size)
            self._signed[number] += scaled
            self._unsigned[number] += np.abs(scaled)
            shares = [float(positive[zones[zone]].sum() / total) if total > 0 else np.nan for zone in ZONES]
            self._shares.setdefault(number, []).append(shares)
            self._areas.setdefault(number, []).append([float(zones[zone].mean()) for zone in ZONES])

    def view(self, *, seed: int = 0) -> Shortcuts:
        """Return what was found in all that was counted, with intervals by a seeded bootstrap over images."""
        return Shortcuts(tuple(self._class_view(number, seed) for number in sorted(self._shares)))

    def _class_view(self, number: int, seed: int) -> ClassView:
        shares, areas = np.array(self._shares[number]), np.array(self._areas[number])  # (n, zones)
        spoke = ~np.isnan(shares[:, 0])
        zones = []
        for at, zone in enumerate(ZONES):
            rows = np.flatnonzero(spoke & (areas[:, at] > 0))
            if not len(rows):
                continue
            own, size = shares[rows, at], areas[rows, at]
            zones.append(Zone(zone, mean_share(own, seed=seed), float(size.mean()), _ratio(own, size, seed)))
        n = len(shares)
        means = self._signed[number] / n, self._unsigned[number] / n
        return ClassView(self.classes[number], n, int((~spoke).sum()), *means, tuple(zones))


def _ratio(shares: np.ndarray, areas: np.ndarray, seed: int) -> Share:
    """Return the mean of `shares` (n,) over that of `areas` (n,), with its interval by the bootstrap over images."""
    n = len(shares)
    chance = np.random.default_rng(seed)
    rows = (chance.integers(n, size=n) for _ in range(DRAWS))
    low, high = np.quantile([shares[drawn].sum() / areas[drawn].sum() for drawn in rows], (0.025, 0.975))
    return Share(float(shares.sum() / areas.sum()), float(low), float(high), n)


def zones_of(pixels: np.ndarray, box: Box | None = None) -> dict[str, np.ndarray]:
    """Return zone → where it is (H, W) bool, in an image `pixels` (H, W, C) uint8 whose picture lies at `box`.

    Zones overlap.
    """
    top, left, bottom, right = (0, 0, *pixels.shape[:2]) if box is None else box
    padding = np.ones(pixels.shape[:2], bool)
    padding[top:bottom, left:right] = False
    border, corners, text = (np.zeros_like(padding) for _ in range(3))
    height, width = bottom - top, right - left
    border[top:bottom, left:right] = ~_inner(height, width, BORDER)
    rows, columns = (_outer(side, CORNER) for side in (height, width))
    corners[top:bottom, left:right] = rows[:, None] & columns[None]
    text[top:bottom, left:right] = text_marks(pixels[top:bottom, left:right])
    return {"border": border, "corners": corners, "text": text, "padding": padding}


def picture_box(preprocess: Preprocess, height: int, width: int) -> Box:
    """Return where an image of `height` × `width` pixels lies in the frame that `preprocess` gives it; around it is
    padding.

    By its rule, not by black pixels: the black around an MNIST digit belongs to the picture.
    """
    box = preprocess.content_height, preprocess.content_width
    if preprocess.fit == "letterbox":
        scale = min(box[0] / height, box[1] / width)
        box = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (preprocess.height - box[0]) // 2, (preprocess.width - box[1]) // 2
    return top, left, top + box[0], left + box[1]


def text_marks(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: marks of a picture `pixels` (H, W, C) uint8 that look like burned-in text, slightly grown.

    Connected pixels that are very bright, brighter than what surrounds them, as small as a letter, and all in the outer
    fifth of the picture. It misses dark, faint and large writing, and letters that scaling has blurred; and takes for
    text what is as small and bright: a glint, a clip, an electrode, the saturated tip of a bone.
    """
    grey = pixels.mean(axis=2) / 255  # (H, W)
    height, width = grey.shape
    shorter = min(height, width)
    around = uniform_filter(grey, max(3, round(AROUND * shorter)), mode="nearest")
    marks, count = label((grey > BRIGHT) & (grey > around + STEP), structure=np.ones((3, 3)))
    longest = [max(one.stop - one.start for one in spans) for spans in find_objects(marks)]
    inner = np.unique(marks[_inner(height, width, TEXT_EDGE)])
    kept = np.bincount(marks.ravel(), minlength=count + 1) >= SMALLEST_MARK
    kept[1:] &= np.array(longest, float) <= LARGEST_MARK * shorter
    kept[inner] = False
    kept[0] = False
    grown: np.ndarray = binary_dilation(kept[marks], np.ones((3, 3)), iterations=max(1, round(GROWN * shorter)))
    return grown


def _outer(side: int, share: float) -> np.ndarray:
    """Return (side,) bool: the outer `share` at either end, one pixel at least."""
    outer = np.zeros(side, bool)
    outer[: max(1, round(share * side))] = True
    return outer | outer[::-1]


def _inner(height: int, width: int, share: float) -> np.ndarray:
    """Return (height, width) bool: what is left within a frame of `share` of each side."""
    inner: np.ndarray = ~_outer(height, share)[:, None] & ~_outer(width, share)[None]
    return inner
