"""foveal measure: every figure that stored predictions give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.errors import UsageError


def measure(
    predictions: Annotated[Path | None, typer.Argument(help="predictions.csv of a run or of another tool.")] = None,
    classes: Annotated[str | None, typer.Option(help="The classes in their order, with commas.")] = None,
    by: Annotated[list[str] | None, typer.Option(help="Measure each value of this column apart; repeat it.")] = None,
    prevalence: Annotated[
        list[str] | None, typer.Option(help="CLASS=SHARE where it will be used, for PPV and NPV there; repeat it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this file as JSON, too.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the figures only.")] = False,
) -> None:
    """Measure stored predictions: every figure with its interval, calibration, slices."""
    if schema:
        from importlib.resources import files

        typer.echo(files("foveal.evaluation").joinpath("metrics.schema.json").read_text("utf-8"), nl=False)
        return
    if predictions is None:
        raise UsageError("Name a file of predictions: foveal measure runs/x/evaluations/test/predictions.csv.")
    from foveal.workflows.measure import measure as run_measure

    names = [name.strip() for name in classes.split(",")] if classes else None
    found = run_measure(predictions, classes=names, by=tuple(by or ()), prevalence=_shares(prevalence or []), out=out)
    _print(found)


def _shares(pairs: list[str]) -> dict[str, float]:
    shares = {}
    for pair in pairs:
        name, _, text = pair.rpartition("=")
        try:
            shares[name] = float(text)
        except ValueError as error:
            raise UsageError(f"--prevalence is CLASS=SHARE, as in pneumonia=0.02, not {pair}.") from error
    return shares


def _print(found: Mapping[str, Any]) -> None:
    from foveal.report.doubtful import slice_sentence
    from foveal.report.figures import CLASS_FIGURES, all_figures, cell, of_class
    from foveal.report.wording import NOTHING, counted

    size = f"{counted(found['n'], 'image')}, {counted(found['units'], 'independent unit')}"
    typer.echo(f"{size}, {counted(len(found['classes']), 'class', 'classes')}")
    if found["too_small"]:
        typer.echo("n too small: fewer than 5 independent units in all, or of a class; a figure of 1 is not perfection")
    for title, one in all_figures(found):
        typer.echo(f"{title:<36} {one.value:7.4f}  ({one.low:.4f} to {one.high:.4f}, {one.method})")
    for name in found["classes"]:
        one = found["per_class"][name]
        typer.echo(f"{name}: {counted(one['support'], 'image')}{'  (n too small)' if one['too_small'] else ''}")
        if one["too_small"]:
            continue
        for key, title in CLASS_FIGURES.items():
            typer.echo(f"  {title:<18} {of_class(one, key)}")
        if one["stated_prevalence"] is not None:
            share = one["stated_prevalence"]
            for key, title in (("ppv_at", "PPV"), ("npv_at", "NPV")):
                typer.echo(f"  {f'{title} at {share:.3g}':<18} {cell(one[key]) if one[key] else NOTHING}")
    typer.echo(found["calibration"]["sentence"])
    for one in found.get("slices", []):
        typer.echo(slice_sentence(one))
        for each in one["slices"]:
            typer.echo(f"  {each['value']:<18} {each['n']:>7,} images  accuracy {cell(each['accuracy'])}")
