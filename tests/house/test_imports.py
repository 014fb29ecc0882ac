"""Importing Foveal costs nothing and does nothing; and the shape of its source files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import foveal

SOURCE = Path(foveal.__file__).parent
MOST_LINES = 400
HEAVY = ("torch", "numpy", "PIL", "pydantic", "sklearn")

STATE = """
import json, logging, signal, sys, warnings
def state():
    loggers = [logging.getLogger(), *(one for one in logging.root.manager.loggerDict.values() if hasattr(one, "level"))]
    return [
        [repr(one) for one in warnings.filters],
        [(one.name, one.level, [repr(handler) for handler in one.handlers]) for one in loggers],
        [repr(signal.getsignal(one)) for one in sorted(signal.valid_signals())],
        repr(sys.excepthook), sys.getrecursionlimit(), sorted(__import__("os").environ.items()),
    ]
"""


def python(code: str) -> str:
    """Run `code` in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(code: str) -> list[str]:
    """Return which heavy packages a fresh interpreter holds after `code`."""
    out = python(f"import json, sys\n{code}\nprint(json.dumps([one for one in {HEAVY!r} if one in sys.modules]))")
    return json.loads(out.splitlines()[-1])


def test_import_loads_nothing_heavy():
    assert loaded_by("import foveal") == []


def test_dir_loads_nothing_heavy():
    assert loaded_by("import foveal; dir(foveal); foveal.__version__") == []


def run_cli(*words: str) -> str:
    """Return code that runs the command line with `words` and goes on when it ended well."""
    return (
        f"sys.argv = ['foveal', *{words!r}]\nfrom foveal.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )


def test_help_loads_nothing_heavy():
    assert loaded_by(run_cli("--help")) == []
    assert loaded_by(run_cli("--version")) == []


@pytest.mark.parametrize("verb", ["train", "predict", "evaluate", "models", "data show"])
def test_the_help_of_a_verb_loads_nothing_heavy(verb):
    heavy = loaded_by(run_cli(*verb.split(), "--help"))
    assert set(heavy) <= {"pydantic"}  # typer itself loads it, from 0.29 on, to read a verb's options


def test_listing_the_models_loads_no_torch():
    assert "torch" not in loaded_by(run_cli("models"))


def test_import_changes_no_global_state():
    out = python(f"{STATE}\nbefore = state()\nimport foveal\nprint(json.dumps(before == state()))")
    assert json.loads(out) is True


def test_using_every_public_name_changes_no_global_state():
    out = python(
        "import torch, numpy, PIL.Image, sklearn, pydantic, jinja2, safetensors.torch\n"  # what they do is not ours
        f"{STATE}\n"
        "machine = lambda: (torch.get_num_threads(), torch.get_rng_state().tolist(), torch.is_grad_enabled(),"
        " torch.get_default_dtype().__repr__(), torch.are_deterministic_algorithms_enabled(),"
        " PIL.Image.MAX_IMAGE_PIXELS)\n"
        "before = [state(), machine()]\n"
        "import foveal\n"
        "[getattr(foveal, name) for name in foveal.__all__]\n"
        "after = [state(), machine()]\n"
        "print(json.dumps([before[0][0] == after[0][0], before[0][2:] == after[0][2:], before[1] == after[1]]))"
    )
    assert json.loads(out) == [True, True, True], "warning filters, signals and environment, torch and Pillow"


def test_every_public_name_resolves_and_is_listed():
    assert sorted(foveal.__all__) == list(foveal.__all__)
    assert set(foveal.__all__) <= set(dir(foveal))
    for name in foveal.__all__:
        assert getattr(foveal, name).__doc__, f"foveal.{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(foveal, "trian")


def test_no_file_is_a_god_file():
    long = {
        path.relative_to(SOURCE).as_posix(): lines
        for path in SOURCE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long, f"over {MOST_LINES} lines; split them by noun: {long}"


def test_no_file_is_named_for_nothing():
    nameless = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
    assert not [path for path in SOURCE.rglob("*.py") if path.name in nameless]


def test_the_package_says_that_it_is_typed():
    assert (SOURCE / "py.typed").is_file()
