"""VGG: three-by-three convolutions only, in five blocks.

K. Simonyan, A. Zisserman: "Very deep convolutional networks for large-scale image recognition", arXiv 1409.1556,
ICLR 2015.
"""

from __future__ import annotations

from torch import nn

from foveal.errors import UsageError
from foveal.models.network import Stack, make_dense, make_dropout

CONVOLUTIONS = {  # table 1: how many of 3×3 in each block
    11: (1, 1, 2, 2, 2),  # A
    13: (2, 2, 2, 2, 2),  # B
    16: (2, 2, 3, 3, 3),  # D
    19: (2, 2, 4, 4, 4),  # E
}
WIDTHS = (64, 128, 256, 512, 512)


def vgg(
    *,
    depth: int = 16,
    batch_norm: bool = False,
    dropout: float = 0.5,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
) -> Stack:
    """Return the VGG with `depth` weighted layers, 11, 13, 16 or 19; its keys are torchvision's.

    Shapes are given for 224×224; a last map of another size is averaged over (or spread to) 7×7 parts, as
    torchvision does. A block is seen before its pooling. `batch_norm` puts a normalisation behind each convolution,
    which keeps its bias; the paper has none. Initialised as torchvision: He-normal (fan out) convolutions,
    N(0, 0.01²) dense weights, zero biases; the paper drew A from N(0, 0.01) and started the deeper ones from A.

    Raises:
        UsageError: for a depth that there is not, or a dropout that is no probability.
    """
    if depth not in CONVOLUTIONS:
        raise UsageError(f"There is no VGG-{depth}; choose {', '.join(map(str, CONVOLUTIONS))}.")
    layers: list[nn.Module] = []
    stages: dict[str, str] = {}
    inputs = channels
    for block, (count, outputs) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS, strict=True), 1):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1)]
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            layers += [nn.ReLU(inplace=True)]
            inputs = outputs
        stages[f"block{block}"] = f"features.{len(layers) - 1}"  # (B, 64, 224, 224) … (B, 512, 14, 14)
        layers += [nn.MaxPool2d(2)]
    classifier = nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096),
        nn.ReLU(inplace=True),
        make_dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        make_dropout(dropout),
        make_dense(4096, classes),
    )
    network = Stack(
        [
            ("features", nn.Sequential(*layers)),  # (B, 512, 7, 7)
            ("avgpool", nn.AdaptiveAvgPool2d(7)),
            ("flatten", nn.Flatten()),  # (B, 25088)
            ("classifier", classifier),
        ],
        stages={**stages, "fc1": "classifier.1", "fc2": "classifier.4", "output": "classifier.6"},
    )
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network
