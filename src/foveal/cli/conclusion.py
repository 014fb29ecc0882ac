"""The last lines of a training: what came out, and where it lies."""

from __future__ import annotations

import typer

from foveal.progress import duration
from foveal.run import Run


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
    epochs = "1 epoch" if training["epochs"] == 1 else f"{training['epochs']} epochs"
    early = ", stopped early" if training["stopped_early"] else ""
    typer.echo(
        f"training       {epochs} in {duration(training['seconds'])}, best epoch {training['best_epoch']}{early}"
    )
    typer.echo(f"report         {run.report_file}")
    typer.echo(f"classifier     {run.classifier_dir}")
