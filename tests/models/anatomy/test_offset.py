"""Where in the image a cell looks: the rectangle that the anatomy says against the pixels that a gradient reaches.

The gallery's networks make their own forward pass, with their own windows, strides and paddings, but on a single
channel and without what could close a path: convolutions and dense layers over channels become means, pools averages,
activations and norms nothing. So every pixel on which a cell depends has a gradient above zero, and a large image costs
little. What a squeeze-excitation gate multiplies by is held at one: the gate sees the whole image, and the anatomy
says that it is not followed.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from foveal.models.anatomy import Anatomy, inspect_network
from foveal.models.anatomy.receptive_field import Sight, widest
from foveal.models.blocks.padding import Conv2dSame, MaxPool2dSame, padded_conv
from foveal.models.blocks.quick import AvgPool2d
from foveal.models.catalog import create_model, find
from gallery_members import EVERY, OF_ONE_INPUT, each

PASSED_ON = frozenset((
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "tanh", "silu", "silu_", "gelu", "hardswish", "hardsigmoid",
    "sigmoid", "batch_norm", "layer_norm", "local_response_norm", "dropout", "dropout_",
))  # fmt: skip
WITH_MAPS = [name for name in EVERY if find(name).receptive_field]


class Enough(Exception):
    """The pass has reached the last map."""


class OneChannel(TorchFunctionMode):
    """Makes a network linear and positive, of one channel: see above."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in PASSED_ON:
            return args[0]
        if name == "conv2d":
            given = {**dict(zip(("input", "weight", "bias", "stride", "padding", "dilation"), args)), **kwargs}  # noqa: B905
            kernel = given["weight"].shape[2:]
            mean = torch.full((1, 1, *kernel), 1 / kernel.numel(), dtype=torch.float64)
            windows = {key: given[key] for key in ("stride", "padding", "dilation") if key in given}
            return func(given["input"].mean(1, keepdim=True), mean, **windows)
        if name == "linear":
            return args[0].mean(-1, keepdim=True)
        if name in ("add_", "__iadd__"):  # not in place: the shortcut may have more channels, of zeros
            return args[0] + args[1]
        if name == "max_pool2d":
            windows = dict(zip(("kernel_size", "stride", "padding", "dilation"), args[1:])) | kwargs  # noqa: B905
            assert windows.pop("dilation", 1) == 1
            windows.pop("return_indices", None)
            return functional.avg_pool2d(args[0], **windows)
        if name == "adaptive_avg_pool2d" and args[1] in (1, (1, 1)):
            return torch.ones_like(func(args[0].detach(), args[1]))
        return func(*args, **kwargs)


def rectangle(sight: Sight, cell: tuple[int, int]) -> list[range]:
    """Return the rows and the columns that a cell sees, as the anatomy says."""
    firsts = [start + at * stride for start, at, stride in zip(sight.start, cell, sight.stride, strict=True)]
    return [range(first, first + field) for first, field in zip(firsts, sight.field, strict=True)]


def reached(map_: Tensor, cell: tuple[int, int], x: Tensor) -> list[range]:
    """Return the rows and the columns of the image `x` on which a cell of the map depends."""
    (gradient,) = torch.autograd.grad(map_[0, :, cell[0], cell[1]].sum(), x, retain_graph=True)
    assert gradient.isfinite().all()
    touched = (gradient[0] != 0).any(0)  # (H, W)
    found = [touched.any(1 - axis).nonzero().flatten() for axis in (0, 1)]
    return [range(int(one.min()), int(one.max()) + 1) if len(one) else range(0) for one in found]


def is_within(inner: range, outer: range) -> bool:
    return not inner or (outer.start <= inner.start and inner.stop <= outer.stop)


# --- the gallery ---


def positive(name: str, size: tuple[int, int]) -> nn.Module:
    """Return the network; only what multiplies whole channels has values, ones, since `OneChannel` asks no others."""
    if name in OF_ONE_INPUT:
        network = create_model(name)
        for one in network.parameters():
            nn.init.ones_(one)
        return network.double().eval()
    with torch.device("meta"):
        network = create_model(name, size=size).eval()
    for module in network.modules():
        for key, one in module.named_parameters(recurse=False):
            if one.ndim == 3:  # ConvNeXt's layer scale
                setattr(module, key, nn.Parameter(torch.ones(one.shape)))
    return network


def maps_of(network: nn.Module, modules: list[str], x: Tensor) -> dict[str, Tensor]:
    """Return what the modules give; what follows the last one is not run."""
    kept: dict[str, Tensor] = {}

    def keep(module: nn.Module, _: object, output: Tensor) -> None:
        kept[names[module]] = output
        if len(kept) == len(modules):
            raise Enough

    names = {network.get_submodule(name): name for name in modules}
    hooks = [module.register_forward_hook(keep) for module in names]
    with OneChannel(), pytest.raises(Enough):
        network(x)
    for hook in hooks:
        hook.remove()
    return kept


@pytest.mark.parametrize("name", each(WITH_MAPS))
def test_every_stage_of_the_gallery_looks_where_the_anatomy_says(name):
    entry = find(name)
    long = entry.receptive_field + 3 * entry.stride  # a cell in the middle sees no border
    short = max(32, entry.smallest)
    for height, width in [entry.native_input[1:]] if name in OF_ONE_INPUT else [(long, short), (short, long)]:
        network = positive(name, (height, width))
        anatomy = inspect_network(network, entry.native_input[0], height, width)
        stages = [stage for stage in anatomy.stages if stage.start and stage.module]
        x = torch.ones(1, 1, height, width, dtype=torch.float64, requires_grad=True)
        maps = maps_of(network, [stage.module for stage in stages], x)
        along = int(width > height)
        for stage in stages:
            map_ = maps[stage.module]
            cell = (map_.shape[2] // 2, map_.shape[3] // 2)
            told = rectangle(Sight(stage.receptive_field, stage.stride, stage.start), cell)
            found = reached(map_, cell, x)
            assert told[along].start >= 0, stage.name
            assert told[along].stop <= max(height, width), stage.name
            assert found[along] == told[along], stage.name
            assert is_within(found[1 - along], told[1 - along]), stage.name


# --- by hand, with weights of their own ---


class Lopsided(nn.Module):
    """Everything uneven: windows, strides, dilation, padding on one side, cropping, reflection, a crop by slices."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, (5, 3), stride=(2, 1), padding=(2, 0), dilation=(1, 2))
        self.second = nn.Conv2d(3, 3, (3, 4), stride=(1, 2))
        self.third = nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(functional.pad(x, (3, 1, 0, 2))))  # rows from -2, two apart; columns from -3
        x = functional.pad(x, (-1, -2, 1, 0))  # rows from -2 - 2, columns from -3 + 1
        x = self.second(x)  # columns two apart
        x = self.third(x)  # one more of 2 rows before, one more of 2 columns
        return x[:, :, 1::2, -8:]  # rows from -6 + 2, four apart; columns 5 … 12 of 13: from -4 + 10


class Crossing(nn.Module):
    """Two paths as wide as one another that look at different rows."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        above, below = functional.pad(x, (1, 1, 2, 0)), functional.pad(x, (1, 1, 0, 2))
        return self.up(above) + self.down(below)


def conv(kernel: int, stride: int = 1, padding: int | str = 0, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(1, 1, kernel, stride, padding, dilation)


BY_HAND = [  # network, channels, side, field, stride, start
    pytest.param(conv(7, 2, 3), 1, 20, (7, 7), (2, 2), (-3, -3), id="padded"),
    pytest.param(conv(4, padding="same"), 1, 9, (4, 4), (1, 1), (-1, -1), id="same, even kernel"),
    pytest.param(conv(2, padding="same", dilation=3), 1, 9, (4, 4), (1, 1), (-1, -1), id="same, dilated"),
    pytest.param(nn.Sequential(conv(3, padding="valid"), conv(3, 2, 1)), 1, 9, (5, 5), (2, 2), (-1, -1), id="valid"),
    pytest.param(padded_conv(1, 1, 4, padding="same"), 1, 9, (4, 4), (1, 1), (-1, -1), id="our same"),
    pytest.param(padded_conv(1, 1, 3, padding="full"), 1, 9, (3, 3), (1, 1), (-2, -2), id="full"),
    pytest.param(Conv2dSame(1, 1, 3, 2), 1, 16, (3, 3), (2, 2), (0, 0), id="tensorflow, even side"),
    pytest.param(Conv2dSame(1, 1, 3, 2), 1, 17, (3, 3), (2, 2), (-1, -1), id="tensorflow, odd side"),
    pytest.param(nn.Sequential(Conv2dSame(1, 1, 3, 2), Conv2dSame(1, 1, 5, 2)), 1, 32, (11, 11), (4, 4), (-2, -2),
                 id="tensorflow, twice"),
    pytest.param(MaxPool2dSame(3, 2), 1, 16, (3, 3), (2, 2), (0, 0), id="tensorflow, pool"),
    pytest.param(nn.MaxPool2d(3, 2, 1), 1, 16, (3, 3), (2, 2), (-1, -1), id="pool, padded"),
    pytest.param(nn.MaxPool2d(2, 1, dilation=2), 1, 9, (3, 3), (1, 1), (0, 0), id="pool, dilated"),
    pytest.param(nn.AvgPool2d(3, 2, (1, 0), ceil_mode=True), 1, 16, (3, 3), (2, 2), (-1, 0), id="average, ceil mode"),
    pytest.param(nn.Sequential(conv(5), AvgPool2d(2), conv(5), AvgPool2d(2)), 1, 32, (16, 16), (4, 4), (0, 0),
                 id="our average, as in LeNet-5"),
    pytest.param(nn.Sequential(nn.ReplicationPad2d((2, 0, 1, 0)), conv(3)), 1, 9, (3, 3), (1, 1), (-1, -2),
                 id="replicated"),
    pytest.param(nn.Sequential(nn.ZeroPad2d((0, 1, -2, 0)), conv(3, 2)), 1, 12, (3, 3), (2, 2), (2, 0), id="cropped"),
    pytest.param(Lopsided(), 2, 32, (13, 12), (4, 2), (-4, 6), id="lopsided"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("network", "channels", "side", "field", "stride", "start"), BY_HAND)
def test_what_is_worked_out_by_hand_is_what_gradients_reach(network, channels, side, field, stride, start):
    anatomy = inspect_network(network, channels, side, side)
    assert (anatomy.receptive_field, anatomy.stride, anatomy.start) == (field, stride, start)
    sight = Sight(field, stride, start)
    touched: dict[tuple[int, int], list[range]] = {}
    chance = torch.Generator().manual_seed(0)
    for one in network.parameters():
        with torch.no_grad():
            one.uniform_(0.1, 1, generator=chance)
    for _ in range(40 if "Pool" in type(network).__name__ else 1):  # a maximum shows one pixel of a window at a time
        x = torch.rand(1, channels, side, side, generator=chance, requires_grad=True)
        y = network(x)
        for cell in [(i, j) for i in range(y.shape[2]) for j in range(y.shape[3])]:
            before = touched.get(cell, [range(side, 0), range(side, 0)])
            pairs = zip(before, reached(y, cell, x), strict=True)
            touched[cell] = [range(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs]
    inner = 0
    for cell, found in touched.items():
        told = rectangle(sight, cell)
        assert all(map(is_within, found, told)), cell
        on_rim = any(at in (0, last - 1) for at, last in zip(cell, y.shape[2:], strict=True))
        if not on_rim and all(one.start >= 0 and one.stop <= side for one in told):  # the rim misses what was cropped
            assert found == told, cell
            inner += 1
    assert inner


def test_of_paths_that_are_not_aligned_the_one_that_begins_first_is_told():
    anatomy = inspect_network(Crossing(), 1, 12, 12)
    assert (anatomy.receptive_field, anatomy.start) == ((3, 3), (-2, -1))  # between them they see five rows
    wide, narrow = Sight((5, 3), start=(0, -1)), Sight((3, 3), start=(-9, -3))
    assert widest([wide, narrow]) == Sight((5, 3), start=(0, -3))


def test_the_anatomy_tells_it_wherever_it_tells_the_receptive_field():
    network = nn.Sequential(conv(3, 2, 1), nn.ReLU(), conv(3), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(1, 1, 16, 16))
    anatomy: Anatomy = inspect_network(network, 1, 16, 16)
    assert [layer.start for layer in anatomy.layers] == [(-1, -1), (-1, -1), (-1, -1), None, None]
    assert [stage.start for stage in anatomy.stages] == [(-1, -1), (-1, -1), (-1, -1), None, None]
    told = anatomy.to_dict()
    assert told["receptive_field_start"] == [-1, -1]
    assert [one["receptive_field_start"] for one in told["stages"]] == [[-1, -1]] * 3 + [None] * 2
    assert told["layers"][0]["receptive_field_start"] == [-1, -1]
    assert inspect_network(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), 1, 8, 8).start == (0, 0)
