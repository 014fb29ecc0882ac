"""A CNN written as a line of words: ``conv32 relu pool conv64 relu pool flatten dense128 relu``.

=================  =========================================================================
word               layer
=================  =========================================================================
``conv32``         convolution to 32 channels, 3×3, no padding; ``k5`` another kernel, ``p1``
                   padding, ``s2`` stride, as in ``conv32k5p2s2``; without bias when the next
                   word is ``bn``
``bn``             batch normalisation, after a convolution or a dense layer
``relu``           or ``tanh``, ``sigmoid``
``pool``           2×2 max pooling; ``avgpool`` 2×2 average; ``gap`` global average (flattens)
``dropout.25``     dropout with probability 0.25
``flatten``        (B, C, H, W) → (B, C·H·W)
``dense128``       fully connected to 128 units
=================  =========================================================================

The last dense layer to the classes is added always. Stages are the blocks between poolings.
"""

from __future__ import annotations

import re

from torch import nn

from foveal.errors import UsageError, nearest
from foveal.models.network import ACTIVATIONS, Stack, kaiming_, make_activation

DEFAULT = "conv32p1 bn relu pool conv64p1 bn relu pool conv128p1 bn relu gap dropout.2"
CONV = re.compile(r"conv(\d+)(?:k(\d+))?(?:p(\d+))?(?:s(\d+))?")
DENSE = re.compile(r"dense(\d+)")
DROPOUT = re.compile(r"dropout(0?\.\d+)")
PLAIN = ("bn", *ACTIVATIONS, "pool", "avgpool", "gap", "flatten")

Shape = tuple[int, ...]  # (C, H, W), or (features,) once flat


def simple_cnn(
    *, classes: int = 10, channels: int = 1, height: int = 28, width: int = 28, spec: str = DEFAULT
) -> Stack:
    """Return the network that `spec` describes, He-initialised. UsageError names a word that cannot be used."""
    words = spec.split()
    layers: list[tuple[str, nn.Module]] = []
    shape: Shape = (channels, height, width)
    for position, word in enumerate(words):
        layer, shape = _layer(word, shape, bias=words[position + 1 : position + 2] != ["bn"])
        if min(shape) < 1:
            raise UsageError(f'An input of {height}×{width} is too small: nothing is left after "{word}" in "{spec}".')
        layers.append((_name(word, layers), layer))
    if len(shape) == 3:
        flatten, shape = _layer("flatten", shape, bias=True)
        layers.append(("flatten1", flatten))
    layers.append(("output", nn.Linear(shape[0], classes)))
    network = Stack(layers, stages=_stages([name for name, _ in layers]))
    kaiming_(network)
    return network


def _layer(word: str, shape: Shape, *, bias: bool) -> tuple[nn.Module, Shape]:
    """Return the layer for `word` on an input of `shape`, and the shape that it gives."""
    spatial = len(shape) == 3
    if match := CONV.fullmatch(word):
        out, kernel, padding, stride = (
            int(part or usual) for part, usual in zip(match.groups(), (0, 3, 0, 1), strict=True)
        )
        if not spatial or not out or not kernel or not stride:
            raise UsageError(f'"{word}" is no convolution of an image: it needs channels, kernel and stride above 0.')
        channels, height, width = shape
        after = (out, (height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1)
        return nn.Conv2d(channels, out, kernel, stride, padding, bias=bias), after
    if match := DENSE.fullmatch(word):
        flat = _flat(word, shape)
        return nn.Linear(flat, int(match[1]), bias=bias), (int(match[1]),)
    if match := DROPOUT.fullmatch(word):
        return nn.Dropout(float(match[1])), shape
    if word == "bn":
        return (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(shape[0]), shape
    if word in ACTIVATIONS:
        return make_activation(word), shape
    if word in ("pool", "avgpool") and spatial:
        return (nn.MaxPool2d if word == "pool" else nn.AvgPool2d)(2), (shape[0], shape[1] // 2, shape[2] // 2)
    if word == "gap" and spatial:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), shape[:1]
    if word == "flatten" and spatial:
        return nn.Flatten(), (shape[0] * shape[1] * shape[2],)
    if word in PLAIN:
        raise UsageError(f'"{word}" comes after the image was flattened.')
    raise UsageError(
        f'"{word}" is no layer; the words are conv32, bn, relu, tanh, sigmoid, pool, avgpool, gap, dropout.25, '
        f"flatten, dense128.{nearest(word, [*PLAIN, 'conv32', 'dense128', 'dropout.25'])}"
    )


def _flat(word: str, shape: Shape) -> int:
    if len(shape) != 1:
        raise UsageError(f'"{word}" needs flat features: put "flatten" or "gap" before it.')
    return shape[0]


def _name(word: str, layers: list[tuple[str, nn.Module]]) -> str:
    """Return the layer's name: its kind and a running number, conv1, bn1, relu1, conv2, …"""
    kind = re.sub(r"[\d.].*", "", word)
    alike = sum(name.rstrip("0123456789") == kind for name, _ in layers)
    return f"{kind}{1 + alike}"


def _stages(names: list[str]) -> dict[str, str]:
    """Return block1, block2, … → the last layer before each pooling (before flattening where none pools), and the output."""
    ends = [names[at - 1] for at, name in enumerate(names) if at and re.match(r"(avg)?pool|gap", name)]
    ends = ends or [names[at - 1] for at, name in enumerate(names) if at and name == "flatten1"]
    return {**{f"block{number}": name for number, name in enumerate(ends, 1)}, "output": names[-1]}
