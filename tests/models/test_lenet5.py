"""LeNet-5 against the paper's table and against a forward pass written in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.models.anatomy import layer_table
from foveal.models.catalog import create_model
from foveal.models.network import parameter_count

ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Slide `kernel` (O, C, k, k) over `x` (C, H, W), one output pixel at a time."""
    side = kernel.shape[-1]
    height, width = x.shape[1] - side + 1, x.shape[2] - side + 1
    out = np.empty((len(kernel), height, width))
    for row in range(height):
        for column in range(width):
            out[:, row, column] = (kernel * x[:, row : row + side, column : column + side]).sum(axis=(1, 2, 3)) + bias
    return out


def halve(x: np.ndarray) -> np.ndarray:
    return (x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]) / 4


def forward(x: np.ndarray, w: dict[str, np.ndarray], activation: str) -> np.ndarray:
    act = ACTIVATIONS[activation]
    for layer in ("conv1", "conv2"):
        x = halve(act(convolve(x, w[f"{layer}.weight"], w[f"{layer}.bias"])))
    x = x.reshape(-1)
    for layer in ("fc1", "fc2"):
        x = act(w[f"{layer}.weight"] @ x + w[f"{layer}.bias"])
    return w["fc3.weight"] @ x + w["fc3.bias"]


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_forward_pass_equals_numpy(activation, channels):
    torch.manual_seed(2)
    network = create_model("lenet5", channels=channels, options={"activation": activation})
    for name, one in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(one)  # zero biases would hide a missing one
    weights = {key: one.double().numpy() for key, one in network.state_dict().items()}
    x = torch.randn(channels, 32, 32)
    with torch.no_grad():
        ours = network(x[None])[0].numpy()
    assert np.abs(ours - forward(x.double().numpy(), weights, activation)).max() < 1e-5


def test_the_table_of_the_paper():
    rows = {row.name: row for row in layer_table(create_model("lenet5"), 1, 32, 32)}
    shapes = {"conv1": "6×28×28", "pool1": "6×14×14", "conv2": "16×10×10", "pool2": "16×5×5", "fc1": "120", "fc2": "84"}
    assert {name: rows[name].output for name in shapes} == shapes
    assert {name: rows[name].parameters for name in ("conv1", "conv2", "fc1", "fc2", "fc3")} == {
        "conv1": 156,
        "conv2": 2_416,
        "fc1": 48_120,
        "fc2": 10_164,
        "fc3": 850,
    }
    assert sum(row.macs for row in rows.values()) == 416_520
    links = [122_304, 0, 4_704, 241_600, 0, 1_600, 0, 48_120, 0, 10_164, 0, 850]  # an average sees four pixels
    assert [row.connections for row in rows.values()] == links
    assert parameter_count(create_model("lenet5", channels=3)) == 62_006


def test_state_dict_is_the_one_that_stored_classifiers_have():
    state = {key: tuple(one.shape) for key, one in create_model("lenet5").state_dict().items()}
    assert state == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }


def test_the_stages_are_the_papers():
    assert list(create_model("lenet5").stages) == ["C1", "S2", "C3", "S4", "C5", "F6", "output"]
