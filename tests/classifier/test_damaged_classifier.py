"""Every way in which a stored classifier can be wrong has a sentence of its own, and nothing is loaded."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from foveal.classifier import Classifier
from foveal.classifier.card import CARD, WEIGHTS
from foveal.errors import ClassifierError


def refusal(folder: Path) -> str:
    with pytest.raises(ClassifierError) as refused:
        Classifier.load(folder)
    text = str(refused.value)
    assert "\n" not in text and len(text) < 400
    return text


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), file=st.sampled_from([WEIGHTS, CARD]))
def test_any_flipped_bit_is_noticed(copy, where, bit, file):
    content = (copy / file).read_bytes()
    at = int(where * len(content))
    try:
        (copy / file).write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        text = refusal(copy)
        assert file != WEIGHTS or "damaged or was exchanged" in text
    finally:
        (copy / file).write_bytes(content)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_weights(copy, kept):
    content = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(content[:kept])
    assert "damaged or was exchanged" in refusal(copy)


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    assert f"{name} is missing" in refusal(copy)


def test_nothing_there_and_something_else_there(tmp_path):
    assert "There is no run or classifier at" in refusal(tmp_path / "nowhere")
    assert "neither a run nor a classifier" in refusal(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "neither a run nor a classifier" in refusal(tmp_path / "file")


@pytest.mark.parametrize("weights_there", [False, True])
def test_an_unfinished_run_says_how_to_finish_it(tmp_path, weights_there):
    run = tmp_path / "my run"
    (run / "classifier").mkdir(parents=True)
    (run / "recipe.toml").write_text("")
    if weights_there:  # killed between the weights and the card
        (run / "classifier" / WEIGHTS).write_bytes(b"")
    text = refusal(run)
    assert "has not finished" in text and f"foveal train --resume '{run}'" in text


def drop(weights: dict[str, torch.Tensor]) -> None:
    del weights["output.bias"]


def add(weights: dict[str, torch.Tensor]) -> None:
    weights["output.extra"] = torch.zeros(3)


def reshape(weights: dict[str, torch.Tensor]) -> None:
    weights["output.bias"] = torch.zeros(4)


def broadcast(weights: dict[str, torch.Tensor]) -> None:
    weights["output.bias"] = torch.zeros(1)


def retype(weights: dict[str, torch.Tensor]) -> None:
    weights["output.bias"] = weights["output.bias"].half()


def not_a_number(weights: dict[str, torch.Tensor]) -> None:
    weights["conv1.weight"].view(-1)[3] = float("nan")


def infinite(weights: dict[str, torch.Tensor]) -> None:
    weights["bn1.running_var"][0] = float("inf")


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (drop, "it lacks output.bias"),
        (add, "it has also output.extra"),
        (reshape, "output.bias is (4,) torch.float32, not (3,) torch.float32"),
        (broadcast, "output.bias is (1,) torch.float32, not (3,)"),
        (retype, "output.bias is (3,) torch.float16, not (3,) torch.float32"),
        (not_a_number, "NaN or infinite) in conv1.weight"),
        (infinite, "NaN or infinite) in bn1.running_var"),
    ],
)
def test_forged_weights_whose_hashes_fit(copy, reseal, forge, said):
    weights = load_file(copy / WEIGHTS)
    forge(weights)
    reseal(weights)
    assert said in refusal(copy)


class Trap:
    """Unpickling this would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_is_never_opened(copy, reseal, tmp_path):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    (copy / WEIGHTS).write_bytes(trap)
    assert "damaged or was exchanged" in refusal(copy)
    reseal(trap)
    assert "no safetensors file" in refusal(copy)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card["classes"].reverse(),
        lambda card: card["preprocess"].update(fit="crop"),
        lambda card: card["preprocess"].update(mean=[0.41]),
        lambda card: card["provenance"].update(dataset="other"),
        lambda card: card.pop("content_hash"),
    ],
)
def test_an_edited_card_no_longer_fits_its_hash(copy, edit):
    card = json.loads((copy / CARD).read_text())
    edit(card)
    (copy / CARD).write_text(json.dumps(card))
    assert "changed after it was written" in refusal(copy)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json", "is damaged"),
        ("[1, 2]", "not the card of a classifier"),
        ("{}", "not the card of a classifier"),
        ('{"schema_version": "1"}', "not the card of a classifier"),
        ('{"schema_version": 2}', "newer Foveal (schema 2); update Foveal"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_card(copy, content, said):
    (copy / CARD).write_text(content)
    assert said in refusal(copy)
    (copy / CARD).write_bytes(b"\xff\xfe\x00")
    assert "is damaged" in refusal(copy)


PREPROCESS = {
    "channels": 1,
    "height": 20,
    "width": 18,
    "content_height": 16,
    "content_width": 16,
    "fit": "letterbox",
    "mean": [0.4],
    "std": [0.2],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": {"name": "lenet6", "options": {}}}, 'no model "lenet6"'),
        ({"architecture": {"name": "simple_cnn", "options": {"spec": "conv"}}}, '"conv" is no layer'),
        ({"architecture": {"name": "simple_cnn", "options": 5}}, "its architecture is not an object"),
        ({"architecture": "simple_cnn"}, "its architecture is not an object"),
        ({"architecture": {"name": "mlp", "options": {}}}, "does not fit the architecture: it lacks fc1"),
        ({"classes": "abc"}, "its classes are not a list of names"),
        ({"classes": ["a", "b", 3]}, "its classes are not a list of names"),
        ({"classes": ["a", "b", "a"]}, "one is named twice"),
        ({"classes": ["a"]}, "fewer than two"),
        ({"classes": ["a", "b"]}, "does not fit the architecture"),
        ({"classes": None}, "its classes are not a list of names"),
        ({"preprocess": {}}, "preprocessing is incomplete"),
        ({"preprocess": []}, "preprocessing is damaged"),
        ({"preprocess": PREPROCESS | {"std": [0]}}, "std above zero"),
        ({"preprocess": PREPROCESS | {"std": [float("nan")]}}, "mean and std are finite"),
        ({"preprocess": PREPROCESS | {"mean": [1e999]}}, "mean and std are finite"),
        ({"preprocess": PREPROCESS | {"height": 20.5}}, "whole numbers"),
        ({"preprocess": PREPROCESS | {"height": 10**9}}, "megapixels"),
        ({"provenance": 7}, "not the card of a classifier"),
        ({"layers": None}, "not the card of a classifier"),
    ],
)
def test_a_forged_card_whose_hashes_fit(copy, reseal, changes, said):
    reseal(**changes)
    assert said in refusal(copy)


def test_the_forger_itself_changes_nothing(copy, reseal):
    """Otherwise the tests above might pass for the wrong reason."""
    reseal(load_file(copy / WEIGHTS))
    Classifier.load(copy)
