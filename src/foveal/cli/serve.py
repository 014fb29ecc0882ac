"""foveal serve: a classifier at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.completion import complete_run
from foveal.errors import MissingPartError

if TYPE_CHECKING:
    from foveal.serving.service import Service


def serve(
    classifier: Annotated[
        Path | None,
        typer.Argument(help="A run or classifier folder.", show_default=False, autocompletion=complete_run),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in TOML; FOVEAL_SERVE_… and options go before it.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (default: 8000); 0 takes a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of everything that is kept (default: foveal-data).")] = None,
    database: Annotated[str | None, typer.Option(help="postgresql://… (default: SQLite in the data folder).")] = None,
    engine: Annotated[
        str | None, typer.Option(help="auto, torch, openvino, onnx, openvino-int8, onnx-int8 (default: auto).")
    ] = None,
    guests: Annotated[
        bool | None, typer.Option("--guests/--no-guests", help="Whether who sits here needs no account.")
    ] = None,
    watch: Annotated[Path | None, typer.Option(help="A folder whose new images are received.")] = None,
) -> None:
    """Serve a classifier: a REST API, pages for people, a record of everything."""
    try:
        from foveal.serving.run import serve as run
        from foveal.serving.settings import load_settings
    except ModuleNotFoundError as error:
        raise MissingPartError(f"{error.name} is not installed: pip install 'foveal[serve]'") from error
    options: dict[str, Any] = {
        "classifier": _text(classifier), "host": host, "port": port, "data": _text(data), "database": database,
        "engine": engine, "guests": guests, "watch": _text(watch),
    }  # fmt: skip
    run(load_settings(config, None, options), ready=_say_where)


def _say_where(address: str, service: Service) -> None:
    served = service.served
    typer.echo(f"serving   {served.name} ({served.architecture}, {served.engine}): {', '.join(served.classes)}")
    typer.echo(f"page      {address}/")
    typer.echo(f"API       {address}/v1/predict    described at {address}/openapi.json")
    typer.echo(f"kept in   {service.settings.data_folder}")
    typer.echo("Investigational; not for diagnosis. Ctrl-C stops it.")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
