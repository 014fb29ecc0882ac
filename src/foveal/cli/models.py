"""foveal models: the catalog as a table."""

from __future__ import annotations

import typer


def models() -> None:
    """List the architectures: name, year, parameters at the native input, title."""
    from foveal.models.catalog import CATALOG

    width = max(len(name) for name in CATALOG)
    typer.echo(f"{'name':<{width}}  year  parameters  input (C×H×W)  network")
    for entry in CATALOG.values():
        shape = "×".join(str(size) for size in entry.native_input)
        typer.echo(f"{entry.name:<{width}}  {entry.year}  {entry.parameters:>10,}  {shape:<13}  {entry.title}")
