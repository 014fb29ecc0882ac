"""The command `foveal` and its verbs. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

from typing import Annotated

import typer

import foveal
from foveal.cli import evaluate, models, predict, train
from foveal.errors import exit_codes

EPILOG = "\n".join(["Exit codes:", *(f"{code:>5}  {meaning}" for code, meaning in exit_codes())])

app = typer.Typer(
    name="foveal",
    help="Image classifiers that you can look inside, prove, and put to work.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("models")(models.models)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"foveal {foveal.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version
