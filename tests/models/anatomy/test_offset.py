"""Where a cell looks: the rectangle that the anatomy gives for it against the pixels that its gradient reaches.

So that gradients reach all that they can, weights are positive (nothing cancels, no ReLU closes) and max pools, which
pass a gradient to one pixel a window, are averages over the same windows. Squeeze-excitation gates see the whole image
and are no part of a receptive field: their factor is held fixed; one test lets it go, and sees the gradient leave.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.models.anatomy import inspect_network
from foveal.models.anatomy.anatomy import Anatomy, Stage
from foveal.models.blocks import quick
from foveal.models.blocks.padding import Conv2dSame, MaxPool2dSame, padded_conv
from foveal.models.blocks.squeeze_excitation import SqueezeExcitation
from foveal.models.catalog import CATALOG, create_model
from gallery_members import EVERY, OF_ONE_INPUT, each

WIDEST = 420  # columns of an image: at its left edge a larger field is seen to end, or to go on up to the other
LARGEST_DRAWN = 10_000_000


Cell = tuple[int, int]
Sides = tuple[tuple[int, int], ...]  # (first, last) of the rows, then of the columns


def open_to_gradients(network: nn.Module, *, gates: bool = False) -> nn.Module:
    """Return `network` in eval mode with weights through which every gradient passes; see above. `gates` may pass."""
    network = network.double().eval()
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, one in network.named_parameters():
            if one.numel() > LARGEST_DRAWN:
                continue  # a dense layer behind the maps
            drawn = 0.5 + torch.rand(one.shape, generator=chance, dtype=one.dtype)
            one.copy_(0 * drawn if name.endswith("bias") else drawn / (one[0].numel() if one.ndim > 1 else 1))
    for module in network.modules():
        if isinstance(module, SqueezeExcitation) and not gates:
            module.gate.register_forward_hook(lambda _, __, weight: weight.detach())
        if isinstance(module, nn.MaxPool2d) and not isinstance(module, MaxPool2dSame):
            module.register_forward_hook(averaged)
    return network


def averaged(pool: nn.MaxPool2d, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    return functional.avg_pool2d(inputs[0], pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def reached(network: nn.Module, image: tuple[int, int, int], modules: list[str]) -> list[tuple[str, Cell, Sides]]:
    """Return of each module its first and its middle cell, with the pixels that the gradient of each reaches."""
    kept: dict[str, Tensor] = {}
    found = dict(network.named_modules())
    for name in modules:
        found[name].register_forward_hook(lambda _, __, y, name=name: kept.update({name: y}))
    x = torch.rand(1, *image, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    network(x * 1)  # a copy: a layer may write over it
    boxes = []
    for name, y in kept.items():
        for cell in dict.fromkeys(((0, 0), (y.shape[2] // 2, y.shape[3] // 2))):
            gradient = torch.autograd.grad(y[0, :, *cell].sum(), x, retain_graph=True)[0]
            touched = gradient[0].abs().amax(0) > 0  # (H, W)
            places = [touched.any(1 - axis).nonzero().flatten() for axis in (0, 1)]
            if touched.any():  # else the cell lies in a padding
                boxes.append((name, cell, tuple((int(one.min()), int(one.max())) for one in places)))
    return boxes


def told(one: Stage | Anatomy, cell: Cell) -> Sides:
    """Return the first and last row, and column, that the anatomy says the cell sees."""
    along = zip(cell, one.receptive_field, one.stride, one.receptive_field_start, strict=True)
    return tuple((at + i * j, at + i * j + r - 1) for i, r, j, at in along)


def agree(said: Sides, found: Sides, image: tuple[int, int, int]) -> bool:
    """Whether `found` is what `said` has of the image. How near to the image's own edge it comes is left open."""
    return all(
        (b == a if a >= 0 else b >= 0) and (c == d if d < side else c < side)
        for (a, d), (b, c), side in zip(said, found, image[1:], strict=True)
    )


def wide_image(name: str) -> tuple[int, int, int]:
    """Return an image for the network `name` that is low, for speed, and wider than its last cell sees."""
    entry = CATALOG[name]
    channels, *native = entry.native_input
    if name in OF_ONE_INPUT:
        return (channels, *native)
    columns = min(entry.receptive_field + 3 * entry.stride, WIDEST)
    return channels, max(entry.smallest, 16), max(entry.smallest, columns, 32)


@pytest.mark.parametrize("name", each([name for name in EVERY if CATALOG[name].receptive_field]))
def test_every_stage_of_the_gallery_sees_the_rectangle_that_the_anatomy_says(name):
    image = wide_image(name)
    options = {} if name in OF_ONE_INPUT else {"classes": 2, "channels": image[0], "size": image[1:]}
    network = open_to_gradients(create_model(name, **options))
    stages = {one.module: one for one in inspect_network(network, *image).stages if one.receptive_field and one.module}
    boxes = reached(network, image, [*stages])
    assert {module for module, _, _ in boxes} == {*stages}
    for module, cell, found in boxes:
        said = told(stages[module], cell)
        assert agree(said, found, image), (stages[module].name, cell, said, found)


class Uneven(nn.Module):
    """Every way to move a window that torch has, unlike above and below, left and right."""

    def __init__(self) -> None:
        super().__init__()
        self.even = nn.Conv2d(2, 3, (4, 2), padding="same", dilation=(1, 3))
        self.strided = nn.Conv2d(3, 3, (3, 5), stride=(2, 1), padding=(0, 2))
        self.tensorflow = Conv2dSame(3, 3, 3, 2)
        self.mirrored = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.repeated = nn.ReplicationPad2d((2, 0, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.even(functional.pad(x, (1, 4, -2, 0)))
        y = self.strided(y)[:, :, 1:, -30:]
        y = functional.avg_pool2d(self.tensorflow(y), (3, 1), stride=1, padding=(1, 0))
        y = self.mirrored(y)[..., 1::2].permute(0, 2, 3, 1)
        y = functional.pad(y, (0, 0, 1, 1, 2, 0)).permute(0, 3, 1, 2)
        return self.repeated(y.narrow(3, 1, y.shape[3] - 1))


MEANS = nn.Sequential(nn.Conv2d(1, 2, 3, padding=2), quick.AvgPool2d(2), nn.Conv2d(2, 2, 3), nn.AvgPool2d(3, 2, 1))
SAMES = nn.Sequential(padded_conv(1, 2, 4, padding="same"), nn.MaxPool2d(2, 2, 1), padded_conv(2, 2, 2, padding="full"))


@pytest.mark.parametrize(
    ("network", "image"),
    [(Uneven(), (2, 70, 61)), (SAMES, (1, 24, 31)), (MEANS, (1, 32, 29))],
    ids=["uneven", "sames", "means"],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_uneven_paddings_and_slices_move_the_window_as_gradients_say(network, image):
    network = open_to_gradients(network)
    anatomy = inspect_network(network, *image)
    _, cell, found = reached(network, image, [""])[-1]
    assert found == told(anatomy, cell)  # all of it lies in the image


def test_a_tensorflow_pool_moves_the_window_up_on_odd_sides_only():
    for side, start in ((8, 0), (9, -1)):
        anatomy = inspect_network(nn.Sequential(MaxPool2dSame(3, 2)), 1, side, 8)
        assert anatomy.receptive_field_start == (start, 0)


def test_where_paths_meet_the_widest_says_where_and_the_least_start_of_equally_wide_ones():
    class Paths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = nn.Conv2d(1, 1, (5, 3), padding=(2, 1)), nn.Conv2d(1, 1, (3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.wide(x) + self.narrow(functional.pad(x, (2, 0, 2, 0)))

    anatomy = inspect_network(Paths(), 1, 12, 12)
    assert (anatomy.receptive_field, anatomy.receptive_field_start) == ((5, 3), (-2, -2))


def test_a_gate_sees_the_whole_image_and_is_no_part_of_the_field():
    torch.manual_seed(0)
    network = open_to_gradients(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), SqueezeExcitation(4, 2)), gates=True)
    anatomy = inspect_network(network, 1, 16, 12)
    _, cell, found = reached(network, (1, 16, 12), [""])[-1]
    assert told(anatomy, cell) == ((7, 9), (5, 7))
    assert found == ((0, 15), (0, 11))


def test_the_start_stands_beside_field_and_stride():
    network = create_model("resnet18", classes=2)
    anatomy = inspect_network(network, 3, 64, 64)
    assert anatomy.receptive_field_start == (-217, -217)
    entries = anatomy.to_dict()
    assert entries["receptive_field_start"] == [-217, -217]
    assert [one["receptive_field_start"] for one in entries["stages"]][::5] == [[-3, -3], None]
    assert entries["layers"][0]["receptive_field_start"] == [-3, -3]
