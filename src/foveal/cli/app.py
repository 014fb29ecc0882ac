"""The command `foveal` and its verbs. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

from typing import Annotated

import typer

import foveal
from foveal.cli import (
    backup,
    compare,
    data,
    database,
    doctor,
    evaluate,
    explain,
    export,
    find_lr,
    inspect,
    keys,
    measure,
    models,
    predict,
    presets,
    robustness,
    serve,
    trail,
    train,
    users,
    verify,
    weights,
)
from foveal.errors import exit_codes

EPILOG = "\n".join(["Exit codes:", *(f"{code:>5}  {meaning}" for code, meaning in exit_codes())])

app = typer.Typer(
    name="foveal",
    help="Image classifiers that you can look inside, prove, and put to work.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("measure")(measure.measure)
app.command("verify")(verify.verify)
app.command("explain")(explain.explain)
app.command("export")(export.export)
app.command("models")(models.models)
app.command("inspect")(inspect.inspect)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")
app.add_typer(users.app, name="users")
app.add_typer(keys.app, name="keys")
app.command("find-lr")(find_lr.find_lr)
app.command("presets")(presets.presets)
app.command("compare")(compare.compare)
app.command("robustness")(robustness.robustness)
app.command("serve")(serve.serve)
app.add_typer(trail.app, name="trail")
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("erase")(backup.erase)
app.add_typer(database.app, name="database")
app.command("doctor")(doctor.doctor)


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
