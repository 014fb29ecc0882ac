"""foveal robustness: a run's test images, damaged more and more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.completion import complete_run, complete_source
from foveal.cli.parsing import ENGINES, DataDir, Trust

if TYPE_CHECKING:
    from foveal.evaluation.robustness import Robustness


def robustness(
    run: Annotated[Path, typer.Argument(help="A finished run directory.", autocompletion=complete_run)],
    source: Annotated[
        str | None,
        typer.Argument(
            help="Where the run's images lie now (default: where its recipe says).",
            show_default=False,
            autocompletion=complete_source,
        ),
    ] = None,
    corruption: Annotated[
        list[str] | None, typer.Option(help="Only this corruption, e.g. jpeg; may be repeated (default: all ten).")
    ] = None,
    images: Annotated[int, typer.Option(help="So many test images at most, drawn by lot where there are more.")] = 2000,
    shifts: Annotated[int, typer.Option(help="Move images by up to so many pixels; 0 leaves that out.")] = 4,
    data_dir: DataDir = None,
    engine: Annotated[str, typer.Option(help=ENGINES)] = "torch",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the noise and the draw of images.")] = 0,
    trust: Trust = None,
) -> None:
    """Damage a run's test images (noise, blur, JPEG, light, geometry) and see what its answers are worth; a page."""
    from foveal.workflows.robustness import robustness as run_robustness

    result = run_robustness(
        run,
        source,
        corruptions=corruption,
        images=images,
        shifts=shifts,
        data_dir=data_dir,
        engine=engine,
        device=device,
        trust=trust,
        seed=seed,
    )
    for line in _lines(result):
        typer.echo(line.replace("\N{NO-BREAK SPACE}", " "))


def _lines(result: Robustness) -> Iterator[str]:
    """Yield the conclusion, accuracy by corruption and strength, the shifts, and where the page lies."""
    from foveal.report.robustness import conclusion, endured, known

    yield conclusion(result)
    yield known(result)
    yield ""
    width = max(len(curve.title) for curve in result.curves)
    yield f"{'accuracy, %':<{width}}  {'mild':>5}{'severe':>28}  {'mean':>5}  five points are lost"
    for curve in result.curves:
        shares = "  ".join(f"{100 * one.accuracy.value:5.1f}" for one in curve.conditions)
        yield f"{curve.title:<{width}}  {shares}  {100 * curve.mean_accuracy:5.1f}  {endured(curve)}"
    if result.shifts:
        yield ""
        said = ", ".join(f"{one.pixels} px {one.consistency.value:.1%}" for one in result.shifts)
        yield f"the same answer after a shift by {said}"
    yield f"speed   {result.images_per_s:,.0f} images/s, {result.asked:,} in all"
    yield f"page    {result.page_file}"
