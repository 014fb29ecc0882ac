"""foveal find-lr from end to end: what it says, what it leaves, and that one can train with it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import foveal
from foveal.cli.app import app
from foveal.errors import OutputError, UsageError
from foveal.training.recipe import read_recipe

FILES = ["learning-rate.html", "learning-rate.json", "learning-rate.svg", "suggested.toml"]


def test_a_rate_a_plot_and_a_command_to_train_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["find-lr", "digits", "--model", "mlp", "--threads", "1"])
    assert done.exit_code == 0, done.output
    home = Path("runs/digits-mlp-learning-rate")
    assert [path.name for path in Path("runs").iterdir()] == [home.name]
    assert sorted(path.name for path in home.iterdir()) == FILES
    stored = json.loads((home / "learning-rate.json").read_text())
    assert stored["schema_version"] == 1 and 1e-4 < stored["learning_rate"] < 0.1
    assert f"learning rate  {stored['learning_rate']:g}\n" in done.stdout
    assert len(stored["rates"]) == len(stored["losses"]) == len(stored["smoothed"]) > 80
    command = shlex.split(done.stdout.split("train with it  ")[1].splitlines()[0])
    assert command == ["foveal", "train", "--recipe", str(home / "suggested.toml")]
    assert read_recipe(home / "suggested.toml").learning_rate == stored["learning_rate"]
    trained = CliRunner().invoke(app, [*command[1:], "--epochs", "1"])
    assert trained.exit_code == 0, trained.output
    page = (home / "learning-rate.html").read_text()
    assert page.count('class="batch"') > 80 and f"suggested: {stored['learning_rate']:g}" in page
    assert "suggested" in (home / "learning-rate.svg").read_text()


def test_arrays_have_a_rate_but_no_command(tmp_path):
    digits = foveal.load("digits")
    images = [digits.images.picture(row) for row in range(200)]
    import numpy as np

    few = foveal.load(np.stack([np.asarray(image) for image in images]), digits.labels[:200], name="few")
    recipe = foveal.Recipe(model="mlp", batch_size=16, threads=1)
    found = foveal.find_learning_rate(few, recipe=recipe, out=tmp_path / "lr", progress=False)
    again = foveal.find_learning_rate(few, recipe=recipe, out=tmp_path / "lr2", progress=False)
    assert found.learning_rate is not None and found.command == "" and found.page_file.is_file()
    assert found.test == again.test
    with pytest.raises(OutputError, match="not empty"):
        foveal.find_learning_rate(few, recipe=recipe, out=tmp_path / "lr", progress=False)


def test_a_rate_is_not_given_to_what_looks_for_one():
    done = CliRunner().invoke(app, ["find-lr", "digits", "--lr", "0.1"])
    assert isinstance(done.exception, UsageError) and "leave --learning-rate out" in str(done.exception)
