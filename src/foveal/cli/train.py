"""foveal train: a source in, a run directory out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli.completion import complete_run, complete_source
from foveal.cli.parsing import Trust
from foveal.cli.recipe_options import option, recipe_options, with_recipe_options


@with_recipe_options
def train(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A folder or archive of class folders, a manifest, IDX, CIFAR or NPZ files, or a name: digits, mnist.",
            show_default=False,
            autocompletion=complete_source,
        ),
    ] = None,
    out: Annotated[Path | None, option(help="The run directory to make (default: runs/SOURCE-MODEL).")] = None,
    resume: Annotated[
        Path | None, option(help="Go on with an interrupted run, exactly.", autocompletion=complete_run)
    ] = None,
    recipe: Annotated[Path | None, option(help="A recipe.toml to start from; options change it.")] = None,
    repeats: Annotated[
        int | None, option(help="Train so many runs, with the seeds seed, seed + 1, …, for mean and spread.")
    ] = None,
    folds: Annotated[
        int | None, option(help="Train so many runs, each tested on another part of the images, no group torn.")
    ] = None,
    learning_curve: Annotated[
        bool, option("--learning-curve", help="Train on growing parts of the training images: would more help?")
    ] = False,
    shares: Annotated[
        str | None, option(help="Learning curve: the parts (default: 0.1,0.2,0.4,0.7,1), each --repeats times.")
    ] = None,
    trust: Trust = None,
    new_split: Annotated[bool, option("--new-split", help="Repeats: each draws a split of its own.")] = False,
    **options: Any,
) -> None:
    """Train a classifier; test it once, report it, and keep everything in a run directory."""
    from foveal.cli.conclusion import print_conclusion, print_folds, print_learning_curve, print_spread
    from foveal.errors import UsageError

    changes = recipe_options(**options)
    if learning_curve or shares is not None or (resume is not None and (resume / "learning_curve.json").is_file()):
        from foveal.workflows.learning_curve import REPEATS, SHARES, learning_curve_or_resume

        if folds is not None or new_split:
            raise UsageError("A learning curve trains on parts of one split; it takes no folds and no new split.")
        if resume is not None and (shares is not None or repeats is not None or learning_curve):
            raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
        parts = SHARES if shares is None else parse_shares(shares)
        times = REPEATS if repeats is None else repeats
        print_learning_curve(
            learning_curve_or_resume(
                source,
                shares=parts,
                repeats=times,
                recipe=recipe,
                changes=changes,
                out=out,
                resume=resume,
                trust=trust,
            )
        )
    elif folds is not None or (resume is not None and (resume / "folds.json").is_file()):
        from foveal.workflows.folds import train_folds

        if repeats is not None or new_split:
            raise UsageError("Folds and repeats are two ways to train several runs; give only one of them.")
        if resume is not None and (changes or folds is not None or recipe is not None or out is not None):
            raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
        print_folds(
            train_folds(source, folds or 0, recipe=recipe, changes=changes, out=out, resume=resume, trust=trust)
        )
    elif repeats is not None or new_split or (resume is not None and (resume / "repeats.json").is_file()):
        from foveal.workflows.repeat import repeat_or_resume

        print_spread(
            repeat_or_resume(
                source,
                times=repeats,
                recipe=recipe,
                changes=changes,
                new_split=new_split,
                out=out,
                resume=resume,
                trust=trust,
            )
        )
    else:
        from foveal.workflows.train import train as run_training

        print_conclusion(run_training(source, out=out, resume=resume, recipe=recipe, trust=trust, **changes))


def parse_shares(text: str) -> tuple[float, ...]:
    """``0.1,0.4,1`` → those numbers; UsageError for anything else."""
    from foveal.errors import UsageError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--shares takes numbers with commas between them, such as 0.1,0.4,1, not {text}.") from error
