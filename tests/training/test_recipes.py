"""The recipe: to and from TOML, wrong values named, and the same names in Python and on the command line."""

from __future__ import annotations

import inspect

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

import foveal
from foveal.cli.app import app
from foveal.errors import ClassifierError, UsageError
from foveal.training.recipe import Recipe, parse_recipe, read_recipe

RECIPES = st.builds(
    Recipe,
    source=st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    classes=st.none() | st.tuples(st.text(st.characters(exclude_categories=("Cs", "Cc"))), st.just("b")),
    accept=st.lists(st.sampled_from(["a", "b"])).map(tuple),
    validation=st.floats(0.01, 0.5),
    size=st.none() | st.tuples(st.integers(1, 500), st.integers(1, 500)),
    channels=st.sampled_from([None, 1, 3]),
    model_options=st.dictionaries(
        st.text("abc", min_size=1),
        st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.sampled_from(["1", "1.0", "true", "x y"]),
    ),
    epochs=st.none() | st.integers(1, 10),
    learning_rate=st.none() | st.floats(1e-12, 1e12),
    weight_decay=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
    optimizer=st.just("sgd"),
    nesterov=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(recipe=RECIPES)
def test_toml_and_back(recipe, tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    recipe.write(file)
    again = read_recipe(file)
    assert again == recipe
    assert [type(one) for one in again.model_options.values()] == [type(one) for one in recipe.model_options.values()]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"epoch": 3}, 'no field "epoch". Did you mean "epochs"?'),
        ({"learning-rate": 3}, 'Did you mean "learning_rate"?'),
        ({"epochs": 0}, "epochs = 0 is wrong"),
        ({"epochs": 2.5}, "epochs = 2.5 is wrong"),
        ({"batch_size": "many"}, "batch_size = 'many' is wrong"),
        (
            {"optimizer": "sdg"},
            "optimizer = 'sdg' is wrong: input should be 'sgd', 'adam', 'adamw', 'rmsprop' or 'muon'",
        ),
        ({"learning_rate": float("nan")}, "learning_rate = nan is wrong"),
        ({"learning_rate": float("inf")}, "learning_rate = inf is wrong"),
        ({"learning_rate": 0}, "learning_rate = 0 is wrong"),
        ({"momentum": 1.0}, "momentum = 1.0 is wrong"),
        ({"validation": 1}, "validation = 1 is wrong"),
        ({"size": [32]}, "size = "),
        ({"size": [32, -1]}, "size = "),
        ({"channels": 2}, "channels = 2 is wrong"),
        ({"seed": -1}, "seed = -1 is wrong"),
        ({"seed": 2**63}, "seed = "),
        ({"patience": -1}, "patience = -1 is wrong"),
        ({"nesterov": True}, "nesterov goes with the optimizer sgd, not adamw"),
        (
            {"loss": "fokal"},
            "loss = 'fokal' is wrong: input should be 'cross_entropy', 'focal', 'mse', 'rbf' or 'rbf_mse'",
        ),
        ({"loss": "focal", "focal_gamma": -1}, "focal_gamma = -1 is wrong"),
        ({"loss": "rbf"}, "the loss rbf is for networks with penalties (lenet5_1998), not lenet5"),
        ({"loss": "rbf_mse", "model": "mlp"}, "the loss rbf_mse is for networks with penalties (lenet5_1998), not mlp"),
        ({"loss": "rbf", "model": "lenet-6"}, 'There is no model "lenet-6". Did you mean "lenet5"?'),
        ({"loss": "focal", "label_smoothing": 0.1}, "label_smoothing goes with the loss cross_entropy, not focal"),
        ({"loss": "mse", "focal_gamma": 1}, "focal_gamma goes with the loss focal, not mse"),
        ({"loss": "cross_entropy", "rubbish_penalty": 1}, "rubbish_penalty goes with the loss rbf, not cross_entropy"),
        ({"rubbish_penalty": 0}, "rubbish_penalty = 0 is wrong"),
        ({"model_options": {"hidden": [64]}}, "model_options.hidden = [64] is wrong"),
    ],
)
def test_a_wrong_field_is_named(fields, said):
    for attempt in (lambda: parse_recipe(fields), lambda: Recipe().changed(fields)):
        with pytest.raises(UsageError) as refused:
            attempt()
        assert said in str(refused.value)


def test_a_file_that_is_wrong_is_named(tmp_path):
    file = tmp_path / "recipe.toml"
    for content, kind, said in [
        ("epochs = 'x'", UsageError, f"{file}: epochs = 'x' is wrong"),
        ("epochs = ", ClassifierError, "is damaged"),
        ("schema_version = 2", ClassifierError, "newer Foveal (schema 2)"),
    ]:
        file.write_text(content)
        with pytest.raises(kind) as refused:
            read_recipe(file)
        assert said in str(refused.value)
    with pytest.raises(ClassifierError, match="is missing"):
        read_recipe(tmp_path / "none.toml")


def test_resolving_keeps_what_was_said_and_chooses_the_rest():
    facts = {"size": (32, 32), "channels": 1, "device": "cpu", "threads": 2}
    chosen = Recipe().resolved(train_images=25_000, **facts)
    assert (chosen.epochs, chosen.learning_rate, chosen.threads, chosen.size) == (20, 0.003, 2, (32, 32))
    assert Recipe().resolved(train_images=10, **facts).epochs == 40
    assert Recipe().resolved(train_images=10**7, **facts).epochs == 10
    said = Recipe(epochs=3, learning_rate=0.5, threads=1, optimizer="sgd", patience=0, batch_size=7)
    kept = said.resolved(train_images=100, **facts)
    assert all(getattr(kept, name) == getattr(said, name) for name in said.model_fields_set)
    assert Recipe(optimizer="sgd").resolved(train_images=10, **facts).learning_rate == 0.05
    assert None not in {getattr(kept, name) for name in ("epochs", "learning_rate", "threads", "size", "channels")}


def test_the_loss_is_the_architectures_own_unless_one_is_said():
    facts = {"train_images": 100, "size": (32, 32), "channels": 1, "device": "cpu", "threads": 1}
    assert Recipe().resolved(**facts).loss == "cross_entropy"
    assert Recipe(model="LeNet5-1998").resolved(**facts).loss == "rbf"
    assert Recipe(model="lenet5_1998", loss="cross_entropy").resolved(**facts).loss == "cross_entropy"
    with pytest.raises(UsageError, match="label_smoothing goes with the loss cross_entropy, not rbf"):
        Recipe(model="lenet5_1998", label_smoothing=0.1).resolved(**facts)


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().epochs = 3  # type: ignore[misc]


FIELDS = set(Recipe.model_fields) - {"source"}


def test_python_takes_every_field_by_its_name():
    names = set(inspect.signature(foveal.train).parameters)
    assert names - FIELDS == {"source", "out", "resume", "recipe", "trust", "progress"} and names >= FIELDS


def test_the_command_line_takes_every_field_by_its_name():
    command = typer.main.get_command(app)
    own = {
        "train": {
            "source",
            "out",
            "resume",
            "recipe",
            "repeats",
            "folds",
            "new_split",
            "trust",
            "learning_curve",
            "shares",
        },
        "find-lr": {"source", "out", "recipe", "trust"},
    }
    renamed = {"model_options": "model_option", "time_limit_s": "time_limit"}  # NAME=VALUE; a time with its unit
    for verb, others in own.items():
        options = {one.name: one.opts for one in command.commands[verb].params}
        for field in FIELDS:
            option = renamed.get(field, field)
            assert f"--{option.replace('_', '-')}" in options[option]
        assert set(options) - {renamed.get(field, field) for field in FIELDS} - {"help"} == others


def test_what_is_said_on_the_command_line_is_said_in_the_recipe():
    import typing

    from foveal.cli.recipe_options import recipe_options

    hints = typing.get_type_hints(recipe_options)
    given = {name: _example(name, hint) for name, hint in hints.items() if name != "return"}
    fields = recipe_options(**given)
    assert set(fields) == FIELDS
    assert recipe_options(**dict.fromkeys(given)) == {}


def _example(name: str, hint: object) -> object:
    """A word of the command line as typer would hand it over."""
    import enum
    import typing

    kind = next(one for one in typing.get_args(hint) if one is not type(None))
    if typing.get_args(kind):  # list[…]
        one = typing.get_args(kind)[0]
        return [next(iter(one))] if isinstance(one, enum.EnumType) else ["a=b"]
    if isinstance(kind, enum.EnumType):
        return next(iter(kind))
    return {"size": "32", "classes": "a,b"}.get(name, kind("1"))


def test_networks_that_diverge_at_the_usual_rate_start_lower():
    def rate(model: str, **fields: object) -> float | None:
        recipe = Recipe(model=model, **fields)
        return recipe.resolved(train_images=9, size=(64, 64), channels=3, device="cpu", threads=1).learning_rate

    assert (rate("resnet18"), rate("vgg11"), rate("alexnet", learning_rate=0.02)) == (0.003, 0.0003, 0.02)
