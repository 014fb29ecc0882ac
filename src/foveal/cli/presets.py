"""foveal presets: recipes by name, or the file of one."""

from __future__ import annotations

from typing import Annotated

import typer


def presets(
    name: Annotated[str | None, typer.Argument(help="A preset whose file to print.", show_default=False)] = None,
) -> None:
    """List the presets: what each is for, what to expect of it, and the command that was measured."""
    from foveal.training.preset import find_preset
    from foveal.training.preset import presets as all_presets

    if name is not None:
        typer.echo(find_preset(name).text.rstrip())
        return
    width = max(len(one) for one in all_presets())
    for preset in all_presets().values():
        typer.echo(f"{preset.name:<{width}}  {preset.about}")
        for word, line in (("expect", preset.expected), ("spread", preset.spread), ("run", preset.command)):
            typer.echo(f"{'':<{width}}  {word:<6}  {line}")
