"""The heat map of an explanation in the frame of the picture that was sent, rather than of what the network saw."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from foveal.explanation.colours import scaled
from foveal.explanation.explanation import PIXELS_BELOW, Explanation
from foveal.serving.children.placement import Placement


def heat_shares(explanation: Explanation) -> np.ndarray:
    """Return (H, W) float32 over the network's frame: how much each place spoke for the class, 0 to 1.

    What spoke against it is 0. Of a map of pixels, whose few largest values would leave all others dark, what is above
    all but 1 % is 1. A map that points at nothing is 0 everywhere.
    """
    whole = np.maximum(explanation.map, 0)
    if explanation.is_empty:
        return np.zeros_like(whole)
    largest = np.quantile(whole, PIXELS_BELOW) if explanation.kind.of_pixels else 0.0
    shares: np.ndarray = np.clip(whole / largest, 0, 1) if largest > 0 else scaled(whole)
    return shares


def over_picture(shares: np.ndarray, where: Placement, longest_side: int) -> Image.Image:
    """Return `shares` (H, W) of the network's frame as grey over the whole picture, 0 where the network did not look.

    It has the picture's proportions, and its size unless that is larger than `longest_side`.
    """
    left, top, right, bottom = where.framed
    scale = min(1.0, longest_side / max(where.picture))
    width, height = (max(1, round(side * scale)) for side in where.picture)
    across, down = width / where.picture[0], height / where.picture[1]
    seen = where.seen
    start = min(width - 1, max(0, round(seen[0] * across))), min(height - 1, max(0, round(seen[1] * down)))
    end = max(start[0] + 1, round(seen[2] * across)), max(start[1] + 1, round(seen[3] * down))
    content = Image.fromarray(np.ascontiguousarray(shares[top:bottom, left:right], np.float32))
    enlarged = content.resize((end[0] - start[0], end[1] - start[1]), Image.Resampling.BILINEAR)
    grey = np.rint(np.asarray(enlarged) * 255).clip(0, 255).astype(np.uint8)
    canvas = Image.new("L", (width, height))
    canvas.paste(Image.fromarray(grey), start)
    return canvas


def as_png(image: Image.Image) -> bytes:
    """Return a picture of ours as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def heat_facts(explanation: Explanation, where: Placement, shown: Image.Image) -> dict[str, Any]:
    """Return what goes with the heat map, as JSON stores it; neither the name nor the hash of the file."""
    facts = explanation.to_dict()
    for name in ("input", "input_hash", "located"):
        del facts[name]
    return {
        **facts,
        "title": explanation.title,
        "points_at_nothing": explanation.is_empty,
        "speaks_against_too": bool((explanation.grid < 0).any()),
        "shown": [shown.width, shown.height],
        "placement": where.to_dict(),
    }
