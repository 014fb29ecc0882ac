"""Training that starts from published weights: their preprocessing, their hash in the recipe, exact resumption."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import foveal
from foveal.errors import ClassifierError, Interrupted, UsageError
from foveal.models.catalog import create_model
from foveal.models.weights import cache, pretrained
from foveal.models.weights.adding import add
from foveal.training import loop
from foveal.training.recipe import LEARNING_RATES, read_recipe

SMALL = {
    "model": "squeezenet1_1", "pretrained": "mine", "transfer": "none", "size": 32, "epochs": 2, "batch_size": 8,
    "progress": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    return keep(tmp_path, seed=0)


def keep(folder: Path, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    tensors = create_model("squeezenet1_1").state_dict()
    save_file(tensors, folder / "mine.safetensors")
    add(folder / "mine.safetensors", as_name="squeezenet1_1.mine")
    return tensors


def test_the_network_starts_from_the_weights_and_sees_what_they_saw(class_folders, tmp_path, weights, monkeypatch):
    began = []
    fit = loop.fit

    def watched(network, *args, **more):
        began.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return fit(network, *args, **more)

    monkeypatch.setattr("foveal.workflows.carry_on.fit_network", watched)
    run = foveal.train(class_folders, out=tmp_path / "run", **SMALL)
    new = {name for name in weights if began[0][name].shape != weights[name].shape}
    assert new == {"classifier.1.weight", "classifier.1.bias"}
    assert all(torch.equal(began[0][name], weights[name]) for name in weights.keys() - new)

    recipe = read_recipe(run.recipe_file)
    tag, _, digest = recipe.pretrained.partition("@")
    assert tag == "mine" and digest == cache.kept(pretrained("squeezenet1_1", "mine")).sha256
    assert (
        digest
        == hashlib.sha256(next((tmp_path / "cache").rglob("squeezenet1_1.mine.safetensors")).read_bytes()).hexdigest()
    )
    assert recipe.learning_rate == pytest.approx(0.1 * LEARNING_RATES["adamw"]) and recipe.fit == "crop"
    seen = foveal.Classifier.load(run.path, device="cpu").preprocess
    own = pretrained("squeezenet1_1").preprocess()
    assert seen == dataclasses.replace(
        own, height=32, width=32, content_height=32, content_width=32, short_side=32 * 256 // 224
    )


def test_what_is_said_goes_before_the_weights_own(class_folders, tmp_path):
    run = foveal.train(class_folders, out=tmp_path / "run", fit="letterbox", channels=1, **{**SMALL, "epochs": 1})
    seen = foveal.Classifier.load(run.path, device="cpu").preprocess
    assert (seen.fit, seen.short_side, seen.channels) == ("letterbox", 0, 1)
    assert seen.mean == pretrained("squeezenet1_1").preprocess(1).mean


def test_an_interrupted_run_goes_on_exactly(class_folders, tmp_path, monkeypatch):
    whole = foveal.train(class_folders, out=tmp_path / "whole", **SMALL)
    end_epoch = loop.end_epoch

    def stop(work):
        if work.state.position.epoch == 1:
            work.state.save(foveal.Run(tmp_path / "cut"))
            raise Interrupted("stopped")
        return end_epoch(work)

    monkeypatch.setattr(loop, "end_epoch", stop)
    with pytest.raises(Interrupted):
        foveal.train(class_folders, out=tmp_path / "cut", **SMALL)
    monkeypatch.undo()
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "elsewhere"))
    keep(tmp_path, seed=1)  # other weights by now: the checkpoint holds all that matters
    resumed = foveal.train(resume=tmp_path / "cut", progress=False)
    a, b = (foveal.Classifier.load(run.path, device="cpu").network.state_dict() for run in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_recipe_that_names_other_weights_is_refused(class_folders, tmp_path):
    with pytest.raises(ClassifierError, match="with the SHA-256 aaaaaaaaaaaa…, not "):
        foveal.train(class_folders, out=tmp_path / "run", **{**SMALL, "pretrained": "mine@" + "a" * 64})
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match='no weights "yours" for squeezenet1_1'):
        foveal.train(class_folders, out=tmp_path / "run", **{**SMALL, "pretrained": "yours"})
    with pytest.raises(UsageError, match="no published weights for lenet5"):
        foveal.train(class_folders, out=tmp_path / "run", pretrained=True, progress=False)


def test_repeats_start_from_the_same_weights(class_folders, tmp_path):
    recipe = foveal.Recipe(**{name: value for name, value in SMALL.items() if name != "progress"}).changed(
        {"epochs": 1}
    )
    repeats = foveal.repeat(class_folders, 2, recipe=recipe, out=tmp_path / "r", progress=False)
    assert len({read_recipe(run.recipe_file).pretrained for run in repeats.runs}) == 1
