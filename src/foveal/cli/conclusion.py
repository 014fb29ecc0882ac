"""The last lines of a training: what came out, and where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from foveal.progress import duration
from foveal.run import Run

if TYPE_CHECKING:
    from foveal.workflows.folds import Folds
    from foveal.workflows.learning_curve import LearningCurve
    from foveal.workflows.repeat import Repeats


def print_conclusion(run: Run) -> None:
    """Print test accuracy with its interval and n, what the audit found, and the paths of report and classifier."""
    metrics, audit = run.metrics, run.audit
    accuracy, training = metrics["test"]["accuracy"], metrics["training"]
    for finding in audit["findings"]:
        typer.echo(f"note: {finding['sentence']}{' (accepted)' if finding['accepted'] else ''}")
    typer.echo(
        f"test accuracy  {accuracy['value']:.2%}  ({accuracy['level']:.0%} interval {accuracy['low']:.2%} to "
        f"{accuracy['high']:.2%}, {metrics['test']['n']:,} images, {accuracy['method']})"
    )
    print_operating(metrics["test"])
    early = ", stopped early" if training["stopped_early"] else ""
    early = ", ended by the time limit" if training.get("out_of_time") else early
    took = f"{_epochs(training['epochs'])} in {duration(training['seconds'])}"
    typer.echo(f"training       {took}, best epoch {training['best_epoch']}{early}")
    for stage in training.get("stages", []):
        if stage["epochs"]:
            typer.echo(
                f"  {stage['name']}: {_epochs(stage['epochs'])} in {duration(stage['seconds'])}, best validation loss "
                f"{stage['validation_loss']:.4f} ({stage['validation_accuracy']:.1%}) in epoch {stage['best_epoch']}"
            )
    typer.echo(f"report         {run.report_file}")
    typer.echo(f"classifier     {run.classifier_dir}")


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def print_operating(measured: Mapping[str, Any]) -> None:
    """Print what the operating point gives on the test images, or that there could be none; nothing without one."""
    operating, missed = measured.get("operating"), measured.get("operating_missed")
    if missed is not None:
        typer.echo(f"note: no operating point: {missed}")
    if operating is None:
        return
    binary, accuracy = operating["binary"], operating["accuracy"]
    told = f"operating point  {accuracy['value']:.2%} right ({accuracy['low']:.2%} to {accuracy['high']:.2%})"
    if binary is not None and binary["sensitivity"] and binary["specificity"]:
        rates = [
            f"{name} {binary[name]['value']:.1%} ({binary[name]['low']:.1%} to {binary[name]['high']:.1%})"
            for name in ("sensitivity", "specificity")
        ]
        rule = operating["operating"]
        told += f"; {rule['positive']} from {rule['threshold']:.1%} on: {', '.join(rates)}"
    typer.echo(told)


def print_folds(folds: Folds) -> None:
    """Print every fold's test accuracy, what all out-of-fold predictions say together, and the path of the page."""
    for number, (run, value) in enumerate(zip(folds.runs, folds.test_accuracy.values, strict=True), 1):
        typer.echo(f"fold {number:<4}  {value:.2%}  {run.path}")
    whole, mean = folds.metrics["accuracy"], folds.test_accuracy.mean
    typer.echo(
        f"accuracy   {whole['value']:.2%}  out of fold ({whole['level']:.0%} interval {whole['low']:.2%} to "
        f"{whole['high']:.2%}, {folds.metrics['n']:,} images, {whole['method']})"
    )
    typer.echo(
        f"           {mean.value:.2%}  mean of the folds ({mean.low:.2%} to {mean.high:.2%}, {mean.method}), "
        f"{100 * folds.test_accuracy.deviation:.2f} points standard deviation"
    )
    print_operating(folds.metrics)
    for name, one in folds.metrics["per_class"].items():
        if one["recall"]:
            recall = one["recall"]
            typer.echo(f"  {name}: recall {recall['value']:.1%} ({recall['low']:.1%} to {recall['high']:.1%})")
    typer.echo(f"report     {folds.page_file}")
    typer.echo(f"ensemble   {folds.path}")


def print_learning_curve(found: LearningCurve) -> None:
    """Print the validation accuracy with each number of images, what may be concluded, and the path of the page."""
    for share, point in zip(found.shares, found.curve.points, strict=True):
        error = point.error
        runs = "1 training" if len(point.errors) == 1 else f"{len(point.errors)} trainings"
        typer.echo(
            f"{round(point.images):>9,} images ({share:.0%})  {1 - error.value:.2%}  ({1 - error.high:.2%} to "
            f"{1 - error.low:.2%}, validation, {runs})"
        )
    typer.echo(found.sentence)
    if found.note:
        typer.echo(f"note: {found.note}")
    if found.test:
        accuracy = found.test["accuracy"]
        typer.echo(
            f"test accuracy  {accuracy['value']:.2%}  with all images ({accuracy['level']:.0%} interval "
            f"{accuracy['low']:.2%} to {accuracy['high']:.2%}, {found.test['n']:,} images, {accuracy['method']})"
        )
    typer.echo(f"report         {found.page_file}")


def print_spread(repeats: Repeats) -> None:
    """Print the test accuracy of every run, then mean, deviation and interval, and the path of the page."""
    for run, seed, value in zip(repeats.runs, repeats.seeds, repeats.test_accuracy.values, strict=True):
        typer.echo(f"seed {seed:<8}  {value:.2%}  {run.path}")
    mean, runs = repeats.test_accuracy.mean, len(repeats.runs)
    images = "the same test images" if repeats.same_test_images else "a new split each"
    typer.echo(f"test accuracy  {mean.value:.2%}  mean of {runs} runs, {images}")
    typer.echo(f"               {100 * repeats.test_accuracy.deviation:.2f} points standard deviation between runs")
    interval = f"{mean.level:.0%} interval of the mean, {mean.method}"
    typer.echo(f"               {mean.low:.2%} to {mean.high:.2%}  {interval}")
    if repeats.together is not None:
        one = repeats.together["accuracy"]
        typer.echo(
            f"together       {one['value']:.2%}  mean of their probabilities ({one['level']:.0%} interval "
            f"{one['low']:.2%} to {one['high']:.2%}, {one['method']})"
        )
        print_operating(repeats.together)
    typer.echo(f"report         {repeats.page_file}")
