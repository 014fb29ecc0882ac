"""Each loss against its formula in NumPy and numbers worked out by hand; gradients against differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from foveal.models.catalog import create_model
from foveal.training.losses import focal, mse, rbf, rbf_mse, training_loss, validation_loss
from foveal.training.recipe import Recipe

ROWS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0], [1.0, 1.0, -6.0]])
LABELS = np.array([0, 2, 0, 1])
WEIGHTS = np.array([1.0, 3.0, 0.25])
LOSSES = ["cross_entropy", "focal", "mse", "rbf", "rbf_mse"]


def recipe(loss: str, **fields: object) -> Recipe:
    model = "lenet5_1998" if loss.startswith("rbf") else "lenet5"
    return Recipe(model=model, loss=loss, **fields)


def by_formula(loss: str, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the loss of each image as the papers write it, at γ = 2 and j = 50."""
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    right = np.arange(len(y)), y
    if loss == "focal":
        return -((1 - p[right]) ** 2) * np.log(p[right])
    if loss == "mse":
        return ((p - np.eye(z.shape[1])[y]) ** 2).mean(1)
    penalties = -z
    if loss == "rbf":
        return penalties[right] + np.log(np.exp(-50) + np.exp(-penalties).sum(1))
    return penalties[right] if loss == "rbf_mse" else -np.log(p[right])


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_its_formula_with_and_without_class_weights(loss):
    z, y, w = torch.tensor(ROWS), torch.tensor(LABELS), torch.tensor(WEIGHTS)
    each = by_formula(loss, ROWS, LABELS)
    assert float(training_loss(z, y, recipe(loss))) == pytest.approx(each.mean(), rel=1e-12)
    weighted = (each * WEIGHTS[LABELS]).sum() / WEIGHTS[LABELS].sum()
    assert float(training_loss(z, y, recipe(loss), w)) == pytest.approx(weighted, rel=1e-12)
    assert float(validation_loss(z, y, recipe(loss))) == pytest.approx(each.mean(), rel=1e-12)


def test_numbers_worked_out_by_hand():
    even = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])  # p = 1/2
    assert focal(*even, 2.0).item() == pytest.approx(0.25 * 0.6931471805599453)
    assert focal(*even, 1.0).item() == pytest.approx(0.5 * 0.6931471805599453)
    assert mse(*even).item() == pytest.approx(0.25)
    assert rbf(*even, 1e-300).item() == pytest.approx(1.0986122886681098)  # log 3: two classes and rubbish, all at 0
    near = torch.tensor([[-4.0, -8.0]], dtype=torch.float64), torch.tensor([0])
    assert rbf_mse(*near).item() == 4
    assert rbf(*near, 4.0).item() == pytest.approx(0.7022632)  # log(2 + e^-4)


def test_focal_without_gamma_and_rbf_without_rubbish_are_cross_entropy():
    z, y, w = torch.tensor(ROWS), torch.tensor(LABELS), torch.tensor(WEIGHTS)
    for weights in (None, w):
        oracle = F.cross_entropy(z, y, weights).item()
        assert training_loss(z, y, recipe("focal", focal_gamma=0.0), weights).item() == pytest.approx(oracle, rel=1e-12)
        rubbish_free = training_loss(z, y, recipe("rbf", rubbish_penalty=1e6), weights)
        assert rubbish_free.item() == pytest.approx(oracle, rel=1e-12)


def test_validation_leaves_label_smoothing_out():
    z, y = torch.tensor(ROWS), torch.tensor(LABELS)
    smoothed = recipe("cross_entropy", label_smoothing=0.2)
    assert training_loss(z, y, smoothed) == F.cross_entropy(z, y, label_smoothing=0.2) != F.cross_entropy(z, y)
    assert validation_loss(z, y, smoothed) == F.cross_entropy(z, y)


@pytest.mark.parametrize("loss", [*LOSSES, "focal 0.5"])
def test_gradients_are_those_of_finite_differences(loss):
    name, _, gamma = loss.partition(" ")
    chosen = recipe(name, **({"focal_gamma": float(gamma)} if gamma else {}))
    z = torch.tensor(ROWS, requires_grad=True)
    y, w = torch.tensor(LABELS), torch.tensor(WEIGHTS)
    assert torch.autograd.gradcheck(lambda z: training_loss(z, y, chosen, w), (z,))


@settings(max_examples=60, deadline=None)
@given(
    z=npst.arrays(np.float32, (4, 3), elements=st.floats(-300, 300, width=32)),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
    penalty=st.floats(0.01, 500),
)
def test_nothing_overflows_where_a_network_is_sure(z, gamma, penalty):
    labels = torch.tensor(LABELS)
    ways = [recipe("focal", focal_gamma=gamma), recipe("mse"), recipe("rbf", rubbish_penalty=penalty)]
    for way in ways:
        output = torch.tensor(z, requires_grad=True)
        loss = training_loss(output, labels, way)
        loss.backward()
        assert torch.isfinite(loss) and loss >= 0
        assert torch.isfinite(output.grad).all()


def test_focal_looks_away_from_what_is_right_already():
    z = torch.tensor([[3.0, 0.0], [0.0, 3.0]], requires_grad=True)
    y = torch.tensor([0, 0])

    def pull(gamma: float) -> float:
        (gradient,) = torch.autograd.grad(focal(z, y, gamma).sum(), z)
        right, wrong = gradient.abs().sum(1).tolist()
        return right / wrong

    assert pull(0.0) > 10 * pull(2.0) > 100 * pull(5.0)


def test_the_penalties_of_the_network_are_squared_distances_to_the_codes():
    torch.manual_seed(0)
    network = create_model("lenet5_1998")
    seen = {}
    network.get_submodule("act6").register_forward_hook(lambda module, inputs, output: seen.update(f6=output))
    y = torch.tensor([7, 1, 1])
    loss = training_loss(network(torch.randn(3, 1, 32, 32)), y, recipe("rbf_mse"))
    distances = F.mse_loss(seen["f6"], network.state_dict()["rbf.codes"][y], reduction="none").sum(1)
    assert loss.item() == pytest.approx(distances.mean().item(), rel=1e-5)


@pytest.mark.slow
def test_the_network_of_1998_learns_to_read(real_data, tmp_path: Path):
    """A fifth of MNIST, four epochs: above 94 % on images that it has not seen."""
    from foveal import load, train

    mnist = load(real_data / "mnist")
    rows = np.flatnonzero(mnist.given_splits == "train")[:12_000]
    run = train(
        mnist.take(rows), out=tmp_path / "run", model="lenet5_1998", epochs=4, split_by="image",
        threads=1, progress=False,
    )  # fmt: skip
    assert run.metrics["test"]["accuracy"]["value"] > 0.94
