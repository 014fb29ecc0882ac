"""torchvision's weight files (0.28), one line a file: accuracies are torchvision's own, in percent.

The eight digits at the end of a file's name are the start of its SHA-256. `FULL` has all of it where it could be
had: read off public records of the downloaded file, of which each begins with the eight digits that torchvision gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal.models.weights.record import IMAGENET_MEAN, IMAGENET_STD, PretrainedWeights
from foveal.preprocess import Interpolation

HOST = "https://download.pytorch.org/models/"
LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms ask for non-commercial research"
CAFFE_MEAN, CAFFE_STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)
# Not in the files: these networks undo ImageNet's normalisation. Their auxiliary heads are read and left out.
FROM_IMAGENET: Mapping[str, Any] = {"transform_input": True, "auxiliary": False}
AUX_UNTRAINED = "the auxiliary heads in the file are not trained"
HALF_PRECISION = "stored in half precision"

FULL = {
    "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "7f5810bc96def8f7552d5b7e68d53c4786f81167d28291b21c0d90e1fca14934",
    "1a07897c0d357db7981640f6be44a63420f11deb932344a69768b62ebe272946",
    "7ebf99e03e254b273379b23edca7ec0da9f48273b23a332b93c1c99d49e86e8f",
    "047dcff4addef86ea5bc2eff13c9614dc11f47ab1160d0a71a25e7db994f4e1f",
    "8738ca797c879b547d18bbd15da5736ff2557b2036a9af72225393ca61759a04",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    "a639ec97d7c33b07ae66f0b5fb7d0192f95a3b11b7576c66c0126c2a727c4395",
    "983f1562536e84ff750a1576fb08e54de751dbf2e17c0d8a4a13704341fdcd3d",
}


def _file(
    model: str, tag: str, file: str, top1: float | None, top5: float | None, *, size: int = 224, short_side: int = 256,
    interpolation: Interpolation = "bilinear", mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD, options: Mapping[str, Any] | None = None, default: bool = False,
    head: bool = True, note: str = "",
) -> PretrainedWeights:  # fmt: skip
    digits = file.rsplit("-", 1)[1].removesuffix(".pth")
    return PretrainedWeights(
        model, tag, (HOST + file,), file, next((one for one in FULL if one.startswith(digits)), digits), top1, top5,
        "torchvision's figures", size, short_side, interpolation, mean, std, LICENCE, options=options or {},
        default=default, head=head, note=note,
    )  # fmt: skip


# fmt: off
TORCHVISION = (
    _file("alexnet", "imagenet1k_v1", "alexnet-owt-7be5be79.pth", 56.522, 79.066, default=True),
    _file("vgg11", "imagenet1k_v1", "vgg11-8a719046.pth", 69.02, 88.628, default=True),
    _file("vgg13", "imagenet1k_v1", "vgg13-19584684.pth", 69.928, 89.246, default=True),
    _file("vgg16", "imagenet1k_v1", "vgg16-397923af.pth", 71.592, 90.382, default=True),
    _file("vgg16", "imagenet1k_features", "vgg16_features-amdegroot-88682ab5.pth",
          None, None, mean=CAFFE_MEAN, std=CAFFE_STD, head=False),
    _file("vgg19", "imagenet1k_v1", "vgg19-dcbb9e9d.pth", 72.376, 90.876, default=True),
    _file("vgg11_bn", "imagenet1k_v1", "vgg11_bn-6002323d.pth", 70.37, 89.81, default=True),
    _file("vgg13_bn", "imagenet1k_v1", "vgg13_bn-abd245e5.pth", 71.586, 90.374, default=True),
    _file("vgg16_bn", "imagenet1k_v1", "vgg16_bn-6c64b313.pth", 73.36, 91.516, default=True),
    _file("vgg19_bn", "imagenet1k_v1", "vgg19_bn-c79401a0.pth", 74.218, 91.842, default=True),
    _file("googlenet", "imagenet1k_v1", "googlenet-1378be20.pth", 69.778, 89.53, default=True,
          options=FROM_IMAGENET, note=AUX_UNTRAINED),
    _file("inception_v3", "imagenet1k_v1", "inception_v3_google-0cc3c7bd.pth", 77.294,
          93.45, short_side=342, size=299, default=True, options=FROM_IMAGENET),
    _file("resnet18", "imagenet1k_v1", "resnet18-f37072fd.pth", 69.758, 89.078, default=True),
    _file("resnet34", "imagenet1k_v1", "resnet34-b627a593.pth", 73.314, 91.42, default=True),
    _file("resnet50", "imagenet1k_v1", "resnet50-0676ba61.pth", 76.13, 92.862),
    _file("resnet50", "imagenet1k_v2", "resnet50-11ad3fa6.pth", 80.858, 95.434, short_side=232, default=True),
    _file("resnet101", "imagenet1k_v1", "resnet101-63fe2227.pth", 77.374, 93.546),
    _file("resnet101", "imagenet1k_v2", "resnet101-cd907fc2.pth", 81.886, 95.78, short_side=232, default=True),
    _file("resnet152", "imagenet1k_v1", "resnet152-394f9c45.pth", 78.312, 94.046),
    _file("resnet152", "imagenet1k_v2", "resnet152-f82ba261.pth", 82.284, 96.002, short_side=232, default=True),
    _file("resnext50_32x4d", "imagenet1k_v1", "resnext50_32x4d-7cdf4587.pth", 77.618, 93.698),
    _file("resnext50_32x4d", "imagenet1k_v2", "resnext50_32x4d-1a0047aa.pth", 81.198,
          95.34, short_side=232, default=True),
    _file("resnext101_32x8d", "imagenet1k_v1", "resnext101_32x8d-8ba56ff5.pth", 79.312, 94.526),
    _file("resnext101_32x8d", "imagenet1k_v2", "resnext101_32x8d-110c445d.pth", 82.834,
          96.228, short_side=232, default=True),
    _file("resnext101_64x4d", "imagenet1k_v1", "resnext101_64x4d-173b62eb.pth", 83.246,
          96.454, short_side=232, default=True),
    _file("wide_resnet50_2", "imagenet1k_v1", "wide_resnet50_2-95faca4d.pth", 78.468, 94.086, note=HALF_PRECISION),
    _file("wide_resnet50_2", "imagenet1k_v2", "wide_resnet50_2-9ba9bcbe.pth", 81.602,
          95.758, short_side=232, default=True),
    _file("wide_resnet101_2", "imagenet1k_v1", "wide_resnet101_2-32ee1156.pth", 78.848,
          94.284, note=HALF_PRECISION),
    _file("wide_resnet101_2", "imagenet1k_v2", "wide_resnet101_2-d733dc28.pth", 82.51,
          96.02, short_side=232, default=True),
    _file("densenet121", "imagenet1k_v1", "densenet121-a639ec97.pth", 74.434, 91.972, default=True),
    _file("densenet161", "imagenet1k_v1", "densenet161-8d451a50.pth", 77.138, 93.56, default=True),
    _file("densenet169", "imagenet1k_v1", "densenet169-b2777c0a.pth", 75.6, 92.806, default=True),
    _file("densenet201", "imagenet1k_v1", "densenet201-c1103571.pth", 76.896, 93.37, default=True),
    _file("squeezenet1_0", "imagenet1k_v1", "squeezenet1_0-b66bff10.pth", 58.092, 80.42, default=True),
    _file("squeezenet1_1", "imagenet1k_v1", "squeezenet1_1-b8a52dc0.pth", 58.178, 80.624, default=True),
    _file("mobilenet_v2", "imagenet1k_v1", "mobilenet_v2-b0353104.pth", 71.878, 90.286),
    _file("mobilenet_v2", "imagenet1k_v2", "mobilenet_v2-7ebf99e0.pth", 72.154, 90.822,
          short_side=232, default=True),
    _file("mobilenet_v3_large", "imagenet1k_v1", "mobilenet_v3_large-8738ca79.pth", 74.042, 91.34),
    _file("mobilenet_v3_large", "imagenet1k_v2", "mobilenet_v3_large-5c1a4163.pth",
          75.274, 92.566, short_side=232, default=True),
    _file("mobilenet_v3_small", "imagenet1k_v1", "mobilenet_v3_small-047dcff4.pth", 67.668, 87.402, default=True),
    _file("efficientnet_b0", "imagenet1k_v1", "efficientnet_b0_rwightman-7f5810bc.pth",
          77.692, 93.532, interpolation="bicubic", default=True),
    _file("efficientnet_b1", "imagenet1k_v1", "efficientnet_b1_rwightman-bac287d4.pth",
          78.642, 94.186, short_side=256, size=240, interpolation="bicubic"),
    _file("efficientnet_b1", "imagenet1k_v2", "efficientnet_b1-c27df63c.pth", 79.838,
          94.934, short_side=255, size=240, default=True),
    _file("efficientnet_b2", "imagenet1k_v1", "efficientnet_b2_rwightman-c35c1473.pth",
          80.608, 95.31, short_side=288, size=288, interpolation="bicubic", default=True),
    _file("efficientnet_b3", "imagenet1k_v1", "efficientnet_b3_rwightman-b3899882.pth",
          82.008, 96.054, short_side=320, size=300, interpolation="bicubic", default=True),
    _file("efficientnet_b4", "imagenet1k_v1", "efficientnet_b4_rwightman-23ab8bcd.pth",
          83.384, 96.594, short_side=384, size=380, interpolation="bicubic", default=True),
    _file("efficientnet_b5", "imagenet1k_v1", "efficientnet_b5_lukemelas-1a07897c.pth",
          83.444, 96.628, short_side=456, size=456, interpolation="bicubic", default=True),
    _file("efficientnet_b6", "imagenet1k_v1", "efficientnet_b6_lukemelas-24a108a5.pth",
          84.008, 96.916, short_side=528, size=528, interpolation="bicubic", default=True),
    _file("efficientnet_b7", "imagenet1k_v1", "efficientnet_b7_lukemelas-c5b4e57e.pth",
          84.122, 96.908, short_side=600, size=600, interpolation="bicubic", default=True),
    _file("convnext_tiny", "imagenet1k_v1", "convnext_tiny-983f1562.pth", 82.52, 96.146,
          short_side=236, default=True),
)
# fmt: on
