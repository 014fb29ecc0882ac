"""The multilayer perceptron: the fully connected baseline that CNNs are compared with."""

from __future__ import annotations

from torch import nn

from foveal.errors import UsageError
from foveal.models.network import Stack, kaiming_, make_activation, make_dense, make_dropout


def mlp(
    *,
    classes: int = 10,
    channels: int = 1,
    height: int = 28,
    width: int = 28,
    hidden: str = "256 128",
    activation: str = "relu",
    dropout: float = 0.0,
) -> Stack:
    """Return dense layers of the widths in `hidden`, each with its activation and, if above zero, dropout."""
    try:
        widths = [int(one) for one in hidden.replace(",", " ").split()]
    except ValueError as error:
        raise UsageError(f'hidden lists the widths of the layers, e.g. "256 128", not "{hidden}".') from error
    if not widths or min(widths) < 1:
        raise UsageError(f'hidden needs at least one width of 1 or more, not "{hidden}".')
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    features = channels * height * width
    for number, size in enumerate(widths, 1):
        layers += [(f"fc{number}", make_dense(features, size)), (f"act{number}", make_activation(activation))]
        if dropout:
            layers.append((f"dropout{number}", make_dropout(dropout)))
        features = size
    layers.append((f"fc{len(widths) + 1}", make_dense(features, classes)))
    stages = {f"hidden{number}": f"act{number}" for number in range(1, len(widths) + 1)}
    network = Stack(layers, stages={**stages, "output": layers[-1][0]})
    kaiming_(network)
    return network
