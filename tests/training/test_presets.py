"""Presets: each file is whole and true to its form; options come before it; the run says what it was."""

from __future__ import annotations

import shlex

import pytest
import typer.main

import foveal
from foveal.cli.app import app
from foveal.errors import UsageError
from foveal.training.preset import Preset, find_preset, presets
from foveal.training.recipe import Recipe, parse_recipe, read_recipe
from foveal.workflows.plan import given_recipe


@pytest.mark.parametrize("name", presets())
def test_a_preset_states_what_it_must_and_is_a_recipe(name):
    preset = find_preset(name)
    for word in ("about", "command", "expected", "spread", "hardware"):
        assert getattr(preset, word).strip(), word
    recipe = parse_recipe(preset.fields_with({}))
    assert recipe.preset == name and recipe.model == preset.fields["model"]
    assert not {"source", "seed", "device", "out"} & set(preset.fields), "those are the user's"
    program, verb, *words = shlex.split(preset.command)
    assert (program, verb) == ("foveal", "train") and f"--preset {name}" in preset.command
    context = typer.main.get_command(app).commands["train"].make_context("train", words)
    assert context.params["preset"] == name


def test_the_three_names_are_there():
    assert {"speed", "balanced", "best"} <= set(presets())


def test_what_is_said_comes_before_the_preset():
    fields = {"model": "simple_cnn", "epochs": 3, "model_options": {"spec": "conv8 relu flatten", "input_bn": True}}
    preset = Preset("quick", "", "", "", "", "", 0, fields, "")
    assert preset.fields_with({"epochs": 7})["epochs"] == 7
    assert preset.fields_with({"model": "simple-cnn"})["model_options"] == fields["model_options"]
    assert preset.fields_with({"model_options": {"spec": "conv4 flatten"}})["model_options"] == {
        "spec": "conv4 flatten",
        "input_bn": True,
    }
    other = preset.fields_with({"model": "lenet5", "model_options": {"activation": "relu"}})
    assert other["model_options"] == {"activation": "relu"} and other["epochs"] == 3


def test_a_preset_and_a_recipe_are_not_mixed(tmp_path):
    with pytest.raises(UsageError, match="give only one of them"):
        given_recipe(Recipe(), {"preset": "speed"})
    with pytest.raises(UsageError, match=r'no preset "sped"\. Did you mean "speed"\? `foveal presets` lists'):
        given_recipe(None, {"preset": "sped"})
    assert given_recipe(None, {"preset": "Lenet5-Speed"}).preset == "lenet5_speed"


def test_the_run_keeps_the_name_and_every_value(few_digits, run_dir):
    run = foveal.train(
        few_digits, out=run_dir, preset="speed", epochs=1, epoch_images=96, batch_size=32, threads=1, progress=False
    )
    recipe, preset = read_recipe(run.recipe_file), find_preset("speed")
    assert recipe.preset == "speed" and (recipe.epochs, recipe.epoch_images) == (1, 96)
    for name in set(preset.fields) - {"epochs", "epoch_images", "batch_size"}:
        assert run.recipe[name] == preset.fields[name]
    assert run.metrics["training"]["images"] == 96
    again = foveal.train(few_digits, recipe=run.recipe_file, out=run_dir.with_name("again"), progress=False)
    weights = "classifier/weights.safetensors"
    assert (again.path / weights).read_bytes() == (run.path / weights).read_bytes()


def test_what_was_tuned_for_another_optimiser_or_loss_is_left_out():
    speed = find_preset("speed")
    assert {"learning_rate", "momentum"} & speed.fields_with({"optimizer": "adam"}).keys() == set()
    assert speed.fields_with({"optimizer": "adam", "learning_rate": 0.01})["learning_rate"] == 0.01
    assert "label_smoothing" not in speed.fields_with({"loss": "focal"})
    assert "label_smoothing" not in speed.fields_with({"model": "lenet5-1998"})
    assert speed.fields_with({"seed": 3})["label_smoothing"] == speed.fields["label_smoothing"]
