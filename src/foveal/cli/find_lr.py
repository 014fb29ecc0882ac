"""foveal find-lr: which learning rate looks right, as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli.completion import complete_source
from foveal.cli.parsing import Trust
from foveal.cli.recipe_options import option, recipe_options, with_recipe_options


@with_recipe_options
def find_lr(
    source: Annotated[
        str | None,
        typer.Argument(help="As for `foveal train`.", show_default=False, autocompletion=complete_source),
    ] = None,
    out: Annotated[Path | None, option(help="The folder to make (default: runs/SOURCE-MODEL-learning-rate).")] = None,
    recipe: Annotated[Path | None, option(help="A recipe.toml to start from; options change it.")] = None,
    trust: Trust = None,
    **options: Any,
) -> None:
    """Let the learning rate climb for some 160 steps and see where the loss falls; a plot, a rate and a command."""
    from foveal.progress import Progress
    from foveal.workflows.find_rate import find_rate, refuse_rate
    from foveal.workflows.plan import given_recipe

    changes = recipe_options(**options)
    refuse_rate(changes)
    with Progress() as progress:
        found = find_rate(source, given_recipe(recipe, changes, source, trust=trust), out, progress)
    test = found.test
    if test.bottom is None or found.learning_rate is None:
        typer.echo("The loss never fell clearly, so no learning rate is suggested; look at the plot.")
    else:
        typer.echo(f"the loss fell  fastest at {test.steepest:.2g}, nearly all the way until {test.bottom:.2g}")
        typer.echo(f"learning rate  {found.learning_rate:g}")
        typer.echo(f"train with it  {found.command}")
    typer.echo(f"plot           {found.page_file}")
