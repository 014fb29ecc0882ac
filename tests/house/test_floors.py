"""The floors: a room imports from lower floors and from itself, never upwards, never from a neighbour.

Every import under ``src/foveal`` is read with `ast`, those inside functions and under TYPE_CHECKING
too, so that a lazy import is no way around the rule.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "foveal"
SOURCE = Path(__file__).resolve().parents[2] / "src" / PACKAGE

FLOORS = (
    (
        "errors.py",
        "files.py",
        "progress.py",
        "download.py",
        "preprocess.py",
        "half_pictures.py",
        "silence.py",
        "dicom",
        "web",
    ),
    ("data", "models", "engines", "ops", "storage"),
    ("classifier", "features", "run.py", "run_card.py"),
    ("audit", "training", "evaluation", "explanation"),
    ("report",),
    ("workflows", "serving", "lab", "monitoring"),
    ("cli", "sklearn"),
)
EVERYWHERE = ("errors.py", "silence.py")  # know nothing of the house, so that a neighbour may use them
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(parts: tuple[str, ...]) -> str:
    """Return the room of a path below the package: a folder, or a file at its root."""
    return parts[0]


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name below the package) of every import of ours; "" is the package itself.

    `package` is the dotted home of the file, from which relative imports are resolved.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "import_module":
            names = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == PACKAGE:
                yield node.lineno, rest


def target_room(name: str, folder: Path) -> str | None:
    """Return the room that the dotted `name` below the package lies in; None for the package itself."""
    first = name.partition(".")[0]
    if (folder / f"{first}.py").is_file():
        return f"{first}.py"
    if (folder / first).is_dir() and first:
        return first
    return None  # `import foveal`, or a name that foveal/__init__.py hands out


def faults_of(path: Path, folder: Path = SOURCE) -> list[str]:
    """Return what the imports of one file do against the floors, one sentence each."""
    parts = path.relative_to(folder).parts
    if parts == ("__init__.py",):
        return []  # the public names, fetched when they are first used, may come from anywhere
    here = room_of(parts)
    if here not in FLOOR:
        return [f'"{here}" is no room of the house: give it a floor in DESIGN.md and in tests/house/test_floors.py.']
    where = path.relative_to(folder).as_posix()
    faults = []
    for line, name in imported(ast.parse(path.read_text(encoding="utf-8")), (PACKAGE, *parts[:-1])):
        room = target_room(name, folder)
        if room is None:
            if FLOOR[here] < FLOOR["cli"]:
                faults.append(f"{where}:{line} imports the package itself; only cli/ stands above its public names.")
        elif room not in FLOOR:
            faults.append(f'{where}:{line} imports "{room}", which is no room of the house.')
        elif room in (here, *EVERYWHERE) or (
            FLOOR[room] == FLOOR[here] and room.endswith(".py") and here.endswith(".py")
        ):
            continue  # within the same folder: the root is one, too
        elif FLOOR[room] == FLOOR[here]:
            faults.append(f"{where}:{line} imports {room}: on floor {FLOOR[here]} rooms are strangers to each other.")
        elif FLOOR[room] > FLOOR[here]:
            faults.append(f"{where}:{line} (floor {FLOOR[here]}) imports {room}, upwards (floor {FLOOR[room]}).")
    return faults


def test_every_import_goes_downwards_or_stays_in_its_room():
    files = sorted(SOURCE.rglob("*.py"))
    assert files
    faults = [fault for path in files for fault in faults_of(path)]
    assert not faults, "\n".join(faults)


def test_every_room_stands_on_one_floor_only():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))


def test_every_folder_is_a_package_with_a_sentence():
    folders = [path for path in SOURCE.rglob("*") if path.is_dir() and any(path.glob("*.py"))]
    for folder in folders:
        init = folder / "__init__.py"
        assert init.is_file(), f"{folder.relative_to(SOURCE)} has no __init__.py"
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{init} says not what the room is"


@pytest.fixture
def house(tmp_path):
    """A package with a file on every kind of place; returns a function that judges one more file."""
    for name in ("errors.py", "files.py", "run.py"):
        (tmp_path / name).touch()
    for name in ("data", "data/sources", "models", "classifier", "training", "workflows", "cli", "attic"):
        (tmp_path / name).mkdir()

    def judge(place: str, text: str) -> list[str]:
        path = tmp_path / place
        path.write_text(text, encoding="utf-8")
        return faults_of(path, tmp_path)

    return judge


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("data/load.py", "from foveal.errors import DataError"),
        ("data/load.py", "from .sources import idx"),
        ("data/sources/idx.py", "from ..dataset import Dataset"),
        ("files.py", "from foveal.errors import OutputError"),
        ("run_card.py", "from foveal.run import Run"),
        ("training/loop.py", "from foveal import run"),
        ("cli/app.py", "import foveal"),
        ("__init__.py", "from foveal.workflows.train import train"),
        ("errors.py", "import torch, json"),
    ],
)
def test_what_is_allowed(house, place, text):
    assert house(place, text) == []


@pytest.mark.parametrize(
    ("place", "text", "says"),
    [
        ("data/load.py", "from foveal.workflows import train", "upwards (floor 5)"),
        ("data/load.py", "def f():\n    import foveal.training.loop", "load.py:2"),
        ("data/load.py", "from ..training import loop", "imports training"),
        ("data/load.py", "if TYPE_CHECKING:\n    from foveal.models import catalog", "strangers"),
        ("data/load.py", "importlib.import_module('foveal.models.catalog')", "strangers"),
        ("classifier/artefact.py", "from foveal.run import Run", "strangers"),
        ("run.py", "from foveal.classifier import Classifier", "strangers"),
        ("errors.py", "from foveal import data", "upwards"),
        ("training/loop.py", "import foveal", "the package itself"),
        ("data/load.py", "from foveal.attic import junk", "no room of the house"),
        ("attic/junk.py", "", "no room of the house"),
        ("utils.py", "", "no room of the house"),
    ],
)
def test_what_is_refused(house, place, text, says):
    faults = house(place, text)
    assert len(faults) == 1
    assert says in faults[0]


def test_no_two_test_files_have_one_name():
    """Tests are no packages, so pytest knows a file by its name alone."""
    names = [path.name for path in Path(__file__).resolve().parents[1].rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []
