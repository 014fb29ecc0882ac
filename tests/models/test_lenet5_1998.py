"""The LeNet-5 of 1998 against the paper's numbers and against a forward pass written in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from foveal.errors import UsageError
from foveal.models.anatomy import layer_table
from foveal.models.catalog import create_model
from foveal.models.lenet_1998 import PartialConv, Penalties, Squash, Subsampling

TABLE_I = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""  # as the paper prints it: a row a map of S2, a column a map of C3
SEEN = np.array([line.split() for line in TABLE_I.split("\n") if line]).T == "X"  # (16, 6)

PAPER = {  # parameters and connections, section II-B
    "conv1": (156, 122_304, "6×28×28"),
    "sub1": (12, 5_880, "6×14×14"),
    "conv2": (1_516, 151_600, "16×10×10"),
    "sub2": (32, 2_000, "16×5×5"),
    "conv3": (48_120, 48_120, "120×1×1"),
    "fc1": (10_164, 10_164, "84"),
    "rbf": (0, 840, "10"),
}


def test_parameters_and_connections_are_those_of_the_paper():
    table = layer_table(create_model("lenet5_1998"), 1, 32, 32)
    counted = {row.name: (row.parameters, row.connections, row.output) for row in table if row.connections}
    assert counted == PAPER
    assert sum(row.parameters for row in table) == 60_000
    assert sum(row.connections for row in table) == 340_908


def squash(x: np.ndarray) -> np.ndarray:
    return 1.7159 * np.tanh(2 * x / 3)


def subsample(x: np.ndarray, w: dict[str, np.ndarray], layer: str) -> np.ndarray:
    total = x[:, 0::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 0::2] + x[:, 1::2, 1::2]
    return total * w[f"{layer}.coefficient"][:, None, None] + w[f"{layer}.bias"][:, None, None]


def forward(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """Return the ten penalties of one image x (32, 32), connection by connection."""
    c1 = np.stack([correlate2d(x, w["conv1.weight"][i, 0], "valid") + w["conv1.bias"][i] for i in range(6)])
    s2 = squash(subsample(squash(c1), w, "sub1"))
    kernels = iter(w["conv2.kernels"])
    c3 = np.stack(
        [
            w["conv2.bias"][i] + sum(correlate2d(s2[j], next(kernels), "valid") for j in range(6) if SEEN[i, j])
            for i in range(16)
        ]
    )
    assert next(kernels, None) is None
    s4 = squash(subsample(squash(c3), w, "sub2"))
    c5 = squash((w["conv3.weight"] * s4).sum(axis=(1, 2, 3)) + w["conv3.bias"])
    f6 = squash(w["fc1.weight"] @ c5 + w["fc1.bias"])
    return ((f6 - w["rbf.codes"]) ** 2).sum(axis=1)


def test_forward_pass_equals_numpy():
    torch.manual_seed(3)
    network = create_model("lenet5_1998").double()
    for one in network.parameters():
        nn.init.normal_(one, std=0.3)  # far enough from zero for every nonlinearity to matter
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    weights = {key: one.numpy() for key, one in network.state_dict().items()}
    with torch.no_grad():
        ours = network(x).numpy()
    for image, row in zip(x.numpy(), ours, strict=True):
        assert -row == pytest.approx(forward(image[0], weights), rel=1e-10)


@pytest.mark.parametrize(
    ("layer", "shape"), [(Squash(), (2, 3)), (Subsampling(2), (2, 2, 4, 4)), (Penalties(torch.ones(3, 4)), (2, 4))]
)
def test_gradients_of_the_layers(layer, shape):
    torch.manual_seed(0)
    layer = layer.double()
    for one in layer.parameters():
        nn.init.normal_(one)
    assert torch.autograd.gradcheck(layer, torch.randn(shape, dtype=torch.float64, requires_grad=True))


def test_c3_learns_as_a_dense_convolution_with_holes_would():
    torch.manual_seed(0)
    ours = PartialConv(((0, 2), (1,)), inputs=3, side=2).double()
    nn.init.normal_(ours.kernels)
    nn.init.normal_(ours.bias)
    dense = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    places = [(0, 0), (0, 2), (1, 1)]
    for kernel, place in zip(ours.kernels.detach(), places, strict=True):
        dense[place] = kernel
    dense.requires_grad_()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    aim = torch.randn(2, 2, 3, 3, dtype=torch.float64)
    (ours(x) * aim).sum().backward()
    (nn.functional.conv2d(x, dense, ours.bias.detach()) * aim).sum().backward()
    assert torch.allclose(ours.kernels.grad, torch.stack([dense.grad[place] for place in places]), rtol=1e-12)
    assert ours.bias.grad == pytest.approx(aim.sum(dim=(0, 2, 3)))


def test_first_weights_are_uniform_in_2_4_over_the_fan_in():
    torch.manual_seed(0)
    state = create_model("lenet5_1998").state_dict()
    fan_ins = {"conv1.weight": 25, "sub1.coefficient": 4, "conv3.weight": 400, "conv3.bias": 400, "fc1.weight": 120}
    for name, fan_in in fan_ins.items():
        largest = state[name].abs().max().item() * fan_in / 2.4
        assert (0.5 if state[name].numel() < 100 else 0.95) < largest <= 1, name
    fan_in = np.repeat(SEEN.sum(1), SEEN.sum(1)) * 25  # a kernel of C3 belongs to a map that sees 3, 4 or 6
    scaled = (state["conv2.kernels"].abs().amax(dim=(1, 2)) * torch.tensor(fan_in)).numpy() / 2.4
    assert scaled.max() <= 1 and scaled.min() > 0.7
    assert state["conv3.weight"].std().item() == pytest.approx(2.4 / 400 / 3**0.5, rel=0.02)


def test_one_and_minus_one_are_fixed_points_of_the_squash():
    assert Squash()(torch.tensor([1.0, -1.0])).numpy() == pytest.approx([1, -1], abs=1e-5)


def test_the_codes_are_ten_different_digits_that_no_optimiser_sees():
    network = create_model("lenet5_1998")
    codes = network.state_dict()["rbf.codes"]
    assert codes.shape == (10, 84) and set(codes.unique().tolist()) == {-1, 1}
    apart = (codes[:, None] != codes).sum(2) + 84 * torch.eye(10)
    assert apart.min() >= 13  # 0 and 6; flipping six pixels never makes one digit another
    assert "rbf.codes" not in dict(network.named_parameters())
    with torch.no_grad():
        assert network.get_submodule("rbf")(codes[3:4])[0].argmax() == 3
        assert network.get_submodule("rbf")(codes[3:4])[0, 3] == 0


def drawn(*signs: int) -> str:
    """Return codes as one would draw them: a code of one sign each, in rows of seven."""
    return "\n\n".join("\n".join(["#######" if one > 0 else ". . . . . . ."] * 12) for one in signs)


def test_other_classes_take_codes_of_their_own():
    network = create_model("lenet5_1998", classes=2, options={"codes": drawn(1, -1)})
    assert network.state_dict()["rbf.codes"].mean(1).tolist() == [1, -1]

    def random(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return create_model("lenet5_1998", classes=37, options={"codes": "random"}).state_dict()["rbf.codes"]

    assert torch.equal(random(1), random(1)) and not torch.equal(random(1), random(2))
    assert len(random(1).unique(dim=0)) == 37 and abs(random(1).mean()) < 0.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"classes": 3}, "drawn codes for ten classes, not 3; --model-option codes=random"),
        ({"channels": 3}, "grey images of 32×32, not 32×32 with 3 channels"),
        ({"size": (28, 28)}, "not 28×28 with 1 channel."),
        ({"options": {"codes": "digit"}}, 'not "digit"'),
        ({"options": {"codes": ""}}, 'not ""'),
        ({"classes": 2, "options": {"codes": drawn(1)}}, "2 × 84 = 168 marks # and ., not 84"),
        ({"classes": 2, "options": {"codes": drawn(1, 1)}}, "two classes the same code"),
    ],
)
def test_what_it_cannot_take_is_said(arguments, said):
    with pytest.raises(UsageError, match=said):
        create_model("lenet5_1998", **arguments)


def test_state_dict_is_the_one_that_stored_classifiers_have():
    state = {key: tuple(one.shape) for key, one in create_model("lenet5_1998").state_dict().items()}
    assert state == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "sub1.coefficient": (6,),
        "sub1.bias": (6,),
        "conv2.kernels": (60, 5, 5),
        "conv2.bias": (16,),
        "sub2.coefficient": (16,),
        "sub2.bias": (16,),
        "conv3.weight": (120, 16, 5, 5),
        "conv3.bias": (120,),
        "fc1.weight": (84, 120),
        "fc1.bias": (84,),
        "rbf.codes": (10, 84),
    }
