"""The README and the guides are true: their examples run, and what they name exists.

``python`` blocks of a page run in order in one namespace; ``console`` blocks run their ``$ foveal``
commands in between, in the same folder (see conftest.py). Output that is shown must be what is
printed, up to the numbers, which belong to a machine; ``…`` stands for lines left out.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from test_command_line import verbs

from foveal.audit.names import NAMES
from foveal.cli.app import app
from foveal.data import catalog as data_catalog
from foveal.data.sources.folders import IMAGE_SUFFIXES, SPLIT_NAMES
from foveal.data.sources.manifest import USUAL_NAMES
from foveal.errors import FovealError, exit_codes
from foveal.training.recipe import LEARNING_RATES, Recipe

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (*(ROOT / "docs" / "guide").glob("*.md"), *(ROOT / "docs" / "networks").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted(GUIDES)]
WORDS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs" / "reference").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DEMO = "foveal train digits --model lenet5"


def read(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(read(page))


def commands(block: str) -> Iterator[tuple[str, list[str], int]]:
    """Yield (command, output shown, exit code expected) of a console block."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    shown = [part.rstrip("\n").split("\n") for part in parts]
    for number, (command, *output) in enumerate(shown):
        if command == "echo $?":
            continue
        following = shown[number + 1] if number + 1 < len(shown) else [""]
        yield command, output, int(following[1]) if following[0] == "echo $?" else 0


def run(command: str) -> tuple[str, int]:
    """Run one ``foveal`` command in the current folder; return what it printed, errors too, and its code."""
    program, *words = shlex.split(command)
    assert program == "foveal", f"an example runs {program}"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from foveal.cli import main; main()", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        timeout=300, env=environment, check=False,
    )  # fmt: skip
    return done.stdout, done.returncode


def shape(line: str) -> str:
    """Return `line` without what depends on the machine: numbers, durations, early stopping, order of guesses."""
    line = re.sub(r"(\d+ (h|min) )?[\d.]+ (s|min)\b", "TIME", line.replace(", stopped early", "").replace("*", ""))
    line = re.sub(r"\b(daisy|rose|tulip)\b", "CLASS", line) if re.search(r"photo\d", line) else line
    return re.sub(r"\s+", " ", re.sub(r"\d[\d,.]*", "N", line)).rstrip()


def assert_printed(shown: list[str], printed: str, command: str) -> None:
    """Every line shown was printed, in this order; lines are left out only where ``…`` stands."""
    long = re.compile(r"(?!epoch)\S.*\d/\d.* left$")  # progress on a slow machine
    lines = [shape(line) for line in printed.rstrip("\n").split("\n") if not long.match(line)]
    at, gap = 0, False
    for line in shown:
        if line == "…":
            gap = True
            continue
        places = [place for place in range(at, len(lines)) if lines[place] == shape(line)]
        assert places and (gap or places[0] == at), f"{command}\nshows: {line}\nbut printed:\n{printed}"
        at, gap = places[0] + 1, False
    assert gap or at == len(lines) or not any(lines[at:]), f"{command} printed more than is shown:\n{printed}"


def assert_told(code: str, printed: str, page: Path) -> None:
    """Where each line printed has its comment, ``print(…)  # what it prints``, the comments begin with it.

    A comment that breaks off with ``…`` is the beginning of what is printed. The numbers of a network are the
    same everywhere.
    """
    kept = str if page.parent.name == "networks" else shape
    told, lines = re.findall(r"^print\(.*\)  # (.+)$", code, re.MULTILINE), printed.splitlines()
    if len(told) == len(lines) == len(re.findall(r"^\s*print\(", code, re.MULTILINE)):
        for comment, line in zip(told, lines, strict=True):
            beginning, cut, _ = comment.partition("…")
            agrees = kept(line).startswith(kept(beginning)) if cut else kept(comment).startswith(kept(line))
            assert agrees, f"{page.name} says {comment} but prints {line}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, workspace):
    namespace: dict[str, object] = {}
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(text, f"{page.name}, block {number}", "exec"), namespace)
            assert_told(text, output.getvalue(), page)
        elif language == "console":
            for command, shown, code in commands(text):
                printed, returned = run(DEMO if command == "make demo" else command)
                assert returned == code, f"{command} exits with {returned}:\n{printed}"
                assert_printed(shown, printed, command)


def test_the_demo_is_what_the_makefile_runs():
    assert DEMO in read("Makefile")


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for page in WORDS:
        named = set(re.findall(r"`make ([a-z-]+)", read(page)))
        assert named <= targets, f"{page.name} names make {named - targets}"


def test_every_option_named_exists():
    group = typer.main.get_command(app)
    of_verb = {
        verb: {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        for verb, command in verbs(group).items()
    }
    every = set().union(*of_verb.values(), {name for one in group.params for name in one.opts}, {"--help", "-h"})
    for page in WORDS:
        text = read(page)
        if page.name != "CONTRIBUTING.md":
            named = set(re.findall(r"`(--[a-z][a-z0-9-]+)", text))
            assert named <= every, f"{page.name} names {sorted(named - every)}"
        for verb, rest in re.findall(rf"foveal ({'|'.join(of_verb)})\b([^`\n]*)", text):
            words = {word.split("=")[0] for word in rest.split() if re.match(r"--?[a-z]", word)}
            assert words <= of_verb[verb] | {"--help"}, f"{page.name}: foveal {verb} has no {words - of_verb[verb]}"


def test_every_verb_named_exists():
    verbs = set(typer.main.get_command(app).commands)
    for page in WORDS:
        named = set(re.findall(r"(?:^\$ |`)foveal ([a-z]+(?:-[a-z]+)*)", read(page), re.MULTILINE))
        assert named <= verbs, f"{page.name} names foveal {named - verbs}"


def tree() -> list[str]:
    """Return every path of the README's tree, folders with a slash at the end."""
    drawing = next(text for _, text in blocks(ROOT / "README.md") if text.startswith("src/foveal/"))
    paths, stack = [], []
    for line in drawing.splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        stack = [*stack[:depth], name]
        paths.append("".join(stack))
        assert depth == 0 or len(line.split()) > 1, f"the tree says nothing of {name}"
    return paths


def test_everything_in_the_tree_exists():
    for path in tree():
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), f"{path} is not there"


def test_everything_is_in_the_tree():
    paths = tree()
    assert len(paths) == len(set(paths))
    source = ROOT / "src" / "foveal"
    files = {path.relative_to(ROOT).as_posix() for path in source.rglob("*.py") if path.name != "__init__.py"}
    assert files - set(paths) == set(), "files that the README's tree does not name"


@pytest.mark.parametrize("page", ["README.md", "docs/reference/errors.md"])
def test_the_exit_codes_are_those_of_the_code(page):
    text = read(page)
    for cls in (FovealError, *FovealError.__subclasses__()):
        row = next((line for line in text.splitlines() if line.startswith("|") and f"`{cls.__name__}`" in line), "")
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert sorted(cells) == sorted([f"`{cls.__name__}`", str(cls.exit_code), cls.meaning]), cls.__name__
    assert len(exit_codes()) == 2 + len(FovealError.__subclasses__())


def test_the_sources_page_knows_every_name():
    text = read("docs/guide/sources.md")
    for usual in USUAL_NAMES.values():
        assert ", ".join(f"`{name}`" for name in usual) in text
    for word in (*SPLIT_NAMES, *IMAGE_SUFFIXES):
        assert f"`{word}`" in text, word


def test_the_sources_page_knows_every_data_set():
    text = read("docs/guide/sources.md")
    for entry in data_catalog.CATALOG.values():
        assert f"`{entry.name}`" in text
        if entry.files:
            size = f"| {sum(file.size for file in entry.files) / 1e6:.0f} MB |"
            assert any(line.endswith(size) and f"`{entry.name}`" in line for line in text.splitlines()), entry.name


def test_the_sources_page_has_the_table_of_the_code():
    code = read("src/foveal/preprocess.py").split('"""')[1]
    _, head, table, _ = re.split(r"^=+ +=+\n", code, flags=re.MULTILINE)
    width = head.index("what happens")
    for line in table.splitlines():
        assert f"| {line[:width].strip()} | {line[width:].strip()} |" in read("docs/guide/sources.md"), line


def test_the_splits_page_knows_every_finding():
    text = read("docs/guide/splits.md")
    for name in NAMES:
        assert f"| `{name}` |" in text, name


def test_the_training_page_knows_every_field_and_default():
    text = read("docs/guide/training.md")
    for name, field in Recipe.model_fields.items():
        assert f"`{name}`" in text, name
        row = next(line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line)
        if field.default not in (None, "", (), {}):
            value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert re.search(rf"\b{re.escape(value.removesuffix('.0'))}\b", row), f"{name} = {value}: {row}"
    for name, rate in LEARNING_RATES.items():
        assert f"`{name}`" in text and str(rate) in text


@pytest.mark.parametrize("page", WORDS, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read(page)):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
