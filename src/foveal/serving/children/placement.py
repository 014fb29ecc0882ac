"""Placement: which part of a picture a network sees, and where in its frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foveal.preprocess import Preprocess

Box = tuple[float, float, float, float]  # left, top, right, bottom; the latter two exclusive


@dataclass(frozen=True)
class Placement:
    """What `Preprocess.geometry` does with a picture of one size, in numbers."""

    picture: tuple[int, int]  # width, height, as a viewer shows it
    scaled: tuple[int, int]  # width, height of the whole picture at the scale of the frame, rounded
    seen: Box  # the part of the picture that is kept, in its own pixels
    framed: tuple[int, int, int, int]  # where that part lies in the frame; around it all is black

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, as JSON stores them."""
        return {
            "scaled_from": list(self.picture),
            "scaled_to": list(self.scaled),
            "seen": [round(one, 2) for one in self.seen],
            "framed": list(self.framed),
        }


def placed(preprocess: Preprocess, width: int, height: int) -> Placement:
    """Return what `preprocess` makes of a picture of `width` and `height`."""
    box = preprocess.content_width, preprocess.content_height
    seen: Box = (0, 0, width, height)
    kept = scaled = box
    if preprocess.fit == "letterbox" and (width, height) != box:
        scale = min(box[0] / width, box[1] / height)
        kept = scaled = max(1, round(width * scale)), max(1, round(height * scale))
    elif preprocess.fit == "crop" and preprocess.short_side:
        short, side = min(width, height), preprocess.short_side
        scaled = side * width // short, side * height // short
        left, top = round((scaled[0] - box[0]) / 2), round((scaled[1] - box[1]) / 2)
        across, down = width / scaled[0], height / scaled[1]
        seen = left * across, top * down, (left + box[0]) * across, (top + box[1]) * down
    elif preprocess.fit == "crop":
        scale = max(box[0] / width, box[1] / height)
        scaled = round(width * scale), round(height * scale)
        half = box[0] / scale / 2, box[1] / scale / 2
        seen = width / 2 - half[0], height / 2 - half[1], width / 2 + half[0], height / 2 + half[1]
    left, top = (preprocess.width - kept[0]) // 2, (preprocess.height - kept[1]) // 2
    return Placement((width, height), scaled, seen, (left, top, left + kept[0], top + kept[1]))
