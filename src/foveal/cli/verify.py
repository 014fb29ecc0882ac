"""foveal verify: whether what a run tells follows from what it stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.completion import complete_run, complete_source
from foveal.cli.parsing import Trust
from foveal.errors import ClassifierError


def verify(
    run: Annotated[Path, typer.Argument(help="A run directory.", autocompletion=complete_run)],
    source: Annotated[
        str | None, typer.Argument(help="Where its images are now, if they moved.", autocompletion=complete_source)
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="How many test images to predict again; 0: none.")] = 50,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    trust: Trust = None,
) -> None:
    """Recompute every figure of a run from its stored predictions, check its hashes, and predict a sample again."""
    from foveal.workflows.verify import verify as run_verification

    found = run_verification(run, source, sample=sample, device=device, trust=trust)
    marks = {True: "holds   ", False: "FAILS   ", None: "unasked "}
    for check in found.checks:
        typer.echo(f"{marks[check.holds]}{check.name}: {check.sentence}")
    if not found.holds:
        wrong = sum(check.holds is False for check in found.checks)
        raise ClassifierError(
            f"{wrong} of {len(found.checks)} checks of {run} fail, so its figures cannot be relied on."
        )
