"""foveal models: the catalog as a table, or the layers of one network."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[
        str | None, typer.Argument(help="A network whose layers to list, at its native input.", show_default=False)
    ] = None,
) -> None:
    """List the architectures: name, year, parameters at the native input, title; or the layers of one."""
    if name is None:
        print_catalog()
    else:
        print_layers(name)


def print_catalog() -> None:
    """Print one line an architecture."""
    from foveal.models.catalog import CATALOG

    width = max(len(name) for name in CATALOG)
    typer.echo(f"{'name':<{width}}  year  parameters  input (C×H×W)  network")
    for entry in CATALOG.values():
        shape = "×".join(str(size) for size in entry.native_input)
        typer.echo(f"{entry.name:<{width}}  {entry.year}  {entry.parameters:>10,}  {shape:<13}  {entry.title}")


def print_layers(name: str) -> None:
    """Print one line a layer of the network called `name`, and the sums; UsageError when there is none."""
    from foveal.models.anatomy import layer_table
    from foveal.models.catalog import create_model, find

    entry = find(name)
    channels, height, width = entry.native_input
    network = create_model(entry.name, classes=entry.native_classes, channels=channels, size=(height, width))
    layers = layer_table(network, channels, height, width)
    sums = [sum(getattr(layer, what) for layer in layers) for what in ("parameters", "connections", "macs")]
    names, types, outputs = (max(len(getattr(layer, what)) for layer in layers) for what in ("name", "type", "output"))
    line = f"{{:<{max(names, 5)}}}  {{:<{types}}}  {{:<{outputs}}}  {{:>10}}  {{:>13}}  {{:>13}}"
    typer.echo(f"{entry.title} ({entry.year}), input {'×'.join(str(one) for one in entry.native_input)}")
    typer.echo(line.format("layer", "type", "output", "parameters", "connections", "multiply-adds"))
    for layer in layers:
        counts = (f"{one:,}" if one else "–" for one in (layer.parameters, layer.connections, layer.macs))
        typer.echo(line.format(layer.name, layer.type, layer.output, *counts))
    typer.echo(line.format("sum", "", "", *(f"{one:,}" for one in sums)))
