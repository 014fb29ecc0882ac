"""Explanations as matplotlib figures, for papers and slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.engines.kinds import need
from foveal.explanation.colours import HEAT, SIGNED
from foveal.explanation.sheets import as_rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from foveal.explanation.explanation import Explanation, Explanations

INCHES = 3.2  # side of a picture


def explanation_figure(one: Explanation) -> Figure:
    """Return picture, overlay and map with its scale, side by side. MissingPartError without matplotlib."""
    need("explain", "matplotlib")
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.3 * INCHES, 1.25 * INCHES), layout="constrained")
    axes = figure.subplots(1, 3)
    whole = one.map
    largest = float(np.abs(whole).max()) or 1.0
    below = bool((whole < 0).any())
    colours = LinearSegmentedColormap.from_list("foveal", [f"#{stop}" for stop in (SIGNED if below else HEAT)])
    axes[0].imshow(as_rgb(one.picture))
    axes[0].set_title(f"answered {one.answered}", fontsize=9)
    axes[1].imshow(one.overlay())
    axes[1].set_title(f"why {one.question} ({100 * one.probability:.1f} %)", fontsize=9)
    shown = axes[2].imshow(whole, cmap=colours, vmin=-largest if below else 0, vmax=largest)
    axes[2].set_title(one.title, fontsize=9)
    figure.colorbar(shown, ax=axes[2], shrink=0.8)
    for each in axes:
        each.set_axis_off()
    if one.warnings:
        figure.suptitle("Do not trust this map. " + " ".join(one.warnings), fontsize=8, color="#a33c00", wrap=True)
    return figure


def sheet_figure(explanations: Explanations) -> Figure:
    """Return one row an image: picture, then each overlay. MissingPartError without matplotlib."""
    need("explain", "matplotlib")
    from matplotlib.figure import Figure

    rows = explanations.by_image()
    columns = 1 + max((len(row) for row in rows), default=0)
    figure = Figure(figsize=(columns * INCHES, max(1, len(rows)) * 1.15 * INCHES), layout="constrained")
    axes = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
    for row, own in zip(axes, rows, strict=False):
        row[0].imshow(as_rgb(own[0].picture))
        row[0].set_title(f"{own[0].input.rpartition('/')[2]}: {own[0].answered}", fontsize=9)
        for each, one in zip(row[1:], own, strict=False):
            each.imshow(one.overlay())
            mark = " (not to be trusted)" if one.warnings else ""
            each.set_title(f"{one.title}: {one.question}{mark}", fontsize=9)
    return figure
