"""Activations, normalisation, dense layer and dropout in NumPy against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal import ops
from foveal.errors import UsageError

VALUES = np.concatenate([np.linspace(-8, 8, 101), [-800.0, 800.0, 0.0]])


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "gelu", "sigmoid", "silu", "hardswish", "tanh"])
def test_activations_are_torchs(name):
    expected = getattr(nn.functional, name, getattr(torch, name, None))(torch.tensor(VALUES)).numpy()
    assert getattr(ops, name)(VALUES) == pytest.approx(expected, abs=1e-12)


def test_softmax_is_torchs_and_never_overflows():
    x = np.random.default_rng(0).normal(size=(4, 7)) * 300
    for axis in (0, 1):
        expected = torch.softmax(torch.tensor(x), axis).numpy()
        assert ops.softmax(x, axis) == pytest.approx(expected, abs=1e-12)


def test_batch_norm_in_training_and_in_prediction():
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    layer = nn.BatchNorm2d(3).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    assert ops.batch_norm(x.numpy(), weight, bias) == pytest.approx(layer(x).detach().numpy(), abs=1e-12)
    layer.eval()
    mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()
    found = ops.batch_norm(x.numpy(), weight, bias, mean=mean, variance=variance)
    assert found == pytest.approx(layer(x).detach().numpy(), abs=1e-12)
    with pytest.raises(UsageError, match="both mean and variance"):
        ops.batch_norm(x.numpy(), mean=mean)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_local_response_norm(size):
    x = torch.randn(1, 7, 3, 3, dtype=torch.float64)
    expected = nn.functional.local_response_norm(x, size, alpha=5e-4, beta=0.75, k=2.0)[0].numpy()
    assert ops.local_response_norm(x[0].numpy(), size) == pytest.approx(expected, abs=1e-12)


def test_dense_and_flatten():
    torch.manual_seed(0)
    layer, x = nn.Linear(12, 4).double(), torch.randn(3, 2, 2, dtype=torch.float64)
    expected = layer(x.flatten()).detach().numpy()
    found = ops.dense(ops.flatten(x.numpy()), layer.weight.detach().numpy(), layer.bias.detach().numpy())
    assert found == pytest.approx(expected, abs=1e-12)
    with pytest.raises(UsageError, match="does not go with"):
        ops.dense(np.zeros(3), np.zeros((2, 4)))


def test_dropout_keeps_the_expected_value():
    x = np.full(20_000, 3.0)
    dropped = ops.dropout(x, 0.25, rng=np.random.default_rng(0))
    assert set(np.unique(dropped)) == {0.0, 4.0}
    assert dropped.mean() == pytest.approx(3.0, abs=0.05)
    assert np.array_equal(ops.dropout(x, 0.25), x)
    with pytest.raises(UsageError, match="from 0 to below 1"):
        ops.dropout(x, 1.0)
