"""--trust: a file that names code is never believed; a name on the command line is."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import foveal
from foveal.classifier.card import content_hash
from foveal.errors import ClassifierError

BUILDER = """
from pathlib import Path
from torch import nn

Path("it-ran").touch()


def build(classes, channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
"""
QUICK = ("--epochs", "1", "--threads", "1", "--size", "16")


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """The current folder, with the user's module in it."""
    (tmp_path / "garden.py").write_text(BUILDER)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("garden", None)
    yield tmp_path
    sys.modules.pop("garden", None)


def ran(folder: Path) -> bool:
    """Whether the module was imported since it was last asked."""
    sys.modules.pop("garden", None)
    mark = folder / "it-ran"
    was = mark.exists()
    mark.unlink(missing_ok=True)
    return was


@pytest.fixture
def run(garden, class_folders, foveal_cli) -> Path:
    done = foveal_cli("train", class_folders, "--model", "garden:build", "--out", garden / "run", *QUICK)
    assert done.code == 0, done.err
    assert ran(garden)
    return garden / "run"


def forged(run: Path, name: str, options: dict[str, object]) -> None:
    """Let the classifier and the recipe in `run` name another network, all hashes right."""
    card_file = run / "classifier" / "classifier.json"
    card = json.loads(card_file.read_text())
    card["architecture"] = {**card["architecture"], "name": name, "options": options}
    card["content_hash"] = content_hash(card)
    card_file.write_text(json.dumps(card))
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('"garden:build"', json.dumps(name)))
    environment = json.loads((run / "environment.json").read_text())
    environment["files"]["recipe.toml"] = hashlib.sha256(recipe.read_bytes()).hexdigest()
    (run / "environment.json").write_text(json.dumps(environment))


def test_every_verb_that_loads_asks_for_trust(run, garden, class_folders, foveal_cli):
    image = class_folders / "lime" / "00.png"
    unfinished = garden / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "report.html").unlink()
    verbs = {
        "predict": (run, image),
        "evaluate": (run, class_folders, "--accept", "trained-on"),
        "train": ("--resume", unfinished),
        "find-lr": (class_folders, "--recipe", run / "recipe.toml", "--out", garden / "rate"),
        "train again": (class_folders, "--recipe", run / "recipe.toml", "--out", garden / "again"),
        "export": (run, "--to", "torch-export"),
    }
    for verb, words in verbs.items():
        for trust in ((), ("--trust", "garden:other")):
            done = foveal_cli(verb.split()[0], *words, *trust)
            assert (done.code, done.out) == (5, ""), verb
            assert "wants to run garden:build, which is code outside of Foveal that can do whatever you can" in done.err
            assert "allow it with --trust garden:build" in done.err and len(done.err.splitlines()) == 1
            assert not ran(garden), f"{verb} ran the code"
    for verb, words in verbs.items():
        if verb != "export":
            done = foveal_cli(verb.split()[0], *words, "--trust", "garden:build")
            assert done.code == 0, done.err
            assert ran(garden)


def test_repeats_ask_for_trust_too(garden, class_folders, foveal_cli):
    words = ("--model", "garden:build", "--repeats", "2", "--out", garden / "two", *QUICK)
    assert foveal_cli("train", class_folders, *words).code == 0
    (garden / "two" / "repeats" / "2" / "report.html").unlink()
    assert ran(garden)
    done = foveal_cli("train", "--resume", garden / "two")
    assert done.code == 5 and "--trust garden:build" in done.err and not ran(garden)
    assert foveal_cli("train", "--resume", garden / "two", "--trust", "garden:build").code == 0


def test_a_recipe_changed_by_a_name_on_the_command_line_is_trusted(run, garden, class_folders, foveal_cli):
    words = (class_folders, "--recipe", run / "recipe.toml", "--out", garden / "again", "--model", "garden:build")
    assert foveal_cli("train", *words).code == 0


def test_what_find_lr_says_to_type_can_be_typed(garden, class_folders, foveal_cli):
    done = foveal_cli("find-lr", class_folders, "--model", "garden:build", "--out", garden / "rate", *QUICK)
    assert done.code == 0, done.err
    found = foveal.find_learning_rate(
        class_folders, recipe=foveal.Recipe(model="garden:build", size=16), out=garden / "rate2", progress=False
    )
    assert not found.command or found.command.endswith(" --trust garden:build")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("os:system", {"command": "touch it-ran"}),
        ("subprocess:check_output", {"args": "touch it-ran"}),
        ("garden:build", {}),
        ("garden:__import__", {}),
        ("pathlib:Path.touch", {"self": "it-ran"}),
    ],
)
def test_a_forged_classifier_runs_nothing(run, garden, class_folders, foveal_cli, name, options):
    forged(run, name, options)
    for words in (
        ("predict", run, class_folders / "lime" / "00.png"),
        ("predict", run, class_folders / "lime" / "00.png", "--trust", "garden:other"),
        ("evaluate", run, class_folders, "--accept", "trained-on"),
    ):
        done = foveal_cli(*words)
        assert done.code == 5 and f"wants to run {name}," in done.err and not ran(garden)
    (run / "report.html").unlink()
    done = foveal_cli("train", "--resume", run)
    assert done.code == 5 and f"wants to run {name}," in done.err and not ran(garden)


@pytest.mark.parametrize("name", ["os:system; touch it-ran", "..:x", ":", "a:", "a:b:c", "\x1b[31m:x"])
def test_what_is_no_name_of_code_is_refused_the_same_way(run, garden, class_folders, foveal_cli, name):
    forged(run, name, {})
    done = foveal_cli("predict", run, class_folders / "lime" / "00.png", "--trust", name)
    assert done.code == 5 and len(done.err.splitlines()) == 1 and "\x1b" not in done.err and not ran(garden)


def test_a_forged_classifier_of_timm_reads_no_file(run, garden, class_folders, foveal_cli, timm):
    for option in ("checkpoint_path", "pretrained", "pretrained_cfg_overlay"):
        forged(run, "timm:resnet10t", {option: "evil.pth"})
        done = foveal_cli("predict", run, class_folders / "lime" / "00.png")
        assert done.code == 5 and f"timm's option {option} is not offered here" in done.err


def test_trust_is_for_the_code_alone(run, garden):
    with pytest.raises(ClassifierError, match="wants to run garden:build"):
        foveal.Classifier.load(run, trust="garden:BUILD")
    classifier = foveal.Classifier.load(run, trust="garden:build")
    assert classifier.predict(np.zeros((20, 24, 3), np.uint8))[0].label in classifier.classes


def test_the_builder_is_found_where_one_stands(run, garden, class_folders, foveal_cli, monkeypatch):
    elsewhere = garden / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    done = foveal_cli("predict", run, class_folders / "lime" / "00.png", "--trust", "garden:build")
    assert (
        done.code == 5 and f"There is no module garden for the network garden:build, neither in {elsewhere}" in done.err
    )
