"""GoogLeNet: as published, and as torchvision has it.

C. Szegedy et al.: "Going deeper with convolutions", arXiv 1409.4842, CVPR 2015. torchvision's is a port of
TensorFlow's "Inception v1" and another network: batch normalisation (S. Ioffe, C. Szegedy, 2015) for local response
normalisation and biases, 3×3 kernels where the paper has 5×5 (pytorch/vision issue 906), a fourth pooling of 2×2.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from foveal.models.blocks.inception import Branches, ConvNorm, Trunk, transform, truncated_normal_
from foveal.models.network import make_dense, make_dropout

MODULES = {  # table 1: maps of 1×1, of 3×3 reduced, 3×3, of 5×5 reduced, 5×5, projected pooling
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
STAGES = {
    "conv1": "conv1",
    "conv2": "conv3",
    **{f"inception {name}": f"inception{name}" for name in MODULES},
    "output": "fc",
}
AUXILIARY = ("aux1", "aux2")
WEIGHT = 0.3  # section 5: of each auxiliary loss
LRN = (5, 1e-4, 0.75, 1.0)  # the paper says none; Caffe's

Conv = Callable[[int, int, int, int], nn.Module]  # inputs, outputs, kernel, stride; same padding


def googlenet_2014(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
    auxiliary: bool = True,
    dropout: float = 0.4,
) -> Trunk:
    """Return GoogLeNet as published: 6,998,552 parameters, 13,378,280 with its two auxiliary heads.

    Shapes are given for 224×224. Poolings round up (``ceil_mode``), without which the maps would not have the
    table's 56, 28, 14 and 7 pixels. With `auxiliary` heads a forward pass in training returns `Heads`, each
    auxiliary loss counting 0.3. The heads average 5×5 by steps of 3 to 4×4; where the input is of another size and
    that would give another number, they average 4×4 equal parts (a map of less than 4×4 has its cells repeated).

    The paper says nothing of initialisation, nor of the normalisation's constants: both are Caffe's
    (bvlc_googlenet), uniform weights of variance 1 / fan-in, biases 0.2, and 0 where classes are answered.
    """
    layers = [
        ("conv1", _biased(channels, 64, 7, 2)),  # (B, 64, 112, 112)
        ("pool1", _pool(3)),  # (B, 64, 56, 56)
        ("norm1", nn.LocalResponseNorm(*LRN)),
        ("conv2", _biased(64, 64, 1)),
        ("conv3", _biased(64, 192, 3)),  # (B, 192, 56, 56)
        ("norm2", nn.LocalResponseNorm(*LRN)),
        ("pool2", _pool(3)),  # (B, 192, 28, 28)
        *_modules(_biased, five=5, last_pool=3, head=AuxiliaryHead if auxiliary else None, classes=classes),
        ("avgpool", nn.AdaptiveAvgPool2d(1)),  # the paper's 7×7 at its size
        ("flatten", nn.Flatten()),  # (B, 1024)
        ("dropout", make_dropout(dropout)),
        ("fc", make_dense(1024, classes)),
    ]
    network = Trunk(layers, STAGES, auxiliary=AUXILIARY if auxiliary else (), weight=WEIGHT)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = (3 / layer.weight[0].numel()) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, 0.0 if name == "fc" or name.endswith("fc2") else 0.2)
    return network


def googlenet(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
    auxiliary: bool = True,
    transform_input: bool = False,
    dropout: float = 0.2,
) -> Trunk:
    """Return torchvision's GoogLeNet, its keys: 6,624,904 parameters, 13,004,888 with its two auxiliary heads.

    Shapes are those of `googlenet_2014`. With `auxiliary` heads a forward pass in training returns `Heads`, each
    auxiliary loss counting 0.3; they average 4×4 equal parts of maps of any size. `transform_input` undoes
    ImageNet's normalisation of the input, as torchvision does for its published weights. Initialised as torchvision:
    N(0, 0.01²) weights, cut at ±2, and torch's own biases.

    Raises:
        UsageError: for `transform_input` of anything but three channels.
    """
    layers = [
        *transform(channels, wanted=transform_input),
        ("conv1", _normed(channels, 64, 7, 2)),
        ("maxpool1", _pool(3)),
        ("conv2", _normed(64, 64, 1)),
        ("conv3", _normed(64, 192, 3)),
        ("maxpool2", _pool(3)),
        *_modules(_normed, five=3, last_pool=2, head=NormedAuxiliaryHead if auxiliary else None, classes=classes),
        ("avgpool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("dropout", make_dropout(dropout)),
        ("fc", make_dense(1024, classes)),
    ]
    network = Trunk(layers, STAGES, auxiliary=AUXILIARY if auxiliary else (), weight=WEIGHT)
    truncated_normal_(network, 0.01)
    return network


def _modules(
    conv: Conv, *, five: int, last_pool: int, head: Callable[[int, int], nn.Module] | None, classes: int
) -> list[tuple[str, nn.Module]]:
    """Return the nine modules with what stands between them; `five` is the kernel of the branch called 5×5."""
    layers: list[tuple[str, nn.Module]] = []
    inputs = 192
    for name, widths in MODULES.items():
        layers += [(f"inception{name}", _inception(conv, inputs, widths, five))]
        one, _, three, _, fives, pooled = widths
        inputs = one + three + fives + pooled
        if name == "3b":
            layers += [("maxpool3", _pool(3))]  # (B, 480, 14, 14)
        if name == "4e":
            layers += [("maxpool4", _pool(last_pool))]  # (B, 832, 7, 7)
        if head and name in ("4a", "4d"):
            layers += [("aux1" if name == "4a" else "aux2", head(inputs, classes))]
    return layers


def _inception(conv: Conv, inputs: int, widths: tuple[int, int, int, int, int, int], five: int) -> Branches:
    """Return the inception module of figure 2(b): (B, inputs, H, W) → (B, 1×1 + 3×3 + 5×5 + pool, H, W)."""
    one, reduce_three, three, reduce_five, fives, pooled = widths
    return Branches(
        [{"branch1": conv(inputs, one, 1, 1)}],
        [{"branch2": nn.Sequential(conv(inputs, reduce_three, 1, 1), conv(reduce_three, three, 3, 1))}],
        [{"branch3": nn.Sequential(conv(inputs, reduce_five, 1, 1), conv(reduce_five, fives, five, 1))}],
        [{"branch4": nn.Sequential(nn.MaxPool2d(3, 1, padding=1, ceil_mode=True), conv(inputs, pooled, 1, 1))}],
    )


class NormedAuxiliaryHead(nn.Module):
    """The auxiliary head of section 5: (B, inputs, 14, 14) → (B, classes)."""

    def __init__(self, inputs: int, classes: int, conv: Conv | None = None) -> None:
        super().__init__()
        self.conv = (conv or _normed)(inputs, 128, 1, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = make_dropout(0.7)
        self.fc2 = make_dense(1024, classes)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.conv(self.averaged(x)).flatten(1)  # (B, 2048)
        return self.fc2(self.dropout(functional.relu(self.fc1(x), inplace=True)))  # type: ignore[no-any-return]

    def averaged(self, x: Tensor) -> Tensor:
        """Return the mean of 4×4 equal parts."""
        return functional.adaptive_avg_pool2d(x, 4)  # (B, inputs, 4, 4)


class AuxiliaryHead(NormedAuxiliaryHead):
    """The same as published, with biases and means of 5×5 by steps of 3."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(inputs, classes, _biased)

    def averaged(self, x: Tensor) -> Tensor:  # noqa: D102
        if all(14 <= side <= 16 for side in x.shape[2:]):  # the sides of which 5×5 by steps of 3 makes 4×4
            return functional.avg_pool2d(x, 5, 3)
        return super().averaged(x)


def _biased(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Return a convolution with bias, and ReLU."""
    layers = nn.Sequential()
    layers.add_module("conv", nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2))
    layers.add_module("relu", nn.ReLU(inplace=True))
    return layers


def _normed(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Return a convolution with batch normalisation, and ReLU."""
    return ConvNorm(nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False))


def _pool(kernel: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, 2, ceil_mode=True)
