"""The explanation: why a classifier gives an image a class, as a map over what it saw, and whether to believe it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from foveal.explanation.colours import heat, overlay, scaled, signed
from foveal.explanation.faithfulness import Faithfulness
from foveal.explanation.located import Located
from foveal.explanation.methods import BY_NAME, Method, enlarged
from foveal.explanation.sheets import Tile, as_rgb, sheets
from foveal.explanation.stages import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

PIXELS_BELOW = 0.99  # of a map of pixels, whose few largest values would leave all others dark
SAME = 1e-6  # of the largest magnitude, up to which a difference is rounding
FLAT = "The map has the same value everywhere: it points at nothing, so that there is nothing to show."
NO_DOUBT = "Measured, and nothing was found against it; that makes neither the map nor the answer right."
DISTRUST = "Do not trust this map."
ALL_ZERO = "The map is zero everywhere: nothing here spoke for {target}, so that there is nothing to show."


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why `target` (and not `against`) was given so much of the probability, by one method.

    `map` lies over `picture`, the image as the network saw it: cut, scaled and framed by the preprocessing. It is made
    of the `grid` when it is asked for, since a thousand of them would fill the memory.
    """

    grid: np.ndarray  # (h, w) float32, as the method gave it; larger: speaks more for the class; below zero: against it
    picture: np.ndarray  # (H, W, 1 or 3) uint8
    method: str
    target: str
    probability: float  # of the target, calibrated
    answered: str  # the class that the classifier answers
    classifier_hash: str
    engine: str
    input: str
    input_hash: str
    against: str = ""
    abstain: str = ""  # why the classifier would rather not answer
    place: Place | None = None  # the stage whose maps were used
    parameters: Mapping[str, Any] = field(default_factory=dict)
    faithfulness: Faithfulness | None = None  # None: not measured
    located: Located | None = None  # how well it lies on the subject, where that is known

    @property
    def map(self) -> np.ndarray:
        """The map (H, W) float32 over the picture: the grid, enlarged to its size."""
        whole: np.ndarray = enlarged(torch.from_numpy(self.grid)[None], *self.picture.shape[:2])[0].numpy()
        return whole

    @property
    def is_empty(self) -> bool:
        """Whether the map is the same everywhere, zero or not: it points at nothing."""
        return bool(np.ptp(self.grid) <= SAME * np.abs(self.grid).max())

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the map should not be believed, in whole sentences; empty where nothing was found against it."""
        nothing = FLAT if self.grid.any() else ALL_ZERO.format(target=self.target)
        found = [nothing] if self.is_empty else []
        if self.abstain:
            found.append(f"The classifier abstains: {self.abstain}.")
        if self.faithfulness is not None and not self.is_empty:
            found += self.faithfulness.warnings()
        return tuple(found)

    @property
    def question(self) -> str:
        """What is explained: ``covid-19``, or ``covid-19 rather than normal``."""
        return f"{self.target} rather than {self.against}" if self.against else self.target

    @property
    def title(self) -> str:
        """The method with its stage: ``Grad-CAM at conv5_x``."""
        at = f" at {self.place.name}" if self.place is not None else ""
        return f"{self.kind.title}{at}"

    @property
    def kind(self) -> Method:
        """The method's line in the table of methods."""
        return BY_NAME[self.method]

    def overlay(self) -> np.ndarray:
        """Return the picture under the map, uint8 (H, W, 3); the picture alone where the map is empty."""
        picture = as_rgb(self.picture)
        return picture if self.is_empty else overlay(picture, self.map)

    def coloured(self) -> np.ndarray:
        """Return the map alone in colours, uint8 (H, W, 3); of a map of pixels, what is above all but 1 % is one."""
        whole = self.map
        largest = np.quantile(np.abs(whole), PIXELS_BELOW) if self.kind.of_pixels else 0.0
        values = np.clip(whole / largest, -1, 1) if largest > 0 else scaled(whole)
        return signed(values) if (values < 0).any() else heat(values)

    def drawn(self) -> np.ndarray:
        """Return what shows the map best, uint8 (H, W, 3): the overlay, or alone where it is as fine as the pixels."""
        return self.coloured() if self.kind.of_pixels and not self.is_empty else self.overlay()

    def sheet(self, side: int = 320) -> Image.Image:
        """Return the picture and the overlay beside each other, with what they are and whether to believe them."""
        share = f"{self.target} {percent(self.probability)}"
        said = share if self.answered == self.target else f"{share}, answered {self.answered}"
        doubt = " ".join(self.warnings)
        tiles = [
            Tile(as_rgb(self.picture), f"what the network sees of {self.input}"),
            Tile(self.drawn(), f"why {self.question}: {self.title}", f"{DISTRUST} {doubt}" if doubt else ""),
        ]
        parts = [_scale(self), self.kind.caution]
        parts += [NO_DOUBT] if self.faithfulness is not None and not doubt else []
        return sheets(tiles, heading=said, note=" ".join(filter(None, parts)), columns=2, side=side)[0]

    def figure(self) -> Figure:
        """Return a matplotlib figure: picture, overlay, map with its scale. Needs the extra ``explain``."""
        from foveal.explanation.figures import explanation_figure

        return explanation_figure(self)

    def _repr_html_(self) -> str:
        from foveal.explanation.cards import explanations_card

        return explanations_card([self])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures, ready for JSON."""
        place = self.place
        return {
            "input": self.input,
            "input_hash": self.input_hash,
            "classifier_hash": self.classifier_hash,
            "method": self.method,
            "source": self.kind.source,
            "caution": self.kind.caution or None,
            "stage": place and {"name": place.name, "module": place.module, "map": list(place.shape)},
            "parameters": dict(self.parameters),
            "engine": self.engine,
            "class": self.target,
            "against": self.against or None,
            "probability": self.probability,
            "answered": self.answered,
            "abstain": self.abstain or None,
            "map": {
                "smallest": float(self.grid.min()),
                "largest": float(self.grid.max()),
                "grid": list(self.grid.shape),
            },
            "faithfulness": self.faithfulness.to_dict() if self.faithfulness is not None else None,
            "located": asdict(self.located) if self.located is not None else None,
            "warnings": list(self.warnings),
        }


def percent(share: float) -> str:
    """Return a probability in per cent; what is not all is never shown as 100, nor something as 0."""
    words = f"{100 * share:.1f} %"
    if words == "100.0 %" and share < 1:
        return ">99.9 %"
    return "<0.1 %" if words == "0.0 %" and share > 0 else words


def _scale(one: Explanation) -> str:
    if one.is_empty:
        return ""
    if (one.grid < 0).any():
        return "Orange spoke for the class, blue against it; the deeper, the more."
    return "The brighter, the more a place spoke for the class; what is not coloured did not count."


class Explanations(list[Explanation]):
    """Explanations, by image, then method, then class; a notebook shows them with their pictures."""

    def __init__(self, explanations: Iterable[Explanation] = ()) -> None:
        super().__init__(explanations)

    def by_image(self) -> list[list[Explanation]]:
        """Return the explanations of each image."""
        found: dict[tuple[str, str], list[Explanation]] = {}
        for one in self:
            found.setdefault((one.input, one.input_hash), []).append(one)
        return list(found.values())

    def sheets(self, side: int = 160, most: int = 48) -> list[Image.Image]:
        """Return the contact sheet, a row an image: as the network sees it, then each method and class."""
        rows = self.by_image()
        columns = 1 + max((len(row) for row in rows), default=0)
        tiles = []
        for row in rows:
            first = row[0]
            tiles.append(Tile(as_rgb(first.picture), f"{first.input.rpartition('/')[2]}: {first.answered}"))
            for one in row:
                words = f"{one.kind.title}: {one.question} ({percent(one.probability)})"
                alarm = "points at nothing" if one.is_empty else "not to be trusted" if one.warnings else ""
                tiles.append(Tile(one.drawn(), words, alarm))
            tiles += [Tile(np.full((1, 1), 255, np.uint8))] * (columns - 1 - len(row))
        count = max(1, most // columns) * columns
        heading = "Why the classifier says so"
        return sheets(tiles, heading=heading, columns=columns, side=side, most=count)

    def figure(self) -> Figure:
        """Return the contact sheet as a matplotlib figure. Needs the extra ``explain``."""
        from foveal.explanation.figures import sheet_figure

        return sheet_figure(self)

    def _repr_html_(self) -> str:
        from foveal.explanation.cards import explanations_card

        return explanations_card(self)
