"""What ``--help`` says: the exit codes, and every option of every verb."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from foveal import errors
from foveal.cli.app import app

GROUP = typer.main.get_command(app)


def every_command(group: Any, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the words of every command → the command: (``train``,), (``data``,), (``data``, ``show``), …."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        found[(*before, name)] = command
        if hasattr(command, "commands"):
            found.update(every_command(command, (*before, name)))
    return found


COMMANDS = every_command(GROUP)
VERBS = sorted(COMMANDS)


@functools.cache
def help_of(*verb: str) -> str:
    """Return the help as one line of words, printed wide and without a frame."""
    environment = {**os.environ, "COLUMNS": "300", "TERMINAL_WIDTH": "300", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-c", "from foveal.cli import main; main()", *verb, "--help"],
        capture_output=True, text=True, timeout=60, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return squeezed(re.sub(r"[│╭╮╰╯─]", " ", done.stdout))


def squeezed(text: str) -> str:
    return " ".join(text.split())


def every_error(base: type[errors.FovealError] = errors.FovealError) -> list[type[errors.FovealError]]:
    return [base, *(deeper for one in base.__subclasses__() for deeper in every_error(one))]


def documented() -> list[type[errors.FovealError]]:
    return [errors.FovealError, *errors.FovealError.__subclasses__()]


def test_the_exit_codes_are_printed():
    text = help_of()
    for code, meaning in errors.exit_codes():
        assert f"{code} {squeezed(meaning)}" in text


def test_every_error_has_a_code_of_the_table():
    codes = [one.exit_code for one in documented()]
    assert len(set(codes)) == len(codes), "two classes share a code"
    assert [code for code, _ in errors.exit_codes()] == [0, *codes]
    for one in every_error():
        assert one.exit_code in codes, f"{one.__name__} exits with {one.exit_code}, which the table does not name"


def test_every_error_of_the_tree_says_what_it_means():
    for one in documented():
        assert one.meaning == one.__dict__["meaning"], f"{one.__name__} has no meaning of its own"
    tree = errors.__doc__ or ""
    for one in documented():
        assert re.search(rf"{one.__name__} +{one.exit_code} ", tree), f"{one.__name__} is not drawn in errors.py"


def test_the_verbs_have_sentences():
    for verb in VERBS:
        assert verb[-1] in help_of(*verb[:-1])
        assert COMMANDS[verb].help


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_option_is_explained(verb):
    text = help_of(*verb)
    for parameter in COMMANDS[verb].params:
        name = parameter.opts[0] if parameter.opts else parameter.name
        assert parameter.help, f"foveal {' '.join(verb)} does not say what {name} is"
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert option in text
        assert squeezed(parameter.help) in text, f"foveal {' '.join(verb)} --help prints the help of {name} differently"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_help_of_an_option_is_more_than_its_default(verb):
    for parameter in COMMANDS[verb].params:
        words = re.sub(r"\[.*?\]", "", parameter.help or "").strip()
        assert words, f"foveal {' '.join(verb)}: the help of {parameter.opts[0]} is only its default"
