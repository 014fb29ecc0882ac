"""Keras 3 models: the backend is chosen before Keras is imported, so in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from foveal.errors import UsageError
from foveal.models.foreign.given import lending


def keras(code: str) -> str:
    """Run `code` after Keras was imported with the torch backend, and return what it printed."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed (make test-all installs it)")
    before = "import os, warnings\nwarnings.simplefilter('ignore')\nos.environ['KERAS_BACKEND'] = 'torch'\n"
    done = subprocess.run(
        [sys.executable, "-c", before + KERAS + code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


KERAS = """
import copy, pickle, keras, numpy as np, torch
from keras import layers as L
from foveal.errors import UsageError
from foveal.models.catalog import create_model
from foveal.models.foreign.given import lending

def made(model, classes=3, shape=(3, 12, 10)):
    with lending(model) as name:
        return create_model(name, classes=classes, channels=shape[0], size=shape[1:])

def body(*end, seed=None):
    return keras.Sequential([keras.Input((12, 10, 3)), L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(),
                             L.GlobalAveragePooling2D(), L.Dropout(0.5, seed=seed), *end])

x = torch.randn(5, 3, 12, 10)
"""


@pytest.mark.slow
def test_a_keras_model_answers_with_its_own_logits():
    keras(
        """
inputs = keras.Input((12, 10, 3))
functional = keras.Model(inputs, L.Softmax()(L.Dense(3)(L.Flatten()(inputs))))
nested = keras.Sequential([keras.Input((12, 10, 3)), body(L.Dense(3, activation="softmax"))])
for model, last in ((body(L.Dense(3, activation="softmax")), True), (body(L.Dense(3), L.Activation("softmax")), True),
                    (functional, True), (nested, True), (body(L.Dense(3)), False)):
    config = model.get_config()
    network = made(model).eval()
    theirs = model(x.permute(0, 2, 3, 1), training=False)
    ours = network(x)
    assert torch.allclose(ours.softmax(1) if last else ours, theirs, atol=1e-6), model
    assert not last or not torch.allclose(ours.sum(1), torch.ones(5))
    assert model.get_config() == config
first = keras.Sequential([keras.Input((3, 12, 10)), L.Flatten(data_format="channels_first"), L.Dense(3)])
assert torch.allclose(made(first).eval()(x), first(x), atol=1e-6)
"""
    )


@pytest.mark.slow
def test_a_keras_model_learns_as_one_of_ours():
    """Modes, moving means, gradients, storage and copies; what was handed over stays as it was."""
    keras(
        """
from safetensors.torch import load, save
model = body(L.Dense(3, activation="softmax"), seed=7)
model.layers[0].trainable = True
before = [one.numpy().copy() for one in model.variables]
network = made(model)
names = list(network.state_dict())
assert len(names) == len(model.variables) and names[0] == "variables.000/conv2d/kernel"
assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 4 * 27 + 4 + 8 + 15
network.train()
moving = network.state_dict()["variables.004/batch_normalization/moving_mean"].clone()
a, b = network(x), network(x)
assert not torch.equal(a, b), "dropout works in training"
assert not torch.equal(moving, network.state_dict()["variables.004/batch_normalization/moving_mean"])
a.sum().backward()
assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
with torch.no_grad():
    for p in network.parameters():
        if p.requires_grad: p -= 0.1 * p.grad
network.eval()
assert torch.equal(network(x), network(x))
assert not torch.allclose(network(x).softmax(1), model(x.permute(0, 2, 3, 1), training=False))
assert all((old == new.numpy()).all() for old, new in zip(before, model.variables))
again = made(body(L.Dense(3, activation="softmax"), seed=7))
again.load_state_dict(load(save(dict(network.state_dict()))))
for twin in (again.eval(), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
    assert torch.equal(twin(x), network(x))
    assert all(torch.equal(twin.state_dict()[key], value) for key, value in network.state_dict().items())
copy.deepcopy(network).variables["000/conv2d/kernel"].data.zero_()
assert network.variables["000/conv2d/kernel"].abs().sum() > 0
frozen = body(L.Dense(3)); frozen.layers[0].trainable = False
assert sum(p.numel() for p in made(frozen).parameters() if p.requires_grad) == 8 + 15
from foveal.models.anatomy import layer_table
assert sum(row.macs for row in layer_table(network, 3, 12, 10)) == 10 * 8 * 4 * 27 + 12
"""
    )


@pytest.mark.slow
def test_one_sentence_for_a_keras_model_that_is_none_for_us():
    out = keras(
        """
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)
    def call(self, x):
        return self.dense(x)
inputs = keras.Input((12, 10, 3))
for model in (Own(), keras.Sequential([L.Dense(3)]), body(L.Dense(3, activation="sigmoid")),
              keras.Sequential([keras.Input((9, 9, 3)), L.Flatten(), L.Dense(3)]),
              body(L.Dense(3, activation="softmax"), L.Reshape((3,)))):
    try:
        made(model)
        print("taken")
    except UsageError as error:
        print(error)
"""
    )
    unbuilt, flexible, sigmoid, size, hidden = out.splitlines()
    assert "no Sequential or functional Keras model" in unbuilt and "no Sequential or functional" in flexible
    assert "ends in sigmoid, whose values are no logits" in sigmoid
    assert "takes images of 9×9×3 (H×W×C), not of 12×10×3" in size
    assert "answers with probabilities, not with logits" in hidden


@pytest.mark.parametrize("has_config", [True, False])
def test_another_backend_is_refused(monkeypatch, has_config):
    stand_in = ModuleType("keras")
    stand_in.Model = type("Model", (), {"name": "net"})
    if has_config:
        stand_in.config = SimpleNamespace(backend=lambda: "jax")
    monkeypatch.setitem(sys.modules, "keras", stand_in)
    with pytest.raises(UsageError) as caught, lending(stand_in.Model()):
        pass
    assert str(caught.value) == (
        f"The Keras model net computes with {'jax' if has_config else 'tensorflow'}; Foveal trains with torch: set the "
        f"environment variable KERAS_BACKEND=torch before keras is imported."
    )
