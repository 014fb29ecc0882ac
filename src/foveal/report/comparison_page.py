"""The page of a comparison: one HTML document, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from foveal.files import write_text
from foveal.report import comparison_figures as figures
from foveal.report import comparison_wording as compare_say
from foveal.report import wording
from foveal.report.compared import Comparison, Disagreement
from foveal.report.thumbnails import make_thumbnails
from foveal.web import asset, page, templates
from foveal.web.svg import printable

HERE = "foveal.report"
MOST_IN_A_GROUP = 24
MOST_OF_MANY = 48


def write_comparison(comparison: Comparison, path: Path, pictures: Callable[[str], Image.Image | None]) -> Path:
    """Write the page of `comparison` and return its path.

    `pictures` gives the picture of an image by its content hash, or None when it cannot be found any more.
    Raises OutputError when the page cannot be written.
    """
    html = render_comparison(comparison, pictures)
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))  # names of files may hold what no encoder takes
    return path


def render_comparison(comparison: Comparison, pictures: Callable[[str], Image.Image | None]) -> str:
    """Return the comparison as one HTML document."""
    groups = disagreement_groups(comparison)
    shown = [one for _, members in groups for one in members]
    thumbnails = make_thumbnails([one.digest for one in shown], pictures)
    estimates = [run.accuracy for run in comparison.runs if run.accuracy]
    overlays = figures.overlays(comparison.runs)
    environment = templates(HERE)
    body = environment.get_template("comparison.html.jinja").render(
        comparison=comparison,
        runs=comparison.runs,
        pairs=comparison.pairs,
        say=wording,
        compare=compare_say,
        draw=figures,
        accuracy_scale=figures.scale_of(estimates) if estimates else None,
        pair_scale=figures.pair_scale(comparison.pairs),
        overlays=[(one, figures.overlay_svg(one)) for one in overlays],
        differing=comparison.differing,
        groups=groups,
        thumbnails=thumbnails,
        any_picture=any(thumbnails.values()),
    )
    return page(
        f"{title(comparison)} · Foveal",
        Markup(body),
        style=asset(HERE, "report.css") + asset(HERE, "comparison.css"),
        closed=True,
    )


def title(comparison: Comparison) -> str:
    """Return what is compared on what."""
    names = [run.name for run in comparison.runs]
    shown = " and ".join(names) if len(names) == 2 else f"{names[0]} and {len(names) - 1} other runs"
    return f"Comparison of {printable(shown)}"


def disagreement_groups(comparison: Comparison) -> list[tuple[str, Sequence[Disagreement]]]:
    """Return (heading, images) of what is shown of the disagreements: two runs by who is right, more in one list."""
    images = comparison.disagreements
    if len(comparison.runs) > 2:
        return (
            [(_heading("Images on which not all agree", images, MOST_OF_MANY), images[:MOST_OF_MANY])] if images else []
        )
    first, second = (run.letter for run in comparison.runs)
    found = (
        (f"Only {first} is right", [one for one in images if one.said[0].right]),
        (f"Only {second} is right", [one for one in images if one.said[1].right]),
        ("Both are wrong, each in its own way", [one for one in images if not one.right]),
    )
    return [(_heading(name, members, MOST_IN_A_GROUP), members[:MOST_IN_A_GROUP]) for name, members in found if members]


def _heading(name: str, members: Sequence[Disagreement], most: int) -> str:
    amount = wording.counted(len(members), "image")
    return f"{name}: {amount}" if len(members) <= most else f"{name}: the first {most} of {amount}"
