"""What the Inception networks are made of: branches side by side, and heads that train along with the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.network import Heads, Stack

IMAGENET_COLOURS = ((0.229, 0.485), (0.224, 0.456), (0.225, 0.406))  # deviation and mean of red, green, blue


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation (epsilon 1e-3), ReLU."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.conv = convolution
        self.bn = nn.BatchNorm2d(convolution.out_channels, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)


class Branches(nn.Module):
    """Runs branches side by side on one input and joins their maps: (B, C, H, W) → (B, sum of theirs, H', W').

    A branch is a chain of steps. A step is a layer by its name, or several, which run side by side on what the
    chain has come to; they end it.
    """

    def __init__(self, *branches: Sequence[Mapping[str, nn.Module]]) -> None:
        super().__init__()
        for step in (step for branch in branches for step in branch):
            for name, layer in step.items():
                self.add_module(name, layer)
        self.branches = tuple(tuple(tuple(step) for step in branch) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        maps: list[Tensor] = []
        for *chain, last in self.branches:
            y = x
            for (name,) in chain:
                y = getattr(self, name)(y)
            maps += [getattr(self, name)(y) for name in last]
        return torch.cat(maps, 1)


class Trunk(Stack):
    """A stack with auxiliary heads: each stands behind the layer on whose output it hangs.

    In training a forward pass returns `Heads`; otherwise the heads are not asked and the logits are returned.
    """

    def __init__(
        self,
        layers: Iterable[tuple[str, nn.Module]],
        stages: Mapping[str, str],
        *,
        auxiliary: Sequence[str],
        weight: float,
    ) -> None:
        super().__init__(layers, stages)
        self.auxiliary = tuple(auxiliary)
        self.auxiliary_weight = weight

    def forward(self, input: Tensor) -> Tensor | Heads:  # noqa: D102
        x, answers = input, []
        for name, layer in self.named_children():
            if name not in self.auxiliary:
                x = layer(x)
            elif self.training:
                answers.append(layer(x))
        return Heads(x, tuple(answers), self.auxiliary_weight) if answers else x


class FromImageNet(nn.Module):
    """Brings colour images normalised by ImageNet's mean and deviation to -1 … 1, as weights from TensorFlow ask."""

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W)  # noqa: D102
        colours = zip(x.chunk(3, 1), IMAGENET_COLOURS, strict=True)
        return torch.cat([colour * (std / 0.5) + (mean - 0.5) / 0.5 for colour, (std, mean) in colours], 1)


def transform(channels: int, *, wanted: bool) -> list[tuple[str, nn.Module]]:
    """Return the first layers of a network: none, or `FromImageNet` where `wanted`; UsageError if not for colour."""
    if wanted and channels != 3:
        raise UsageError(f"transform_input is for colour images: it cannot take {channels} channels.")
    return [("transform_input", FromImageNet())] if wanted else []


def truncated_normal_(network: nn.Module, std: float, *, others: Mapping[nn.Module, float] | None = None) -> None:
    """Draw all weights from N(0, std²), cut at ±2 as torchvision does (which is never reached), `others` by their own.

    Biases of dense layers are left as torch drew them, as in torchvision.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=(others or {}).get(module, std), a=-2, b=2)
