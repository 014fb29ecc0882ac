"""Heads by name: what a transfer puts in the place of a network's own last layers.

================  ==================================================================================
`linear`          global average pooling → dense, one unit a class
`dense128`        global average pooling → dense 128, ReLU → dense
`dense256`        global average pooling → dense 256, ReLU → dropout 0.5 → dense
`flatten256`      the whole last map, flattened → dense 256, ReLU → dropout 0.5 → dense
================  ==================================================================================

They are the four that courses commonly put on ResNet-50, DenseNet-121 and VGG-16. A network keeps its own where
none is named: its last layer alone is then new.
"""

from __future__ import annotations

import torch
from torch import nn

from foveal.errors import UsageError, nearest
from foveal.models.architecture import HEADS
from foveal.models.blocks.pooling import GlobalAvgPool
from foveal.models.cut import steps
from foveal.models.network import Network, Stack, make_dense, make_dropout

PREFIX = "head."  # of the parameters' names
SMALL = 0.01  # deviation of the last layer's first weights: large answers at random would spoil what lies below


def with_head(network: Network, name: str, *, classes: int, shape: tuple[int, int, int]) -> Stack:
    """Return `network`, built for images of `shape` (C, H, W), with the head called `name` on its last feature map.

    Layers and names below stay; the new head's parameters are called ``head.…``. Hidden layers are drawn He-normal,
    the last one N(0, 0.01²), biases zero. Raises UsageError for an unknown name, or a network without feature maps.
    """
    if name not in HEADS:
        raise UsageError(f'There is no head "{name}"; choose {", ".join(HEADS)}.{nearest(name, HEADS)}')
    kept = _feature_layers(network)
    depth, height, width = _map_shape(nn.Sequential(*(layer for _, layer in kept)), shape)
    flat = name.startswith("flatten")
    inputs = depth * height * width if flat else depth
    layers: list[nn.Module] = [nn.Flatten() if flat else GlobalAvgPool()]
    if name != "linear":
        hidden = int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
        layers += [make_dense(inputs, hidden), nn.ReLU(inplace=True)]
        layers += [make_dropout(0.5)] if hidden == 256 else []
        nn.init.kaiming_normal_(layers[1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(layers[1].bias)  # type: ignore[arg-type]
        inputs = hidden
    last = make_dense(inputs, classes)
    nn.init.normal_(last.weight, std=SMALL)
    nn.init.zeros_(last.bias)
    layers.append(last)
    places = {child for child, _ in kept}
    stages = {stage: place for stage, place in network.stages.items() if place.partition(".")[0] in places}
    return Stack([*kept, ("head", nn.Sequential(*layers))], {**stages, "output": f"{PREFIX}{len(layers) - 1}"})


def _feature_layers(network: Network) -> list[tuple[str, nn.Module]]:
    """Return the topmost layers up to the last feature map: through the last convolution that is not the answer's."""
    if len(steps(network)) == 1:
        raise UsageError("This network is one whole: a head by name can only be put on a sequence of layers.")
    children = [(name, child) for name, child in network.named_children() if name not in network.auxiliary]
    convolving = [
        at for at, (_, child) in enumerate(children[:-1]) if any(isinstance(one, nn.Conv2d) for one in child.modules())
    ]
    if not convolving:
        raise UsageError("This network has no feature map that a head by name could be put on.")
    end = convolving[-1] + 1
    while end < len(children) and not _leaves_the_map(children[end][1]):
        end += 1
    return children[:end]


def _leaves_the_map(layer: nn.Module) -> bool:
    """Whether `layer` makes vectors of feature maps, or prepares to."""
    leaving = (nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear, nn.modules.dropout._DropoutNd)
    return any(isinstance(one, leaving) for one in layer.modules())


def _map_shape(trunk: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of what `trunk` makes of an image of `shape`."""
    weight = next(trunk.parameters())
    training = trunk.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        answer = trunk.eval()(torch.zeros(1, *shape, device=weight.device))
    trunk.train(training)
    _, depth, height, width = answer.shape
    return depth, height, width
