"""foveal data: looking at a source before training on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.completion import complete_source
from foveal.cli.parsing import DataDir, GroupColumn, LabelColumn, PathColumn, SourceColumn, SplitColumn, parse_size
from foveal.errors import AuditError

if TYPE_CHECKING:
    from foveal.data.summary import Summary

MOST_UNREADABLE = 20
MOST_SOURCES = 4  # as columns of the table

SourceArgument = Annotated[str, typer.Argument(help="Images: as for `foveal train`.", autocompletion=complete_source)]

app = typer.Typer(help="Look at a source before training on it.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Look at a source before training on it."""


@app.command("show")
def show(
    source: SourceArgument,
    out: Annotated[
        Path | None, typer.Option(help="The page to write (default: NAME-contact-sheet.html, here).")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="Also show what training would see: photo, digit, xray, or strengths.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Of what training would see: side or HEIGHTxWIDTH (default: 224).")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Fit images as this network, or its weights, want them.")
    ] = None,
    per_class: Annotated[int, typer.Option(min=1, help="How many images of each class the page shows.")] = 12,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    source_column: SourceColumn = None,
    split_column: SplitColumn = None,
    data_dir: DataDir = None,
) -> None:
    """Print classes, splits, groups, sources and sizes of a source, and write its contact sheet as a page."""
    from foveal.data.sources.manifest import Columns
    from foveal.workflows.show import show as show_source

    columns = Columns(path_column, label_column, group_column, source_column, split_column)
    shown = show_source(
        source,
        out=out,
        per_class=per_class,
        columns=columns,
        data_dir=data_dir,
        augment=augment,
        size=parse_size(size),
        model=model,
    )
    _print(shown.summary)
    typer.echo(f"contact sheet  {shown.page}")


@app.command("check")
def check(
    source: SourceArgument,
    out: Annotated[Path | None, typer.Option(help="The page to write (default: NAME-check.html, here).")] = None,
    fix: Annotated[
        Path | None, typer.Option(help="Also write a cleaned manifest, for `foveal train SOURCE --manifest`.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="A manifest to lay over the source first.")] = None,
    embedding: Annotated[
        str, typer.Option(help="The pretrained network that tells near duplicates and doubtful labels, or none.")
    ] = "efficientnet_lite0",
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    source_column: SourceColumn = None,
    split_column: SplitColumn = None,
    data_dir: DataDir = None,
) -> None:
    """Look for duplicates, leaks, doubtful labels and shortcuts; print what was found, and write it as a page."""
    from foveal.data.sources.manifest import Columns
    from foveal.workflows.check import check as check_source

    columns = Columns(path_column, label_column, group_column, source_column, split_column)
    checked = check_source(
        source, out=out, fix=fix, manifest=manifest, embedding=embedding, columns=columns, data_dir=data_dir
    )
    findings = "1 finding" if len(checked.findings) == 1 else f"{len(checked.findings)} findings"
    _say(f"{checked.name}: {checked.images:,} images, {findings}")
    for finding in checked.findings:
        _say(f"{'blocks' if finding.severity == 'block' else 'note':<7} {finding.name}: {finding.sentence}")
    for one in sorted((one for one in checked.whole.told if one.is_told), key=lambda one: -one.auc):
        _say(f"        {'shortcut' if one.is_shortcut else 'told by':<9} {one.sentence}")
    for line in checked.done:
        _say(f"fixed   {line}")
    typer.echo(f"page     {checked.page}")
    typer.echo(f"numbers  {checked.json}")
    if checked.cleaned is not None:
        typer.echo(f"manifest {checked.cleaned}")
    if checked.still_blocking:
        _say(f"         it still blocks training: {', '.join(checked.still_blocking)}")
    if any(finding.severity == "block" for finding in checked.findings):
        raise typer.Exit(AuditError.exit_code)


@app.command("split")
def split(
    source: SourceArgument,
    out: Annotated[Path, typer.Option(help="The manifest to write, for `foveal train SOURCE --manifest`.")],
    by: Annotated[
        str, typer.Option(help="random, time (the latest are tested), or source (each left out).")
    ] = "random",
    folds: Annotated[int | None, typer.Option(help="So many manifests, each tested on another part.")] = None,
    dates: Annotated[
        Path | None, typer.Option(help="By time: a CSV with record_id and date; DICOM files know theirs.")
    ] = None,
    validation: Annotated[float, typer.Option(help="Share of images for validation.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share of images for the test.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Of the lot.")] = 0,
    manifest: Annotated[Path | None, typer.Option(help="A manifest to lay over the source first.")] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    source_column: SourceColumn = None,
    data_dir: DataDir = None,
) -> None:
    """Divide a source so that no group is torn, and write the division as a manifest, proved clean."""
    from foveal.data.sources.manifest import Columns
    from foveal.workflows.divide import divide

    columns = Columns(path_column, label_column, group_column, source_column)
    divided = divide(
        source, out, by=by, folds=folds, dates=dates, validation=validation, test=test, seed=seed,
        manifest=manifest, columns=columns, data_dir=data_dir,
    )  # fmt: skip
    for file, counts in zip(divided.files, divided.counts, strict=True):
        _say(f"{file}  {', '.join(f'{count:,} {name}' for name, count in counts.items())}")
    for sentence in dict.fromkeys(divided.sentences):
        _say(f"proved  {sentence}")
    for finding in divided.findings:
        _say(f"note    {finding.name}: {finding.sentence}")


def _print(summary: Summary) -> None:
    where = f", from {summary.origin}" if summary.origin not in ("", summary.name) else ""
    _say(f"{summary.name}: {summary.images:,} images in {len(summary.classes):,} classes{where}")
    for row in _table(summary):
        _say(row)
    for what, words in summary.facts():
        _say(f"{what:<14} {words}")
    for record, reason in summary.unreadable[:MOST_UNREADABLE]:
        _say(f"  {record}: {reason}")
    if len(summary.unreadable) > MOST_UNREADABLE:
        typer.echo(f"  … and {len(summary.unreadable) - MOST_UNREADABLE:,} more, on the page")


def _table(summary: Summary) -> list[str]:
    """Return the classes as the lines of a table: images, share, given splits, groups, and a few sources."""
    sources = list(summary.sources) if len(summary.sources) <= MOST_SOURCES else []
    head = ["class", "images", "share", *summary.splits, *(["groups"] if summary.groups else []), *sources]
    rows = [
        [
            one.name,
            f"{one.images:,}",
            f"{one.images / summary.images:.1%}",
            *(f"{one.splits.get(split, 0):,}" for split in summary.splits),
            *([f"{one.groups:,}"] if summary.groups else []),
            *(f"{one.sources.get(source, 0):,}" for source in sources),
        ]
        for one in summary.classes
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            [f"{row[0]:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (head, *rows)
    ]


def _say(text: str) -> None:
    """Print a line in which names of the data stand, what cannot be printed made visible."""
    typer.echo("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text))
