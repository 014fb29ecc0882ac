"""foveal evaluate: a classifier on other labelled images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.completion import complete_run, complete_source
from foveal.cli.parsing import ENGINES, DataDir, GroupColumn, LabelColumn, PathColumn, SliceBy, SourceColumn, Trust


class Role(StrEnum):
    other = "other"
    external = "external"


class Members(StrEnum):
    dropout = "dropout"
    augment = "augment"
    folds = "folds"


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory.", autocompletion=complete_run)],
    source: Annotated[
        str, typer.Argument(help="Labelled images: as for `foveal train`.", autocompletion=complete_source)
    ],
    name: Annotated[str | None, typer.Option(help="What to call the evaluation (default: the source's name).")] = None,
    data_dir: DataDir = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    source_column: SourceColumn = None,
    slice_by: SliceBy = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")
    ] = False,
    accept: Annotated[list[str] | None, typer.Option(help="Go on despite this finding: trained-on.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    engine: Annotated[
        str, typer.Option(help=ENGINES + " torch by default: a figure should not hang on what is installed.")
    ] = "torch",
    role: Annotated[
        Role, typer.Option("--as", help="external: another place's images, held against the internal test.")
    ] = Role.other,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="External: what a calibration fitted on these images would do.")
    ] = False,
    members: Annotated[
        Members | None,
        typer.Option(help="Ask several times: dropout left on, augmented views, or folds."),
    ] = None,
    trust: Trust = None,
) -> None:
    """Evaluate a classifier on other images with the same classes; kept under evaluations/NAME/."""
    from foveal.data.sources.manifest import Columns
    from foveal.workflows.evaluate import evaluate as run_evaluation

    columns = Columns(path_column, label_column, group_column, source_column, slices=tuple(slice_by or ()))
    result = run_evaluation(
        run,
        source,
        name=name,
        columns=columns,
        data_dir=data_dir,
        skip_unreadable=skip_unreadable,
        accept=tuple(accept or ()),
        device=device,
        engine=engine,
        role=role.value,
        recalibrate=recalibrate,
        members=members.value if members else None,
        trust=trust,
    )
    accuracy = result["accuracy"]
    typer.echo(
        f"accuracy  {accuracy['value']:.2%}  ({accuracy['level']:.0%} interval {accuracy['low']:.2%} to "
        f"{accuracy['high']:.2%}, {result['n']:,} images, {accuracy['method']})  loss {result['loss']:.4f}"
    )
    width = max(len(one) for one in result["classes"])
    for label, one in result["per_class"].items():
        figures = [one["precision"] and one["precision"]["value"], one["recall"] and one["recall"]["value"], one["f1"]]
        shown = "  ".join("     –" if value is None else f"{value:6.1%}" for value in figures)
        typer.echo(f"  {label:<{width}}  precision, recall, F1  {shown}  ({one['support']:,} images)")
    for told in ("external", "recalibrated"):
        if told in result:
            typer.echo(result[told]["sentence"])
    if "uncertainty" in result:
        for measure, one in result["uncertainty"]["auc"].items():
            area = "undefined" if one is None else f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
            typer.echo(f"  wrong answers told by {measure.replace('_', ' ')}: AUC {area}")
    if result["note"]:
        typer.echo(f"note: {result['note']}")
    typer.echo(f"report  {result['page']}")
