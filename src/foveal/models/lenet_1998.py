"""LeNet-5 as its authors published it, unit for unit.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: "Gradient-based learning applied to document recognition",
Proc. IEEE 86(11), 1998, section II-B, table I, appendix A. 60,000 trainable parameters, 340,908 connections.

Deviations: the ten codes are digits drawn for Foveal in the paper's format (7×12), not the authors'
bitmaps; biases begin drawn like weights, of which the paper says nothing; the network returns the negative
penalties, so that the most probable class has the largest value as everywhere in Foveal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.blocks.quick import halved, tanh
from foveal.models.network import Stack

SIDE = 32
CODE_HEIGHT, CODE_WIDTH = 12, 7
FEATURES = CODE_HEIGHT * CODE_WIDTH  # F6: one unit a pixel of a code
AMPLITUDE, SLOPE = 1.7159, 2 / 3  # so that f(1) = 1 and f(-1) = -1, where |f''| is largest
SPREAD = 2.4

# Table I: which of the six maps of S2 each of the sixteen maps of C3 sees.
SEEN = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# The codes of 0 to 9, side by side: # is +1, . is -1.
DIGITS = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ....##. ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## .....## ...###. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ..####. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ....##. .##.##. ######. ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..###.. ##..##. .....## ######. ...##.. ..###.. .######
##...## ...##.. ...##.. ....##. ##..##. .....## ##...## ...##.. .##.##. .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## .##.... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## .##.##. .##.... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. ..###.. .##.... .#####. .####..
"""


def lenet5_1998(
    *, classes: int = 10, channels: int = 1, height: int = SIDE, width: int = SIDE, codes: str = "digits"
) -> Stack:
    """Return the LeNet-5 of 1998. Its logits (B, classes) are the negative penalties of its output units.

    `codes` says what F6 should answer for each class: ``digits``, ten drawn digits; ``random``, +1 and -1
    drawn with the first weights, for any number of classes; or the codes themselves, 84 marks ``#`` or ``.``
    for each class in order (12 rows of 7), where spaces, commas and line breaks do not count.

    Initialised uniform in ±2.4 / fan-in. UsageError for other than grey images of 32×32, or unfit codes.
    """
    if (channels, height, width) != (1, SIDE, SIDE):
        raise UsageError(
            f"lenet5_1998 takes grey images of 32×32, not {height}×{width} with "
            f"{channels} channel{'s' if channels > 1 else ''}."
        )
    network = Stack(
        [
            ("conv1", nn.Conv2d(1, 6, 5)),  # (B, 6, 28, 28)
            ("act1", Squash()),
            ("sub1", Subsampling(6)),  # (B, 6, 14, 14)
            ("act2", Squash()),
            ("conv2", PartialConv(SEEN, inputs=6, side=5)),  # (B, 16, 10, 10)
            ("act3", Squash()),
            ("sub2", Subsampling(16)),  # (B, 16, 5, 5)
            ("act4", Squash()),
            ("conv3", nn.Conv2d(16, 120, 5)),  # (B, 120, 1, 1)
            ("act5", Squash()),
            ("flatten", nn.Flatten()),  # (B, 120)
            ("fc1", nn.Linear(120, FEATURES)),
            ("act6", Squash()),
            ("rbf", Penalties(make_codes(codes, classes))),  # (B, classes)
        ],
        stages={"C1": "act1", "S2": "act2", "C3": "act3", "S4": "act4", "C5": "act5", "F6": "act6", "output": "rbf"},
    )
    uniform_(network)
    return network


class Squash(nn.Module):
    """f(x) = 1.7159 · tanh(2x/3)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return AMPLITUDE * tanh(SLOPE * x)


class Subsampling(nn.Module):
    """The sum of each 2×2 block times a trainable coefficient, plus a trainable bias; one of each a map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps))
        self.bias = nn.Parameter(torch.empty(maps))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        total = 4 * halved(x)  # (B, C, H/2, W/2)
        return torch.addcmul(self.bias[:, None, None], total, self.coefficient[:, None, None])

    def multiply_adds(self, output: Tensor) -> int:
        """One a unit."""
        return output[0].numel()

    def connections(self, output: Tensor) -> int:
        """Four pixels and the bias a unit."""
        return 5 * output[0].numel()


class PartialConv(nn.Module):
    """A convolution whose output map i sees only the input maps `seen[i]`, and has kernels for these alone.

    The kernels are laid into a dense weight with zeros where there is no connection, at each step: one call
    of torch's convolution, exact outputs, and gradients that reach the kernels only.
    """

    seats: Tensor

    def __init__(self, seen: tuple[tuple[int, ...], ...], *, inputs: int, side: int) -> None:
        super().__init__()
        seats = [out * inputs + one for out, maps in enumerate(seen) for one in maps]
        self.seen, self.inputs, self.side = seen, inputs, side
        self.kernels = nn.Parameter(torch.empty(len(seats), side, side))
        self.bias = nn.Parameter(torch.empty(len(seen)))
        self.register_buffer("seats", torch.tensor(seats), persistent=False)  # kernel → its place in the dense weight

    def weight(self) -> Tensor:
        """Return the dense weight (maps out, maps in, side, side)."""
        outputs = len(self.seen)
        dense = self.kernels.new_zeros(outputs * self.inputs, self.side, self.side)
        return dense.index_copy(0, self.seats, self.kernels).view(outputs, self.inputs, self.side, self.side)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.conv2d(x, self.weight(), self.bias)

    def multiply_adds(self, output: Tensor) -> int:
        """Those of the connections that exist, as the paper counts, not of the zeros between them."""
        return self.kernels.numel() * output[0, 0].numel()

    def connections(self, output: Tensor) -> int:
        """The same, and a bias a unit."""
        return self.multiply_adds(output) + output[0].numel()


class Penalties(nn.Module):
    """Euclidean radial basis function units: logit i = -‖x - code i‖², the negative of the paper's penalty y_i.

    The codes are fixed. They are a buffer: no optimiser moves them, and a stored classifier holds them.
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)  # (classes, features) of ±1

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return -(x[:, None, :] - self.codes).square().sum(2)  # (B, classes, features) → (B, classes)

    def multiply_adds(self, output: Tensor) -> int:  # noqa: ARG002
        """One square added a pixel of a code."""
        return self.codes.numel()

    def connections(self, output: Tensor) -> int:  # noqa: ARG002
        """One a pixel of a code; there is no bias."""
        return self.codes.numel()


def make_codes(text: str, classes: int) -> Tensor:
    """Return the codes (classes, 84) of ±1 that `text` names or draws; UsageError when they do not fit."""
    if text == "random":
        return 2.0 * torch.randint(2, (classes, FEATURES)) - 1
    if text == "digits":
        if classes != 10:
            raise UsageError(
                f"lenet5_1998 has drawn codes for ten classes, not {classes}; "
                "--model-option codes=random gives each class a code of its own."
            )
        return _from_marks(_side_by_side(DIGITS))
    marks = text.translate(str.maketrans("", "", " \t\r\n,"))
    if not marks or set(marks) - {"#", "."}:
        raise UsageError(f'codes is digits, random, or 84 marks # and . for each class, not "{text[:40]}".')
    if len(marks) != classes * FEATURES:
        raise UsageError(f"codes needs {classes} × 84 = {classes * FEATURES} marks # and ., not {len(marks)}.")
    if len({marks[start : start + FEATURES] for start in range(0, len(marks), FEATURES)}) < classes:
        raise UsageError("codes gives two classes the same code, so they could not be told apart.")
    return _from_marks(marks)


def _side_by_side(drawing: str) -> str:
    """Return the marks of symbols that are drawn side by side, symbol after symbol."""
    rows = [line.split() for line in drawing.split("\n") if line]
    return "".join(row[number] for number in range(len(rows[0])) for row in rows)


def _from_marks(marks: str) -> Tensor:
    return torch.tensor([1.0 if mark == "#" else -1.0 for mark in marks]).view(-1, FEATURES)


def uniform_(network: nn.Module) -> None:
    """Draw every parameter uniformly from ±2.4 / fan-in, the inputs of the unit that it leads to (the paper)."""
    for module in network.modules():
        if isinstance(module, PartialConv):
            area = module.side**2
            links = torch.tensor([len(maps) for maps in module.seen])  # (maps out,)
            bounds = SPREAD / (links * area)
            _draw(module.bias, bounds)
            _draw(module.kernels, bounds.repeat_interleave(links, output_size=len(module.kernels))[:, None, None])
        elif isinstance(module, Subsampling):
            _draw(module.coefficient, torch.tensor(SPREAD / 4))
            _draw(module.bias, torch.tensor(SPREAD / 4))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = torch.tensor(SPREAD / math.prod(module.weight.shape[1:]))
            _draw(module.weight, bound)
            if module.bias is not None:
                _draw(module.bias, bound)


@torch.no_grad()
def _draw(parameter: Tensor, bound: Tensor) -> None:
    """Fill `parameter` uniformly from ±`bound`, which is one number or one a place."""
    parameter.uniform_(-1, 1).mul_(bound)
