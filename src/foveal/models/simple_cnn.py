"""A CNN written as a line of words: ``conv32 relu pool conv64 relu pool flatten dense128 relu``.

==================  ========================================================================
word                layer
==================  ========================================================================
``conv32``          convolution to 32 channels, 3×3, no padding; ``k5`` another kernel,
                    ``p1`` padding, ``s2`` stride, as in ``conv32k5p2s2``; without bias when
                    the next word is ``bn``
``conv32same``      padding by name, at the end, as in ``conv32k5s2tf``: ``valid`` none,
                    ``same`` as PyTorch pads, ``tf`` as TensorFlow does, ``full``
``bn``              batch normalisation, after a convolution or a dense layer
``lrn``             AlexNet's local response normalisation over 5 channels
``relu``            or ``leakyrelu`` (slope 0.01 below zero), ``tanh``, ``sigmoid``
``pool``            2×2 max pooling; ``avgpool``, ``minpool`` average and minimum
``stochasticpool``  2×2, one pixel drawn in proportion to its size; after a ReLU
``fractionalpool``  max pooling that shrinks the side by 1.5
``gap``             global average (flattens); ``gmp`` global maximum
``dropout.25``      dropout with probability 0.25
``flatten``         (B, C, H, W) → (B, C·H·W)
``dense128``        fully connected to 128 units
==================  ========================================================================

The last dense layer, to the classes, is always added. A stage is a block of convolutions, up to
the pooling or flattening after it.
"""

from __future__ import annotations

import re
from itertools import pairwise

from torch import nn

from foveal.errors import UsageError, nearest
from foveal.models.blocks.padding import output_size, padded_conv
from foveal.models.blocks.pooling import FractionalMaxPool2d, GlobalAvgPool, GlobalMaxPool, MinPool2d, StochasticPool2d
from foveal.models.blocks.quick import AvgPool2d
from foveal.models.network import ACTIVATIONS, MOST_WEIGHTS, Stack, kaiming_, make_activation, make_dense, make_dropout

DEFAULT = "conv32p1 bn relu pool conv64p1 bn relu pool conv128p1 bn relu gap dropout.2"
CONV = re.compile(r"conv(\d{1,5})(?:k(\d{1,2}))?(?:p(\d{1,2}))?(?:s(\d{1,2}))?(valid|same|tf|full)?")
DENSE = re.compile(r"dense(\d{1,9})")
DROPOUT = re.compile(r"dropout(0?\.\d+)")
HALVING = {"pool": nn.MaxPool2d, "avgpool": AvgPool2d, "minpool": MinPool2d, "stochasticpool": StochasticPool2d}
GLOBAL = {"gap": GlobalAvgPool, "gmp": GlobalMaxPool}
PLAIN = ("bn", "lrn", *ACTIVATIONS, *HALVING, "fractionalpool", *GLOBAL, "flatten")

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
    layers.append(("output", make_dense(shape[0], classes)))
    network = Stack(layers, stages=_stages([name for name, _ in layers]))
    kaiming_(network)
    return network


def _layer(word: str, shape: Shape, *, bias: bool) -> tuple[nn.Module, Shape]:
    """Return the layer for `word` on an input of `shape`, and the shape that it gives."""
    spatial = len(shape) == 3
    if match := DROPOUT.fullmatch(word):
        return make_dropout(float(match[1])), shape
    if word in ACTIVATIONS:
        return make_activation(word), shape
    if word == "bn":
        return (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(shape[0]), shape
    if match := DENSE.fullmatch(word):
        if spatial:
            raise UsageError(f'"{word}" needs flat features: put "flatten" or "gap" before it.')
        return make_dense(shape[0], int(match[1]), bias=bias), (int(match[1]),)
    conv = CONV.fullmatch(word)
    if not conv and word not in PLAIN:
        raise UsageError(
            f'"{word}" is no layer; the words are conv32, {", ".join(PLAIN)}, dropout.25, dense128.'
            f"{nearest(word, [*PLAIN, 'conv32', 'dense128', 'dropout.25'])}"
        )
    if not spatial:
        raise UsageError(f'"{word}" comes after the image was flattened.')
    if conv:
        return _convolution(word, conv, shape, bias=bias)
    channels, height, width = shape
    if word in GLOBAL:
        return GLOBAL[word](), (channels,)
    if word == "flatten":
        return nn.Flatten(), (channels * height * width,)
    if word == "lrn":  # the paper's α = 1e-4 is not divided by the size of the neighbourhood, torch's is
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2), shape
    if word == "fractionalpool":
        shrinking = FractionalMaxPool2d()
        return shrinking, (channels, shrinking.output_size(height), shrinking.output_size(width))
    return HALVING[word](2), (channels, height // 2, width // 2)


def _convolution(word: str, match: re.Match[str], shape: Shape, *, bias: bool) -> tuple[nn.Module, Shape]:
    """Return the convolution that `word` matched, and the shape that it gives."""
    out, kernel, padding, stride = (
        int(part or usual) for part, usual in zip(match.groups()[:4], (0, 3, 0, 1), strict=True)
    )
    channels, height, width = shape
    if not out or not kernel or not stride:
        raise UsageError(f'"{word}" is no convolution: it needs channels, kernel and stride above 0.')
    if match[3] and match[5]:
        raise UsageError(f'"{word}" names its padding twice: leave out p{match[3]} or {match[5]}.')
    name = {"tf": "tensorflow", None: "valid"}.get(match[5], match[5])
    after = (
        out,
        *(output_size(side + 2 * padding, kernel, padding=name, stride=stride) for side in (height, width)),
    )
    if min(after) < 1:
        raise UsageError(f'"{word}" needs a larger image than the {height}×{width} that are left.')
    if channels * out * kernel * kernel > MOST_WEIGHTS:
        raise UsageError(f'"{word}" on {channels:,} channels has too many weights.')
    if padding:
        return nn.Conv2d(channels, out, kernel, stride, padding, bias=bias), after
    return padded_conv(channels, out, kernel, padding=name, stride=stride, bias=bias), after


def _name(word: str, layers: list[tuple[str, nn.Module]]) -> str:
    """Return the layer's name: its kind and a running number, conv1, bn1, relu1, conv2, …"""
    kind = re.sub(r"[\d.].*", "", word)
    alike = sum(name.rstrip("0123456789") == kind for name, _ in layers)
    return f"{kind}{1 + alike}"


def _stages(names: list[str]) -> dict[str, str]:
    """Return block1, block2, … → the last layer before each pooling or flattening that follows a convolution."""
    ends: list[str] = []
    convolved = False
    for before, name in pairwise(names):
        convolved = convolved or before.startswith("conv")
        if convolved and re.match(r"\w*pool|gap|gmp|flatten", name):
            ends.append(before)
            convolved = False
    return {**{f"block{number}": name for number, name in enumerate(ends, 1)}, "output": names[-1]}
