"""foveal doctor: the environment, and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.workflows.doctor import Checkup


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")] = False,
) -> None:
    """Examine the installation and the machine; the exit code is 1 when something is broken, 0 for hints or nothing."""
    from foveal.workflows.doctor import examine

    found = examine()
    typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(found)))
    if found.broken:
        raise typer.Exit(FovealError.exit_code)


def _lines(found: Checkup) -> list[str]:
    """Return the report: sections with their facts, then what is wrong and what to do."""
    lines: list[str] = []
    for title, facts in found.sections.items():
        known = {name: value for name, value in facts.items() if value is not None}
        width = max(map(len, known), default=0)
        lines += [title, *(f"  {name:<{width}}  {value}" for name, value in known.items()), ""]
    if not found.troubles:
        return [*lines, "Everything is in order."]
    for one in sorted(found.troubles, key=lambda one: not one.broken):
        lines += [f"{'BROKEN' if one.broken else 'hint'}: {one.what}", f"  {one.do}"]
    if not found.broken:
        lines.append("Everything works.")
    return lines
