"""The anatomy of networks against numbers counted by hand, against gradients, and against passes with real numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.errors import UsageError
from foveal.models.anatomy import inspect_network, layer_table
from foveal.models.anatomy import trace as tracing
from foveal.models.anatomy.shapes import output_of
from foveal.models.anatomy.summary import lines, rows, table
from foveal.models.catalog import create_model, find


class Residual(nn.Module):
    """A wide branch, a projection, and a squeeze-excitation gate, which sees everything and must not count."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, (5, 3), stride=2, padding=(2, 1), bias=False)
        self.second = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.project = nn.Conv2d(2, 4, 1, stride=2)
        self.narrow, self.widen = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.second(functional.relu_(self.first(x))))
        gate = self.widen(functional.relu(self.narrow(functional.adaptive_avg_pool2d(y, 1)))).sigmoid()
        y = y * gate + self.project(x)
        return self.head(y.mean((2, 3)))


class Branches(nn.Module):
    """Padding apart from the convolution, branches of unlike reach, and a layer that sees them all."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large, self.after = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 7), nn.Conv2d(5, 1, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        large = self.large(functional.pad(x, (3, 3, 3, 3)))
        pooled = functional.max_pool2d(x, 3, stride=1, padding=1)
        return self.after(torch.cat([self.small(x), large, pooled], 1))


class OptionA(nn.Module):
    """ResNet's shortcut without parameters: every second pixel, and channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        return self.conv2(self.conv1(x)) + short


class Shuffled(nn.Module):
    """Channels taken apart, exchanged and put together again; and a layer that wants them last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.point, self.last = nn.Conv2d(4, 4, 3, groups=2), nn.Linear(4, 6), nn.Conv2d(6, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        y = self.point(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.last(y)


def seen_by_gradients(network: nn.Module, channels: int, side: int) -> tuple[int, int]:
    """Return the rows and columns of the image on which a cell in the middle of the last map depends."""
    network = network.double()
    for one in network.parameters():
        nn.init.uniform_(one, 0.1, 1)  # so that nothing cancels and no ReLU closes
    x = torch.rand(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    y = network(x)
    y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
    touched = x.grad[0].sum(0) != 0  # of max pools, one pixel a window: several are looked at
    rows_seen, columns_seen = (touched.any(1 - axis).nonzero().flatten() for axis in (0, 1))
    return int(rows_seen.max() - rows_seen.min()) + 1, int(columns_seen.max() - columns_seen.min()) + 1


def test_a_residual_block_with_a_gate_is_counted_as_by_hand():
    anatomy = inspect_network(Residual(), 2, 16, 20)
    # first: r = 5, 3 at stride 2; second: k = 3, d = 2 adds 2·2·2 = 8
    assert anatomy.receptive_field == (13, 11)
    assert anatomy.stride == (2, 2)
    assert anatomy.last_map == "4×8×10"
    cells = 8 * 10
    expected = {
        "first": 2 * 4 * 15 * cells, "second": 4 * 4 * 9 * cells, "project": 2 * 4 * cells,
        "narrow": 8, "widen": 8, "head": 12,
    }  # fmt: skip
    macs = {layer.name: layer.macs for layer in anatomy.layers if layer.macs}
    assert macs == expected
    assert anatomy.macs == sum(expected.values())
    links = {layer.name: layer.connections for layer in anatomy.layers}
    assert links["first"] == expected["first"]  # it has no bias
    assert links["second"] == expected["second"] + 4 * cells
    by_name = {layer.name: layer for layer in anatomy.layers}
    assert by_name["narrow"].receptive_field is None
    assert by_name["second"].activation_bytes == 4 * cells * 4
    assert anatomy.parameters == anatomy.trainable == sum(one.numel() for one in Residual().parameters())


@pytest.mark.parametrize(
    ("network", "channels", "field", "stride"),
    [(Branches(), 1, (9, 9), (2, 2)), (OptionA(), 2, (7, 7), (2, 2)), (Shuffled(), 4, (5, 5), (1, 1))],
    ids=lambda one: type(one).__name__ if isinstance(one, nn.Module) else None,
)
def test_the_receptive_field_through_branches_is_what_gradients_reach(network, channels, field, stride):
    anatomy = inspect_network(network, channels, 33, 33)
    assert (anatomy.receptive_field, anatomy.stride) == (field, stride)
    assert seen_by_gradients(network, channels, 33) == field


def test_a_dense_block_sees_what_gradients_reach():
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(2 + 2 * n, 2, 3, padding=1) for n in range(3))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.cat([x, layer(x)], 1)
            return x

    anatomy = inspect_network(Dense(), 2, 21, 21)
    assert anatomy.receptive_field == (7, 7) == seen_by_gradients(Dense(), 2, 21)
    assert [node.inputs for node in anatomy.trace.nodes if node.type == "concat"] == [(-1, 0), (1, 2), (3, 4)]


def test_what_covers_the_whole_map_is_a_head():
    stem = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(inplace=True)]
    for pool in (nn.AvgPool2d(8), nn.AdaptiveAvgPool2d(1)):
        anatomy = inspect_network(nn.Sequential(*stem, pool, nn.Flatten(), nn.Linear(2, 2)), 1, 8, 8)
        assert (anatomy.receptive_field, anatomy.last_map) == ((3, 3), "2×8×8")
    assert inspect_network(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), 1, 8, 8).receptive_field == (0, 0)


def test_shared_and_frozen_parameters_are_counted_once_and_said():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(2, 1, 1))
            self.unused = nn.Linear(5, 5)
            self.conv.bias.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * self.conv(self.conv(x))

    anatomy = inspect_network(Twice(), 2, 8, 8)
    assert [(one.name, one.parameters) for one in anatomy.layers] == [("conv", 38), ("conv", 0), ("scale", 2)]
    assert (anatomy.parameters, anatomy.trainable, anatomy.auxiliary_parameters) == (70, 68, 30)
    assert anatomy.macs == 2 * 2 * 2 * 9 * 64
    assert anatomy.receptive_field == (5, 5)


def test_the_network_is_left_as_it_was_found():
    network = create_model("resnet18", classes=3)
    network.train()
    network.layer1.eval()
    network.conv1.weight.grad = torch.ones_like(network.conv1.weight)
    called = []
    network.layer1.register_forward_hook(lambda *_: called.append(1))
    before = {key: (id(one), one._version) for key, one in network.state_dict(keep_vars=True).items()}
    modes = [module.training for module in network.modules()]
    random = torch.get_rng_state()
    inspect_network(network, 3, 64, 64)
    assert {key: (id(one), one._version) for key, one in network.state_dict(keep_vars=True).items()} == before
    assert [module.training for module in network.modules()] == modes
    assert not called
    assert len(network.layer1._forward_hooks) == 1
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert network.conv1.weight.grad is not None
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_that_asks_values_of_its_tensors_is_run_as_it_is():
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.conv(x))
            return y if y.sum().item() > 1e9 else functional.relu(y)

    network = Asking().train()
    anatomy = inspect_network(network, 1, 6, 6)
    assert [node.type for node in anatomy.trace.nodes] == ["Conv2d", "BatchNorm2d", "sum", "relu"]
    assert network.training
    assert network.norm.num_batches_tracked == 0
    assert not network.norm._forward_hooks


def test_weight_norm_is_followed():
    network = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3)))
    assert sum(one.parameters for one in inspect_network(network, 1, 6, 6).layers) == 18 + 2 + 2


SMALL = [("lenet5_1998", 32), ("squeezenet1_1", 33), ("mobilenet_v3_small", 32), ("cifar_resnet20", 32),
         ("convnext_tiny", 32), ("googlenet_2014", 47), ("efficientnet_b0", 32)]  # fmt: skip


@pytest.mark.parametrize(("name", "side"), SMALL)
def test_without_data_the_pass_is_what_it_is_with_data(name, side):
    entry = find(name)
    network = create_model(name, size=(side, side))
    channels = entry.native_input[0]
    real = tracing._run(network, torch.zeros(1, channels, side, side))
    assert tracing.trace(network, channels, side, side) == real


X = torch.rand(2, 4, 6, 6)
ASKED = [
    ("relu", "default", {"self": X}), ("gelu", "default", {"self": X}), ("tanh", "default", {"self": X}),
    ("add", "Tensor", {"self": X, "other": torch.rand(4, 1, 1)}), ("mul", "Tensor", {"self": X, "other": 2.0}),
    ("linear", "default", {"input": X, "weight": torch.rand(5, 6), "bias": None}),
    ("adaptive_avg_pool2d", "default", {"self": X, "output_size": [2, 3]}),
    ("pow", "Tensor_Scalar", {"self": X, "exponent": 2}), ("relu_", "default", {"self": X}),
    ("cat", "default", {"tensors": [X, torch.rand(2, 3, 6, 6)], "dim": 1}),
    ("cat", "default", {"tensors": [X, X], "dim": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "overload", "arguments"), ASKED)
def test_shapes_by_rule_are_torchs(name, overload, arguments):
    def empty(value):
        if isinstance(value, list) and isinstance(value[0], Tensor):
            return [one.to("meta") for one in value]
        return value.to("meta") if isinstance(value, Tensor) else value

    bare = {key: empty(value) for key, value in arguments.items()}
    found = output_of(name, overload, bare, next(iter(bare.values())))
    asked = getattr(getattr(torch.ops.aten, name), overload)(*arguments.values())
    assert found is not None
    assert (found.shape, found.dtype) == (asked.shape, asked.dtype)
    assert (found is next(iter(bare.values()))) == name.endswith("_")


def test_what_does_not_fit_is_left_to_torch():
    meta = X.to("meta")
    assert output_of("cat", "default", {"tensors": [meta, meta[:, :, :3]], "dim": 1}, [meta]) is None
    assert output_of("linear", "default", {"input": meta, "weight": torch.empty(5, 7, device="meta")}, meta) is None
    assert output_of("relu", "default", {"self": X}, X) is None


def test_an_input_that_cannot_be_taken_is_one_sentence():
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5))
    with pytest.raises(UsageError, match=r"Sequential takes images of 3 channels, not 1\."):
        inspect_network(network, 1, 32, 32)
    with pytest.raises(UsageError, match="needs at least 14×14 pixels, not 9×9"):
        inspect_network(network, 3, 9, 9)
    inspect_network(network, 3, 14, 14)
    with pytest.raises(UsageError, match=r"fixed cannot take an image of 1×9×9: .+"):
        inspect_network(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), 1, 9, 9, title="fixed")


def test_the_layer_table_counts_every_position_of_a_pointwise_layer():
    table = {one.name: one for one in layer_table(Shuffled(), 4, 8, 8)}
    assert table["point"].macs == 4 * 6 * 36
    assert table["point"].to_dict().keys() == {"name", "type", "output", "parameters", "macs", "connections"}


def test_stages_add_up_and_a_deep_network_fits_on_a_screen():
    network = create_model("cifar_resnet110")
    anatomy = inspect_network(network, 3, 32, 32)
    for what in ("parameters", "macs", "activation_bytes"):
        assert sum(getattr(stage, what) for stage in anatomy.stages) == getattr(anatomy, what)
    assert [stage.name for stage in anatomy.stages] == list(network.stages)
    assert len(lines(anatomy)) < 30
    folded = [row for row in rows(anatomy) if row.count > 1]
    assert [(row.name, row.type, row.count) for row in folded] == [
        ("0 … 17", "BasicBlock", 18), ("1 … 17", "BasicBlock", 17), ("1 … 17", "BasicBlock", 17)
    ]  # fmt: skip
    unfolded = rows(anatomy, 9)
    layers = [row for row in unfolded if len(row.nodes) == 1]
    assert sum(row.nodes[0].parameters for row in layers) == anatomy.parameters
    assert max(map(len, lines(anatomy, width=80))) <= 80


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "mobilenet_v2"])
def test_the_table_fits_a_terminal_of_80_columns(name, depth):
    entry = find(name)
    with torch.device("meta"):
        anatomy = inspect_network(create_model(name), *entry.native_input)
    narrow = lines(anatomy, depth=depth, width=80)
    shown = narrow[2 : narrow.index("", 2)]
    assert max(map(len, shown)) <= 80
    assert shown[0].split() == ["type", "output", "parameters", "MACs"]


def test_types_are_cut_before_anything_else_is():
    cells = [("", "type", *("x" * 5,) * 7), ("layer", "AVeryLongNameOfAClass", *("9" * 5,) * 7)]
    assert table(cells, 49)[2] == "layer  AVeryLongNameOfAClass  99999  99999  99999"
    assert table(cells, 46)[2] == "layer  AVeryLongNameOfAC…  99999  99999  99999"
    assert table(cells, 10)[2] == "layer  AVeryLongNa…  99999  99999  99999"  # never less than tells them apart


def test_branches_side_by_side_are_not_folded():
    network = create_model("googlenet", classes=10)
    names = [row.name for row in rows(inspect_network(network, 3, 64, 64)) if "branch" in row.name]
    assert names == [f"branch{number}" for number in (1, 2, 3, 4)] * 9


def test_auxiliary_heads_stand_where_they_hang_and_the_column_sums_to_the_total():
    anatomy = inspect_network(create_model("googlenet_2014"), 3, 224, 224)
    assert [(one.name, one.parameters) for one in anatomy.auxiliary] == [("aux1", 3_188_840), ("aux2", 3_190_888)]
    hanging = {stage.name: [one.name for one in anatomy.hanging_on(stage)] for stage in anatomy.stages}
    assert [name for stage in hanging.values() for name in stage] == ["aux1", "aux2"]
    stages = sum(stage.parameters for stage in anatomy.stages)
    assert stages + sum(one.parameters for one in anatomy.auxiliary) == anatomy.parameters == 13_378_280
    told = "\n".join(lines(anatomy, depth=0))
    assert "in training only" in told and "3,190,888" in told


def test_a_layer_that_shares_another_ones_weights_is_no_auxiliary_head():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(12, 2))
    network[2].weight, network[2].bias = network[0].weight, network[0].bias
    assert inspect_network(network, 3, 2, 2).auxiliary == ()
