"""timm's files on the hub (1.0.31) for networks of the catalog, one line a file.

Accuracies are timm's own re-evaluation, in percent, at the size of the line; None where its table was not at hand.
The tag is the hub's; that of a port from TensorFlow (``tf_efficientnet_b0.aa_in1k``) begins with ``tf_``. Left out are
files without 1000 classes and those of networks that are not in the catalog.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from foveal.models.weights.record import HALF, IMAGENET_MEAN, IMAGENET_STD, PretrainedWeights
from foveal.preprocess import Fit, Interpolation

HOST = "https://huggingface.co/timm/"
MODELS = {  # timm's name → ours, where they differ
    "mobilenetv2_100": "mobilenet_v2",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "mobilenetv3_small_100": "mobilenet_v3_small",
}
IMAGENET_TERMS = "trained on ImageNet, whose terms ask for non-commercial research"
APACHE, BSD = f"Apache-2.0 (timm); {IMAGENET_TERMS}", f"BSD-3-Clause (torchvision); {IMAGENET_TERMS}"
NON_COMMERCIAL = f"CC-BY-NC-4.0 (Meta), non-commercial only; {IMAGENET_TERMS}"
ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def _hub(
    name: str, top1: float | None, top5: float | None, *, size: int = 224, crop: float = 0.875,
    interpolation: Interpolation = "bicubic", mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD, fit: Fit = "crop", licence: str = APACHE, default: bool = False,
) -> PretrainedWeights:  # fmt: skip
    network, tag = name.split(".", 1)
    bare = network.removeprefix("tf_")
    model, ported = MODELS.get(bare, bare), bare != network
    return PretrainedWeights(
        model, f"tf_{tag}" if ported else tag, (f"{HOST}{name}/resolve/main/model.safetensors",),
        f"{name}.safetensors", "", top1, top5, "timm's figures", size, math.floor(size / crop), interpolation, mean,
        std, licence, fit=fit, options=_options(model, ported=ported), default=default,
    )  # fmt: skip


def _options(model: str, *, ported: bool) -> Mapping[str, Any]:
    """Return what timm's network of this name is beside ours: TensorFlow's padding and eps, or PyTorch's."""
    if model.startswith(("efficientnet_", "mobilenet_v3")):
        return {"padding": "tensorflow", "bn_eps": 1e-3} if ported else {"padding": "symmetric", "bn_eps": 1e-5}
    return {"auxiliary": False} if model == "inception_v3" else {}


# fmt: off
TIMM = (
    _hub("vgg11.tv_in1k", 69.05, 88.63, interpolation="bilinear", licence=BSD),
    _hub("vgg11_bn.tv_in1k", 70.374, 89.802, interpolation="bilinear", licence=BSD),
    _hub("vgg13.tv_in1k", 69.95, 89.262, interpolation="bilinear", licence=BSD),
    _hub("vgg13_bn.tv_in1k", 71.56, 90.372, interpolation="bilinear", licence=BSD),
    _hub("vgg16.tv_in1k", 71.594, 90.398, interpolation="bilinear", licence=BSD),
    _hub("vgg16_bn.tv_in1k", 73.354, 91.49, interpolation="bilinear", licence=BSD),
    _hub("vgg19.tv_in1k", 72.4, 90.878, interpolation="bilinear", licence=BSD),
    _hub("vgg19_bn.tv_in1k", 74.23, 91.848, interpolation="bilinear", licence=BSD),
    _hub("inception_v3.gluon_in1k", None, None, size=299),
    _hub("inception_v3.tf_adv_in1k", None, None, size=299, mean=HALF, std=HALF),
    _hub("inception_v3.tf_in1k", 77.866, 93.644, size=299, mean=HALF, std=HALF),
    _hub("inception_v3.tv_in1k", 77.472, 93.468, size=299, mean=HALF, std=HALF),
    _hub("resnet18.a1_in1k", None, None, crop=0.95),
    _hub("resnet18.a2_in1k", None, None, crop=0.95),
    _hub("resnet18.a3_in1k", None, None, size=160, crop=0.95),
    _hub("resnet18.fb_ssl_yfcc100m_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnet18.fb_swsl_ig1b_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnet18.gluon_in1k", None, None),
    _hub("resnet18.tv_in1k", 69.752, 89.082, interpolation="bilinear", licence=BSD),
    _hub("resnet34.a1_in1k", None, None, crop=0.95),
    _hub("resnet34.a2_in1k", None, None, crop=0.95),
    _hub("resnet34.a3_in1k", None, None, size=160, crop=0.95),
    _hub("resnet34.bt_in1k", None, None),
    _hub("resnet34.gluon_in1k", None, None),
    _hub("resnet34.ra4_e3600_r224_in1k", None, None, crop=0.9, mean=HALF, std=HALF),
    _hub("resnet34.tv_in1k", 73.298, 91.422, interpolation="bilinear", licence=BSD),
    _hub("resnet50.a1_in1k", None, None, crop=0.95),
    _hub("resnet50.a1h_in1k", None, None, size=176, crop=0.9),
    _hub("resnet50.a2_in1k", None, None, crop=0.95),
    _hub("resnet50.a3_in1k", None, None, size=160, crop=0.95),
    _hub("resnet50.am_in1k", None, None),
    _hub("resnet50.b1k_in1k", None, None, crop=0.95),
    _hub("resnet50.b2k_in1k", None, None, crop=0.95),
    _hub("resnet50.bt_in1k", None, None),
    _hub("resnet50.c1_in1k", None, None, crop=0.95),
    _hub("resnet50.c2_in1k", None, None, crop=0.95),
    _hub("resnet50.d_in1k", None, None, crop=0.95),
    _hub("resnet50.fb_ssl_yfcc100m_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnet50.fb_swsl_ig1b_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnet50.gluon_in1k", 77.58, 93.704),
    _hub("resnet50.ra_in1k", None, None),
    _hub("resnet50.ram_in1k", None, None),
    _hub("resnet50.tv2_in1k", 79.434, 94.64, size=176, interpolation="bilinear", licence=BSD),
    _hub("resnet50.tv_in1k", 76.156, 92.866, interpolation="bilinear", licence=BSD),
    _hub("resnet101.a1_in1k", None, None, crop=0.95),
    _hub("resnet101.a1h_in1k", None, None, crop=0.95),
    _hub("resnet101.a2_in1k", None, None, crop=0.95),
    _hub("resnet101.a3_in1k", None, None, size=160, crop=0.95),
    _hub("resnet101.gluon_in1k", None, None),
    _hub("resnet101.tv2_in1k", 79.908, 94.606, size=176, interpolation="bilinear", licence=BSD),
    _hub("resnet101.tv_in1k", 77.404, 93.552, interpolation="bilinear", licence=BSD),
    _hub("resnet152.a1_in1k", None, None, crop=0.95),
    _hub("resnet152.a1h_in1k", None, None, crop=0.95),
    _hub("resnet152.a2_in1k", None, None, crop=0.95),
    _hub("resnet152.a3_in1k", None, None, size=160, crop=0.95),
    _hub("resnet152.gluon_in1k", None, None),
    _hub("resnet152.tv2_in1k", 80.222, 94.65, size=176, interpolation="bilinear", licence=BSD),
    _hub("resnet152.tv_in1k", 78.33, 94.046, interpolation="bilinear", licence=BSD),
    _hub("resnext50_32x4d.a1_in1k", None, None, crop=0.95),
    _hub("resnext50_32x4d.a1h_in1k", None, None, crop=0.95),
    _hub("resnext50_32x4d.a2_in1k", None, None, crop=0.95),
    _hub("resnext50_32x4d.a3_in1k", None, None, size=160, crop=0.95),
    _hub("resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnext50_32x4d.fb_swsl_ig1b_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnext50_32x4d.gluon_in1k", None, None),
    _hub("resnext50_32x4d.ra_in1k", None, None),
    _hub("resnext50_32x4d.tv2_in1k", 79.384, 94.302, size=176, interpolation="bilinear", licence=BSD),
    _hub("resnext50_32x4d.tv_in1k", 77.632, 93.674, interpolation="bilinear", licence=BSD),
    _hub("resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnext101_32x8d.fb_swsl_ig1b_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnext101_32x8d.fb_wsl_ig1b_ft_in1k", None, None, interpolation="bilinear", licence=NON_COMMERCIAL),
    _hub("resnext101_32x8d.tv2_in1k", 81.99, 95.716, size=176, interpolation="bilinear", licence=BSD),
    _hub("resnext101_32x8d.tv_in1k", 79.308, 94.53, interpolation="bilinear", licence=BSD),
    _hub("resnext101_64x4d.c1_in1k", None, None, crop=0.95),
    _hub("resnext101_64x4d.gluon_in1k", None, None),
    _hub("resnext101_64x4d.tv_in1k", 82.978, 96.252, interpolation="bilinear", licence=BSD),
    _hub("wide_resnet50_2.racm_in1k", None, None),
    _hub("wide_resnet50_2.tv2_in1k", 80.442, 95.076, size=176, interpolation="bilinear", licence=BSD),
    _hub("wide_resnet50_2.tv_in1k", 78.486, 94.084, interpolation="bilinear", licence=BSD),
    _hub("wide_resnet101_2.tv2_in1k", 80.494, 94.978, size=176, interpolation="bilinear", licence=BSD),
    _hub("wide_resnet101_2.tv_in1k", 78.862, 94.312, interpolation="bilinear", licence=BSD),
    _hub("densenet121.ra_in1k", 75.574, 92.648),
    _hub("densenet121.tv_in1k", 74.75, 92.158),
    _hub("densenet161.tv_in1k", 77.384, 93.656),
    _hub("densenet169.tv_in1k", 75.922, 92.976),
    _hub("densenet201.tv_in1k", 77.284, 93.48),
    _hub("mobilenetv2_100.ra_in1k", 72.91, 91.0),
    _hub("mobilenetv3_large_100.miil_in21k_ft_in1k", None, None, interpolation="bilinear", mean=ZERO, std=ONE),
    _hub("mobilenetv3_large_100.ra4_e3600_r224_in1k", None, None, crop=0.95, mean=HALF, std=HALF),
    _hub("mobilenetv3_large_100.ra_in1k", 75.784, 92.528),
    _hub("mobilenetv3_small_100.lamb_in1k", 67.636, 87.638),
    _hub("tf_mobilenetv3_large_100.in1k", 75.51, 92.6, interpolation="bilinear", mean=HALF, std=HALF),
    _hub("tf_mobilenetv3_small_100.in1k", 67.922, 87.686, interpolation="bilinear", mean=HALF, std=HALF),
    _hub("efficientnet_b0.ra4_e3600_r224_in1k", None, None, crop=0.9, mean=HALF, std=HALF),
    _hub("efficientnet_b0.ra_in1k", 77.698, 93.538),
    _hub("efficientnet_b1.ft_in1k", 77.592, 93.636),
    _hub("efficientnet_b1.ra4_e3600_r240_in1k", None, None, size=240, crop=0.9, mean=HALF, std=HALF),
    _hub("efficientnet_b2.ra_in1k", 79.324, 94.582, size=256),
    _hub("efficientnet_b3.ra2_in1k", 81.472, 95.696, size=288),
    _hub("efficientnet_b4.ra2_in1k", 82.658, 96.134, size=320),
    _hub("efficientnet_b5.sw_in12k_ft_in1k", None, None, size=448, crop=1.0, fit="stretch"),
    _hub("tf_efficientnet_b0.aa_in1k", 76.882, 93.27),
    _hub("tf_efficientnet_b0.ap_in1k", None, None, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b0.in1k", 76.542, 93.008),
    _hub("tf_efficientnet_b0.ns_jft_in1k", None, None),
    _hub("tf_efficientnet_b1.aa_in1k", 78.84, 94.202, size=240, crop=0.882),
    _hub("tf_efficientnet_b1.ap_in1k", None, None, size=240, crop=0.882, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b1.in1k", 78.546, 94.096, size=240, crop=0.882),
    _hub("tf_efficientnet_b1.ns_jft_in1k", None, None, size=240, crop=0.882),
    _hub("tf_efficientnet_b2.aa_in1k", 80.074, 94.906, size=260, crop=0.89),
    _hub("tf_efficientnet_b2.ap_in1k", None, None, size=260, crop=0.89, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b2.in1k", 79.612, 94.714, size=260, crop=0.89),
    _hub("tf_efficientnet_b2.ns_jft_in1k", None, None, size=260, crop=0.89),
    _hub("tf_efficientnet_b3.aa_in1k", 81.648, 95.724, size=300, crop=0.904),
    _hub("tf_efficientnet_b3.ap_in1k", None, None, size=300, crop=0.904, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b3.in1k", 80.878, 95.308, size=300, crop=0.904),
    _hub("tf_efficientnet_b3.ns_jft_in1k", None, None, size=300, crop=0.904),
    _hub("tf_efficientnet_b4.aa_in1k", 83.04, 96.298, size=380, crop=0.922),
    _hub("tf_efficientnet_b4.ap_in1k", None, None, size=380, crop=0.922, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b4.in1k", 82.598, 96.132, size=380, crop=0.922),
    _hub("tf_efficientnet_b4.ns_jft_in1k", None, None, size=380, crop=0.922),
    _hub("tf_efficientnet_b5.aa_in1k", 83.696, 96.712, size=456, crop=0.934),
    _hub("tf_efficientnet_b5.ap_in1k", None, None, size=456, crop=0.934, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b5.in1k", 83.17, 96.534, size=456, crop=0.934),
    _hub("tf_efficientnet_b5.ns_jft_in1k", None, None, size=456, crop=0.934),
    _hub("tf_efficientnet_b5.ra_in1k", None, None, size=456, crop=0.934),
    _hub("tf_efficientnet_b6.aa_in1k", 84.124, 96.89, size=528, crop=0.942),
    _hub("tf_efficientnet_b6.ap_in1k", None, None, size=528, crop=0.942, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b6.ns_jft_in1k", None, None, size=528, crop=0.942),
    _hub("tf_efficientnet_b7.aa_in1k", 84.424, 96.908, size=600, crop=0.949),
    _hub("tf_efficientnet_b7.ap_in1k", None, None, size=600, crop=0.949, mean=HALF, std=HALF),
    _hub("tf_efficientnet_b7.ns_jft_in1k", None, None, size=600, crop=0.949),
    _hub("tf_efficientnet_b7.ra_in1k", None, None, size=600, crop=0.949),
    _hub("efficientnet_lite0.ra_in1k", 75.488, 92.508),
    _hub("tf_efficientnet_lite0.in1k", 74.846, 92.18, mean=HALF, std=HALF),
    _hub("tf_efficientnet_lite1.in1k", 76.674, 93.232, size=240, crop=0.882, mean=HALF, std=HALF),
    _hub("tf_efficientnet_lite2.in1k", 77.47, 93.756, size=260, crop=0.89, mean=HALF, std=HALF),
    _hub("tf_efficientnet_lite3.in1k", 79.808, 94.908, size=300, crop=0.904, interpolation="bilinear",
         mean=HALF, std=HALF, default=True),
    _hub("tf_efficientnet_lite4.in1k", 81.54, 95.668, size=380, crop=0.92, interpolation="bilinear",
         mean=HALF, std=HALF, default=True),
    _hub("convnext_tiny.fb_in1k", 82.066, 95.854),
    _hub("convnext_tiny.fb_in22k_ft_in1k", None, None),
    _hub("convnext_tiny.fb_in22k_ft_in1k_384", None, None, size=384, crop=1.0, fit="stretch"),
    _hub("convnext_tiny.in12k_ft_in1k", None, None, crop=0.95),
    _hub("convnext_tiny.in12k_ft_in1k_384", None, None, size=384, crop=1.0, fit="stretch"),
)
# fmt: on
