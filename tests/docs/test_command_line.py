"""The reference page of the command line is what the commands say of themselves.

``python tests/docs/test_command_line.py`` writes it anew.
"""

from __future__ import annotations

import re
import typing
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from foveal.cli.app import app
from foveal.errors import exit_codes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md"
HEAD = """# The command line

Written from `foveal … --help` by `python tests/docs/test_command_line.py`; the tests fail when it is out of date.
"""


def cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def kind(hint: Any) -> str:
    """Return what a value of the option is: its choices, text, path or number; nothing for a switch."""
    plain = [one for one in typing.get_args(hint) if one is not type(None)] or [hint]
    plain = typing.get_args(plain[0]) or plain  # list[str] may be repeated
    if isinstance(plain[0], type) and issubclass(plain[0], Enum):
        return ", ".join(f"`{one.value}`" for one in plain[0])
    return {bool: "", Path: "path", int: "number", float: "number"}.get(plain[0], "text")


def section(verb: str, command: Any, hints: dict[str, Any]) -> str:
    """Return the part of the page about one verb."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = [
        ("{}" if one.required else "[{}]").format(one.name.upper() + (" …" if one.nargs == -1 else ""))
        for one in arguments
    ]
    lines = [f"## foveal {verb}", "", f"`foveal {' '.join([verb, *words, '[OPTIONS]'])}`", "", cell(command.help), ""]
    if arguments:
        lines += ["| argument | |", "|---|---|"]
        lines += [f"| `{one.name.upper()}` | {cell(one.help or '')} |" for one in arguments] + [""]
    panels: dict[str, list[Any]] = {}
    for one in options:
        panels.setdefault(getattr(one, "rich_help_panel", None) or "Options", []).append(one)
    for panel, members in panels.items():
        lines += [f"| {panel} | value | |", "|---|---|---|"]
        for one in members:
            names = " ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
            lines.append(f"| {names} | {kind(hints.get(one.name, str))} | {cell(one.help or '')} |")
        lines.append("")
    return "\n".join(lines)


def verbs(group: Any, before: str = "") -> dict[str, Any]:
    """Return verb → command, those of a group as ``data show``."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = verbs(command, f"{before}{name} ") if hasattr(command, "commands") else {f"{before}{name}": command}
        found.update(inner)
    return found


def page() -> str:
    sections = [
        section(verb, command, typing.get_type_hints(command.callback.__wrapped__))
        for verb, command in verbs(typer.main.get_command(app)).items()
    ]
    codes = [
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---:|---|",
        *(f"| {code} | {one} |" for code, one in exit_codes()),
    ]
    root = ["`foveal --version` prints the version; `-h` or `--help` after any verb prints its help.", ""]
    return "\n".join([HEAD, *root, *sections, *codes]) + "\n"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "out of date; run: python tests/docs/test_command_line.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
