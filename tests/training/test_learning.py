"""What the loop does: it learns, weighs, smooths, clips, stops early, and says when it diverges."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

import foveal
from foveal.errors import TrainingError
from foveal.models.catalog import create_model
from foveal.models.network import Heads
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.loop import Fit, class_weights, fit, learn, validate
from foveal.training.recipe import Recipe
from foveal.training.schedule import Schedule
from foveal.training.stage import TrainingData
from foveal.training.state import TrainingState

PREPROCESS = Preprocess(1, 24, 24, 16, 16, "stretch", (0.3,), (0.35,))


def digits(train: int, validation: int, *, same: bool = False) -> TrainingData:
    """Digits enlarged to 16×16 in a frame of 24×24; with `same`, validation sees the training images."""
    images = np.kron(load_digits().images[: train + validation], np.ones((2, 2)))
    pixels = np.pad(images * (255 / 16), ((0, 0), (4, 4), (4, 4))).astype(np.uint8)[..., None]
    rows = np.arange(train + validation)
    return TrainingData(pixels, load_digits().target, rows[:train], rows[:train] if same else rows[train:], 10)


def resolved(**fields: object) -> Recipe:
    return Recipe(**fields).resolved(train_images=100, size=(24, 24), channels=1, device="cpu", threads=1)


def run_fit(folder: Path, data: TrainingData, **fields: object) -> tuple[Fit, nn.Module, Run]:
    recipe, run = resolved(**fields), Run(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = create_model(recipe.model, size=(24, 24), options=recipe.model_options)
        return fit(network, data, PREPROCESS, recipe, run, Progress(silent=True)), network, run


def test_a_tiny_lenet_learns_32_digits_by_heart(tmp_path):
    result, network, run = run_fit(tmp_path, digits(32, 10, same=True), epochs=40, batch_size=8, patience=0)
    losses = [row["train_loss"] for row in run.history]
    assert losses[-1] < 0.05 and losses[0] > 1
    assert run.history[-1]["validation_accuracy"] == 1
    assert result.epochs == 40 and not result.stopped_early and not network.training


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "plateau", "constant"])
def test_every_schedule_and_optimiser_learns_and_the_history_says_the_last_rate(tmp_path, schedule):
    optimizers = {"one_cycle": "adamw", "cosine": "adam", "step": "rmsprop", "plateau": "sgd", "constant": "sgd"}
    result, _, run = run_fit(
        tmp_path, digits(96, 40), epochs=4, batch_size=16, schedule=schedule, optimizer=optimizers[schedule]
    )
    history = run.history
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    if schedule != "plateau":
        oracle = Schedule(schedule, resolved(optimizer=optimizers[schedule]).learning_rate, 24)
        assert [row["learning_rate"] for row in history] == [oracle.rate(6 * epoch - 1) for epoch in range(1, 5)]
    marked = [row["epoch"] for row in history if row["best"]]
    assert marked[-1] == result.best_epoch == 1 + int(np.argmin([row["validation_loss"] for row in history]))


def test_early_stopping_stops_and_gives_the_best_weights_back(tmp_path):
    data = digits(64, 64)
    fields = {"epochs": 60, "batch_size": 8, "patience": 3, "schedule": "constant", "learning_rate": 0.01}
    result, network, run = run_fit(tmp_path, data, model="mlp", **fields)
    losses = [row["validation_loss"] for row in run.history]
    assert result.stopped_early and result.epochs == result.best_epoch + 3 < 60
    assert losses[-1] > min(losses) == losses[result.best_epoch - 1]
    loss, accuracy = validate(network, data, PREPROCESS.normalise, resolved(), torch.device("cpu"))
    assert loss == min(losses) and accuracy == run.history[result.best_epoch - 1]["validation_accuracy"]


def test_balanced_weights_are_scikit_learns():
    data = digits(200, 20)
    oracle = compute_class_weight("balanced", classes=np.arange(10), y=data.labels[:200])
    assert class_weights(data, "balanced", torch.device("cpu")).numpy() == pytest.approx(oracle, rel=1e-6)
    assert class_weights(data, "none", torch.device("cpu")) is None


def one_step(**fields: object) -> tuple[TrainingState, torch.Tensor, torch.Tensor, Recipe]:
    torch.manual_seed(0)
    recipe = resolved(model="mlp", optimizer="sgd", momentum=0, weight_decay=0, **fields)
    state = TrainingState.begin(create_model("mlp", classes=4, size=(24, 24)), recipe, steps=10)
    return state, torch.randn(6, 1, 24, 24), torch.tensor([0, 1, 2, 3, 0, 0]), recipe


def test_label_smoothing_and_class_weights_enter_the_loss_as_defined():
    state, x, labels, recipe = one_step(label_smoothing=0.1)
    weights = torch.tensor([1.0, 2.0, 0.5, 4.0])
    with torch.no_grad():
        logs = torch.log_softmax(state.network(x).double(), 1).numpy()
    loss, hits = learn(state, x, labels, weights, recipe, 0.1)
    w, y = weights.double().numpy(), labels.numpy()
    sharp = -(w[y] * logs[np.arange(6), y]).sum() / w[y].sum()
    smooth = -(w * logs).sum() / w[y].sum() / 4
    assert float(loss) == pytest.approx(0.9 * sharp + 0.1 * smooth, abs=1e-6)
    assert int(hits) == (logs.argmax(1) == y).sum()


def test_the_gradient_is_clipped_to_its_norm():
    for clip, expected in ((1e-3, 1e-3), (None, None)):
        state, x, labels, recipe = one_step(clip_norm=clip)
        before = [one.detach().clone() for one in state.optimizer.parameters]
        learn(state, x, labels, None, recipe, 1.0)
        after = [one.detach() for one in state.optimizer.parameters]
        moved = sum(float(((one - old) ** 2).sum()) for one, old in zip(after, before, strict=True)) ** 0.5
        assert moved == pytest.approx(expected, rel=1e-2) if expected else moved > 0.1


def test_divergence_is_said_with_advice_and_the_run_is_kept(few_digits, run_dir):
    with pytest.raises(TrainingError, match=r"epoch \d: training diverged.*--learning-rate below 1e\+09") as refused:
        foveal.train(
            few_digits, out=run_dir, epochs=3, optimizer="sgd", learning_rate=1e9, schedule="constant", progress=False
        )
    assert refused.value.exit_code == 8
    assert (run_dir / "recipe.toml").is_file() and not (run_dir / "classifier").exists()


def test_divergence_is_noticed_within_a_long_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.training.loop.SPEAK_EVERY_S", 0)
    monkeypatch.setattr("foveal.training.loop.validate", lambda *_: pytest.fail("the epoch went on to its end"))
    with pytest.raises(TrainingError, match="diverged"):
        run_fit(
            tmp_path, digits(96, 10), epochs=1, batch_size=8, optimizer="sgd", learning_rate=1e9, schedule="constant"
        )


class TwoHeads(nn.Module):
    """A dense layer, and another one beside it that serves training only."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.aside = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Heads:
        features = x.mean((2, 3))  # (B, 4)
        return Heads(self.last(features), (self.aside(features),), weight=0.3)


def test_auxiliary_heads_are_learned_from_by_their_weight_and_not_counted_in_the_loss_that_is_told():
    torch.manual_seed(3)
    network, recipe = TwoHeads(), resolved(optimizer="sgd", momentum=0.0, weight_decay=0.0)
    x, labels = torch.randn(5, 4, 2, 2), torch.tensor([0, 1, 2, 1, 0])
    expected = copy.deepcopy(network)
    answer = expected(x)
    losses = [nn.functional.cross_entropy(one, labels) for one in (answer.logits, *answer.auxiliary)]
    (losses[0] + 0.3 * losses[1]).backward()
    told, _ = learn(TrainingState.begin(network, recipe, steps=1), x, labels, None, recipe, rate=0.1)
    assert torch.equal(told, losses[0].detach())
    for (name, moved), was in zip(network.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(moved, was - 0.1 * was.grad, atol=1e-7), name
