"""foveal predict: images in; a table, CSV or JSON lines out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from foveal.cli.completion import complete_run
from foveal.cli.parsing import ENGINES, Trust, image_paths
from foveal.errors import DataError, OutputError, listed

if TYPE_CHECKING:
    from foveal.classifier import Prediction

    Writer = Callable[[Prediction], None]


class Format(StrEnum):
    table = "table"
    csv = "csv"
    jsonl = "jsonl"


def predict(
    classifier: Annotated[
        Path, typer.Argument(help="A run directory, or its classifier folder.", autocompletion=complete_run)
    ],
    images: Annotated[list[str], typer.Argument(help="Image files and folders.")],
    format: Annotated[Format, typer.Option(help="table, csv or jsonl.")] = Format.table,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Table: how many classes to show.")] = 3,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Exit with 0 although images cannot be read.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    engine: Annotated[
        str, typer.Option(help=ENGINES + " auto: the fastest fp32 engine exported and installed.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: as many as cores).")] = None,
    trust: Trust = None,
) -> None:
    """Predict the class of images. Those that cannot be read are listed at the end, and the exit code is 3."""
    from foveal.classifier import Classifier, Prediction
    from foveal.progress import Progress

    paths = image_paths(images)
    if out is not None and out.exists():
        raise OutputError(f"{out} exists already; choose another --out.")
    loaded = Classifier.load(classifier, device=device, trust=trust, engine=engine, threads=threads)
    if threads is not None and loaded.runner is None:
        import torch

        torch.set_num_threads(threads)
    failures = []
    with (
        Progress(silent=len(paths) < 100) as progress,
        progress.stage("predicting", len(paths)) as stage,
        _writer(format, out, loaded.classes, top) as write,
    ):
        for one in loaded.stream(paths):
            if isinstance(one, Prediction):
                write(one)
            else:
                failures.append(str(one))
            stage.advance()
    if failures:
        sentence = f"{len(failures)} of {len(paths)} images cannot be used:\n{listed(failures, 100)}"
        if not skip_unreadable:
            raise DataError(sentence)
        typer.echo(f"foveal: {sentence}", err=True)


@contextmanager
def _writer(kind: Format, out: Path | None, classes: tuple[str, ...], top: int) -> Iterator[Writer]:
    """Yield a function that writes one prediction; a file appears under its name only when it is whole."""
    if out is None and sys.stdout is None:
        raise OutputError("There is no standard output to write to; name a file with --out.")
    if out is None:
        yield _formatted(kind, sys.stdout, classes, top)
        return
    from foveal.files import replacing

    with replacing(out) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        yield _formatted(kind, stream, classes, top)


def _formatted(kind: Format, stream: TextIO, classes: tuple[str, ...], top: int) -> Writer:
    if kind is Format.csv:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(
            [
                *("input", "label", "probability", *(f"p:{name}" for name in classes)),
                *("input_hash", "classifier_hash", "engine", "abstain", "prediction_set"),
            ]
        )
        return lambda one: table.writerow(
            [
                *(one.input, one.label, one.probability, *one.probabilities.values()),
                *(one.input_hash, one.classifier_hash, one.engine, one.abstain),
                " | ".join(one.prediction_set or ()),
            ]
        )
    if kind is Format.jsonl:
        return lambda one: print(json.dumps(vars(one), ensure_ascii=False), file=stream)
    return lambda one: print(_line(one, top), file=stream)


def _line(one: Prediction, top: int) -> str:
    """Return the input, its most probable classes, and what is answered where that is another or should not be."""
    parts = [one.input, *(f"{name} {probability:.1%}" for name, probability in one.top(top))]
    if one.label != one.top(1)[0][0]:
        parts.append(f"answered: {one.label} ({one.threshold})")
    if one.abstain:
        parts.append(f"ABSTAINS: {one.abstain}")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in "  ".join(parts))
