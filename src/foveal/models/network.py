"""What every architecture of the catalog is: a module that names its stages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from foveal.errors import UsageError, nearest
from foveal.models.blocks.quick import Dropout, Tanh

MOST_WEIGHTS = 1 << 30  # in one layer: 4 GiB; VGG-16's largest has a tenth of it
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "tanh": Tanh,
    "sigmoid": nn.Sigmoid,
}


class Heads(NamedTuple):
    """What a network with auxiliary heads answers in training: the logits, and those of each auxiliary head.

    The loss of each auxiliary head counts `weight` times beside that of the logits.
    """

    logits: Tensor  # (B, classes)
    auxiliary: tuple[Tensor, ...] = ()  # each (B, classes)
    weight: float = 0.3


class Network(nn.Module):
    """Takes normalised images (B, C, H, W), returns logits (B, classes).

    `stages` maps the name that the paper gives a stage (``C3``) to the module whose output it is. `auxiliary`
    names the modules that serve training only: with some, a forward pass in training mode returns `Heads`.
    """

    stages: Mapping[str, str]
    auxiliary: tuple[str, ...] = ()


class Stack(Network, nn.Sequential):
    """A network that runs top-down, one named layer after the other."""

    def __init__(self, layers: Iterable[tuple[str, nn.Module]], stages: Mapping[str, str]) -> None:
        super().__init__(OrderedDict(layers))
        self.stages = dict(stages)


def make_activation(name: str) -> nn.Module:
    """Return the activation called `name`; UsageError lists the names there are."""
    if name not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        raise UsageError(f'There is no activation "{name}"; choose {names}.{nearest(name, ACTIVATIONS)}')
    return ACTIVATIONS[name]()


def make_dense(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Return a dense layer; UsageError when it has no unit, or more weights than any machine should be asked for."""
    if min(inputs, outputs) < 1 or inputs * outputs > MOST_WEIGHTS:
        raise UsageError(f"A dense layer of {outputs:,} units on {inputs:,} features cannot be made.")
    return nn.Linear(inputs, outputs, bias=bias)


def make_dropout(probability: float) -> nn.Dropout:
    """Return dropout; UsageError for a probability outside 0 (included) to 1 (excluded)."""
    if not 0 <= probability < 1:
        raise UsageError(f"A dropout of {probability:g} is no probability from 0 to below 1.")
    return Dropout(probability)


def xavier_(network: nn.Module, gain: float = 1.0) -> None:
    """Glorot-uniform weights and zero biases in every convolution and dense layer (Glorot, Bengio 2010)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def kaiming_(network: nn.Module) -> None:
    """He-normal weights for ReLU (fan out in convolutions, fan in in dense layers) and zero biases (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out" if isinstance(module, nn.Conv2d) else "fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def parameter_count(network: nn.Module, *, without: tuple[str, ...] = ()) -> int:
    """Return the number of trainable parameters, those of the modules named in `without` left out."""
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and name.partition(".")[0] not in without
    )
