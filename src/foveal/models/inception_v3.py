"""Inception-v3: convolutions factorised into small and into one-dimensional ones.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna: "Rethinking the Inception architecture for computer
vision", arXiv 1512.00567, CVPR 2016. The network is the one that its authors released in TensorFlow (and that
torchvision ported), which differs a little from the paper's table 1.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from foveal.models.blocks.inception import Branches, ConvNorm, Trunk, transform, truncated_normal_
from foveal.models.network import make_dense, make_dropout

WEIGHT = 0.4  # of the auxiliary loss, in the authors' TensorFlow code (TF-Slim); the paper gives no number


def inception_v3(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 299,  # noqa: ARG001  any size will do
    width: int = 299,  # noqa: ARG001
    auxiliary: bool = True,
    transform_input: bool = False,
    dropout: float = 0.5,
) -> Trunk:
    """Return Inception-v3, its keys torchvision's: 23,834,568 parameters, 27,161,264 with its auxiliary head.

    Shapes are given for 299×299. With an `auxiliary` head a forward pass in training returns `Heads`, the auxiliary
    loss counting 0.4; the head averages 5×5 by steps of 3, and where the input is so small that less than 5×5 would
    come of it, 5×5 equal parts (a map of less than 5×5 has its cells repeated). `transform_input` undoes ImageNet's
    normalisation of the input, as torchvision does for its published weights. Initialised as torchvision: weights
    N(0, 0.1²), in the auxiliary head 0.01² (its 5×5) and 0.001² (its classes), cut at ±2; torch's own biases.

    Raises:
        UsageError: for `transform_input` of anything but three channels.
    """
    head = AuxiliaryHead(classes) if auxiliary else None
    layers = [
        *transform(channels, wanted=transform_input),
        ("Conv2d_1a_3x3", _conv(channels, 32, 3, stride=2)),  # (B, 32, 149, 149)
        ("Conv2d_2a_3x3", _conv(32, 32, 3)),  # (B, 32, 147, 147)
        ("Conv2d_2b_3x3", _conv(32, 64, 3, padding=1)),  # (B, 64, 147, 147)
        ("maxpool1", nn.MaxPool2d(3, 2)),  # (B, 64, 73, 73)
        ("Conv2d_3b_1x1", _conv(64, 80, 1)),  # (B, 80, 73, 73)
        ("Conv2d_4a_3x3", _conv(80, 192, 3)),  # (B, 192, 71, 71)
        ("maxpool2", nn.MaxPool2d(3, 2)),  # (B, 192, 35, 35)
        ("Mixed_5b", _figure_5(192, pooled=32)),  # (B, 256, 35, 35)
        ("Mixed_5c", _figure_5(256, pooled=64)),  # (B, 288, 35, 35)
        ("Mixed_5d", _figure_5(288, pooled=64)),
        ("Mixed_6a", _reduced_to_17()),  # (B, 768, 17, 17)
        ("Mixed_6b", _figure_6(128)),
        ("Mixed_6c", _figure_6(160)),
        ("Mixed_6d", _figure_6(160)),
        ("Mixed_6e", _figure_6(192)),
        *([("AuxLogits", head)] if head else []),
        ("Mixed_7a", _reduced_to_8()),  # (B, 1280, 8, 8)
        ("Mixed_7b", _figure_7(1280)),  # (B, 2048, 8, 8)
        ("Mixed_7c", _figure_7(2048)),
        ("avgpool", nn.AdaptiveAvgPool2d(1)),
        ("dropout", make_dropout(dropout)),
        ("flatten", nn.Flatten()),  # (B, 2048)
        ("fc", make_dense(2048, classes)),
    ]
    convolutions = {name: name for name, _ in layers if name.startswith(("Conv2d", "Mixed"))}
    stages = {**convolutions, "output": "fc"}
    network = Trunk(layers, stages, auxiliary=("AuxLogits",) if head else (), weight=WEIGHT)
    truncated_normal_(network, 0.1, others={head.conv1.conv: 0.01, head.fc: 0.001} if head else None)
    return network


def _figure_5(inputs: int, *, pooled: int) -> Branches:
    """Return the module of figure 5: a 5×5 as two 3×3. The released network keeps one true 5×5 beside it."""
    return Branches(
        [{"branch1x1": _conv(inputs, 64, 1)}],
        [{"branch5x5_1": _conv(inputs, 48, 1)}, {"branch5x5_2": _conv(48, 64, 5, padding=2)}],
        [
            {"branch3x3dbl_1": _conv(inputs, 64, 1)},
            {"branch3x3dbl_2": _conv(64, 96, 3, padding=1)},
            {"branch3x3dbl_3": _conv(96, 96, 3, padding=1)},
        ],
        [{"average": nn.AvgPool2d(3, 1, padding=1)}, {"branch_pool": _conv(inputs, pooled, 1)}],
    )


def _reduced_to_17() -> Branches:
    """Return the module of figure 10 that halves the grid: (B, 288, 35, 35) → (B, 768, 17, 17)."""
    return Branches(
        [{"branch3x3": _conv(288, 384, 3, stride=2)}],
        [
            {"branch3x3dbl_1": _conv(288, 64, 1)},
            {"branch3x3dbl_2": _conv(64, 96, 3, padding=1)},
            {"branch3x3dbl_3": _conv(96, 96, 3, stride=2)},
        ],
        [{"maximum": nn.MaxPool2d(3, 2)}],
    )


def _figure_6(c7: int) -> Branches:
    """Return the module of figure 6: 7×7 as 1×7 and 7×1, on (B, 768, 17, 17)."""
    wide, tall = (1, 7), (7, 1)
    return Branches(
        [{"branch1x1": _conv(768, 192, 1)}],
        [
            {"branch7x7_1": _conv(768, c7, 1)},
            {"branch7x7_2": _conv(c7, c7, wide, padding=(0, 3))},
            {"branch7x7_3": _conv(c7, 192, tall, padding=(3, 0))},
        ],
        [
            {"branch7x7dbl_1": _conv(768, c7, 1)},
            {"branch7x7dbl_2": _conv(c7, c7, tall, padding=(3, 0))},
            {"branch7x7dbl_3": _conv(c7, c7, wide, padding=(0, 3))},
            {"branch7x7dbl_4": _conv(c7, c7, tall, padding=(3, 0))},
            {"branch7x7dbl_5": _conv(c7, 192, wide, padding=(0, 3))},
        ],
        [{"average": nn.AvgPool2d(3, 1, padding=1)}, {"branch_pool": _conv(768, 192, 1)}],
    )


def _reduced_to_8() -> Branches:
    """Return the module that halves the grid again: (B, 768, 17, 17) → (B, 1280, 8, 8)."""
    return Branches(
        [{"branch3x3_1": _conv(768, 192, 1)}, {"branch3x3_2": _conv(192, 320, 3, stride=2)}],
        [
            {"branch7x7x3_1": _conv(768, 192, 1)},
            {"branch7x7x3_2": _conv(192, 192, (1, 7), padding=(0, 3))},
            {"branch7x7x3_3": _conv(192, 192, (7, 1), padding=(3, 0))},
            {"branch7x7x3_4": _conv(192, 192, 3, stride=2)},
        ],
        [{"maximum": nn.MaxPool2d(3, 2)}],
    )


def _figure_7(inputs: int) -> Branches:
    """Return the module of figure 7, whose branches fork into 1×3 and 3×1, on (B, inputs, 8, 8)."""

    def fork(name: str) -> dict[str, nn.Module]:
        return {
            f"{name}a": _conv(384, 384, (1, 3), padding=(0, 1)),
            f"{name}b": _conv(384, 384, (3, 1), padding=(1, 0)),
        }

    return Branches(
        [{"branch1x1": _conv(inputs, 320, 1)}],
        [{"branch3x3_1": _conv(inputs, 384, 1)}, fork("branch3x3_2")],
        [
            {"branch3x3dbl_1": _conv(inputs, 448, 1)},
            {"branch3x3dbl_2": _conv(448, 384, 3, padding=1)},
            fork("branch3x3dbl_3"),
        ],
        [{"average": nn.AvgPool2d(3, 1, padding=1)}, {"branch_pool": _conv(inputs, 192, 1)}],
    )


class AuxiliaryHead(nn.Module):
    """The auxiliary head: (B, 768, 17, 17) → (B, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv0 = _conv(768, 128, 1)
        self.conv1 = _conv(128, 768, 5)
        self.fc = make_dense(768, classes)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        enough = min(x.shape[2:]) >= 17
        x = functional.avg_pool2d(x, 5, 3) if enough else functional.adaptive_avg_pool2d(x, 5)  # (B, 768, 5, 5)
        x = self.conv1(self.conv0(x))  # (B, 768, 1, 1)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def _conv(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
) -> ConvNorm:
    return ConvNorm(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False))
