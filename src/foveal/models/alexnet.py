"""AlexNet: as published, as one tower, and with batch normalisation.

A. Krizhevsky, I. Sutskever, G. E. Hinton: "ImageNet classification with deep convolutional neural networks",
NIPS 2012; A. Krizhevsky: "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997, 2014.

These are four networks that go by one name: 60,965,224 parameters in two groups (the paper), 62,378,344 with the
groups joined, 61,100,840 as one tower (torchvision), and "60 million" (the abstract).
"""

from __future__ import annotations

from torch import nn

from foveal.errors import UsageError, nearest
from foveal.models.network import Stack, make_dense, make_dropout, xavier_

LRN = {  # torch divides alpha by the window's size, the paper's formula does not: 5e-4 there is the 1e-4 that it prints
    "paper": (5, 5e-4, 0.75, 2.0),
    "caffe": (5, 1e-4, 0.75, 1.0),
}
BIASED = ("conv2", "conv4", "conv5", "fc6", "fc7")  # section 5: a bias of 1 feeds the ReLUs positive inputs at first


def alexnet_2012(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 227,
    width: int = 227,
    padding: int = 0,
    lrn: str = "paper",
    groups: int = 2,
    dropout: float = 0.5,
) -> Stack:
    """Return the AlexNet of 2012: two groups, local response normalisation, overlapping pooling.

    Shapes are given for 227×227. The paper says 224×224, but 11×11 by steps of 4 gives its 55×55 maps from 227, or
    from 224 with a `padding` of 2 only. Other sizes change fc6's input.

    Args:
        padding: pixels of zeros around the image, for conv1.
        lrn: "paper" (k = 2, as printed in section 3.3) or "caffe" (alpha a fifth of it, k = 1).
        groups: 2, as the paper's two GPUs had it: conv2, conv4 and conv5 see the maps of their own half; 1 joins them.
        dropout: probability with which an input of fc7 and of fc8 is left out in training.

    Initialised as the paper: weights N(0, 0.01²), biases 1 in conv2, conv4, conv5, fc6 and fc7, else 0.

    Raises:
        UsageError: for an `lrn` or a number of groups that there is not, or a padding below 0.
    """
    if lrn not in LRN:
        raise UsageError(f'There is no lrn "{lrn}"; choose {" or ".join(LRN)}.{nearest(lrn, LRN)}')
    if groups not in (1, 2) or padding < 0:
        raise UsageError(f"AlexNet has 1 or 2 groups and a padding of 0 or more, not {groups} and {padding}.")
    last_height, last_width = (_pooled(_pooled(_pooled((side + 2 * padding - 7) // 4))) for side in (height, width))
    network = Stack(
        [
            ("conv1", nn.Conv2d(channels, 96, 11, stride=4, padding=padding)),  # (B, 96, 55, 55)
            ("relu1", nn.ReLU(inplace=True)),
            ("norm1", nn.LocalResponseNorm(*LRN[lrn])),
            ("pool1", nn.MaxPool2d(3, 2)),  # (B, 96, 27, 27)
            ("conv2", nn.Conv2d(96, 256, 5, padding=2, groups=groups)),
            ("relu2", nn.ReLU(inplace=True)),
            ("norm2", nn.LocalResponseNorm(*LRN[lrn])),
            ("pool2", nn.MaxPool2d(3, 2)),  # (B, 256, 13, 13)
            ("conv3", nn.Conv2d(256, 384, 3, padding=1)),
            ("relu3", nn.ReLU(inplace=True)),
            ("conv4", nn.Conv2d(384, 384, 3, padding=1, groups=groups)),
            ("relu4", nn.ReLU(inplace=True)),
            ("conv5", nn.Conv2d(384, 256, 3, padding=1, groups=groups)),
            ("relu5", nn.ReLU(inplace=True)),
            ("pool5", nn.MaxPool2d(3, 2)),  # (B, 256, 6, 6)
            ("flatten", nn.Flatten()),  # (B, 9216)
            ("fc6", make_dense(256 * last_height * last_width, 4096)),
            ("relu6", nn.ReLU(inplace=True)),
            ("drop6", make_dropout(dropout)),
            ("fc7", make_dense(4096, 4096)),
            ("relu7", nn.ReLU(inplace=True)),
            ("drop7", make_dropout(dropout)),
            ("fc8", make_dense(4096, classes)),
        ],
        stages={
            "conv1": "relu1", "pool1": "pool1", "conv2": "relu2", "pool2": "pool2", "conv3": "relu3", "conv4": "relu4",
            "conv5": "relu5", "pool5": "pool5", "fc6": "relu6", "fc7": "relu7", "output": "fc8",
        },
    )  # fmt: skip
    for name, layer in network.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, float(name in BIASED))
    return network


def _pooled(side: int) -> int:
    """Return the side of a map after pooling of 3×3 by steps of 2; 1 for a map that is too small to be pooled."""
    return max(1, (side - 1) // 2)


def alexnet(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
    dropout: float = 0.5,
) -> Stack:
    """Return AlexNet as one tower, as torchvision has it (its keys): the network that today's "AlexNet" means.

    Shapes are given for 224×224; whatever the size of the last map, its average over 6×6 parts goes on. This is the
    tower of 2014 in widths only: no groups, and no local response normalisation, which Krizhevsky's own kept.
    Initialised as torchvision: torch's own defaults.
    """
    features = nn.Sequential(
        nn.Conv2d(channels, 64, 11, stride=4, padding=2),  # (B, 64, 55, 55)
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),  # (B, 64, 27, 27)
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),  # (B, 192, 13, 13)
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),  # (B, 256, 6, 6)
    )
    classifier = nn.Sequential(
        make_dropout(dropout),
        nn.Linear(256 * 6 * 6, 4096),
        nn.ReLU(inplace=True),
        make_dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        make_dense(4096, classes),
    )
    return Stack(
        [
            ("features", features),
            ("avgpool", nn.AdaptiveAvgPool2d(6)),
            ("flatten", nn.Flatten()),  # (B, 9216)
            ("classifier", classifier),
        ],
        stages={
            "conv1": "features.1", "pool1": "features.2", "conv2": "features.4", "pool2": "features.5",
            "conv3": "features.7", "conv4": "features.9", "conv5": "features.11", "pool5": "features.12",
            "fc6": "classifier.2", "fc7": "classifier.5", "output": "classifier.6",
        },
    )  # fmt: skip


def alexnet_bn(
    *, classes: int = 17, channels: int = 3, height: int = 224, width: int = 224, dropout: float = 0.4
) -> Stack:
    """Return the AlexNet of many a Keras tutorial: batch normalisation for LRN, no padding but in conv2, no groups.

    Not AlexNet, though it is told as such: without padding the maps shrink to 2×2, so that fc6 sees 1,024 features
    where the paper's sees 9,216, and there are 24,815,697 parameters for 17 classes. Shapes are given for 224×224;
    other sizes change fc6's input. Dropout is 0.4. Batch normalisation is Keras's (epsilon 1e-3, momentum 0.99,
    which torch calls 0.01); torch's running variance is the unbiased one.

    Initialised as Keras: Glorot-uniform weights, zero biases.
    """
    last_height, last_width = (_pooled(_pooled(_pooled((side - 7) // 4)) - 6) for side in (height, width))
    network = Stack(
        [
            ("conv1", nn.Conv2d(channels, 96, 11, stride=4)),  # (B, 96, 54, 54)
            ("relu1", nn.ReLU(inplace=True)),
            ("pool1", nn.MaxPool2d(3, 2)),  # (B, 96, 26, 26)
            ("bn1", _keras_norm(96)),
            ("conv2", nn.Conv2d(96, 256, 5, padding=2)),
            ("relu2", nn.ReLU(inplace=True)),
            ("pool2", nn.MaxPool2d(3, 2)),  # (B, 256, 12, 12)
            ("bn2", _keras_norm(256)),
            ("conv3", nn.Conv2d(256, 384, 3)),  # (B, 384, 10, 10)
            ("relu3", nn.ReLU(inplace=True)),
            ("bn3", _keras_norm(384)),
            ("conv4", nn.Conv2d(384, 384, 3)),  # (B, 384, 8, 8)
            ("relu4", nn.ReLU(inplace=True)),
            ("bn4", _keras_norm(384)),
            ("conv5", nn.Conv2d(384, 256, 3)),  # (B, 256, 6, 6)
            ("relu5", nn.ReLU(inplace=True)),
            ("pool5", nn.MaxPool2d(3, 2)),  # (B, 256, 2, 2)
            ("bn5", _keras_norm(256)),
            ("flatten", nn.Flatten()),  # (B, 1024)
            ("fc6", make_dense(256 * last_height * last_width, 4096)),
            ("relu6", nn.ReLU(inplace=True)),
            ("drop6", make_dropout(dropout)),
            ("bn6", nn.BatchNorm1d(4096, eps=1e-3, momentum=0.01)),
            ("fc7", make_dense(4096, 4096)),
            ("relu7", nn.ReLU(inplace=True)),
            ("drop7", make_dropout(dropout)),
            ("bn7", nn.BatchNorm1d(4096, eps=1e-3, momentum=0.01)),
            ("fc8", make_dense(4096, classes)),
        ],
        stages={
            "conv1": "relu1", "pool1": "bn1", "conv2": "relu2", "pool2": "bn2", "conv3": "bn3", "conv4": "bn4",
            "conv5": "relu5", "pool5": "bn5", "fc6": "bn6", "fc7": "bn7", "output": "fc8",
        },
    )  # fmt: skip
    xavier_(network)
    return network


def _keras_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
