"""The gallery: one line an architecture, from LeNet-5 to ConvNeXt, with its published facts.

Parameters are the trainable ones at the native input and class count, without auxiliary heads; multiply-adds
are those of convolutions and dense layers for one image; the receptive field is that of a cell of the last
map. `tests/models` recomputes every number from the network itself.

Published figures are error rates in percent, each with its protocol: figures of different protocols must not
be compared. "one crop" is the short side at 256 and the central 224, unless another size stands there.
"""

from __future__ import annotations

from typing import Any

from foveal.models.architecture import Architecture, Published

ONE_CROP, TEN_CROPS, DENSE = "ImageNet, one crop", "ImageNet, ten crops", "ImageNet, dense, one scale"
CIFAR = "CIFAR-10 test, crops and flips in training"
RGB = 3

LENET = "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition"
MLP = "Rumelhart, Hinton, Williams: Learning representations by back-propagating errors"
BATCH_NORM = "Ioffe, Szegedy: Batch normalization"
ALEXNET = "Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks"
ONE_TOWER = "Krizhevsky: One weird trick for parallelizing convolutional neural networks"
VGG = "Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition"
GOOGLENET = "Szegedy et al.: Going deeper with convolutions"
INCEPTION_V3 = "Szegedy et al.: Rethinking the Inception architecture for computer vision"
RESNET = "He, Zhang, Ren, Sun: Deep residual learning for image recognition"
RESNEXT = "Xie, Girshick, Dollár, Tu, He: Aggregated residual transformations for deep neural networks"
WIDE = "Zagoruyko, Komodakis: Wide residual networks"
DENSENET = "Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks"
SQUEEZENET = "Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters"
MOBILENET_V2 = "Sandler et al.: MobileNetV2: Inverted residuals and linear bottlenecks"
MOBILENET_V3 = "Howard et al.: Searching for MobileNetV3"
EFFICIENTNET = "Tan, Le: EfficientNet: Rethinking model scaling for convolutional neural networks"
LITE = "Liu et al.: EfficientNet-Lite (TensorFlow TPU repository)"
CONVNEXT = "Liu et al.: A ConvNet for the 2020s"


def _simple(name: str, spec: str, parameters: int, macs: int, sight: tuple[int, int], title: str) -> Architecture:
    """Return one of the founding documents' small networks: `simple_cnn` with a fixed specification."""
    return Architecture(
        name, "simple_cnn:simple_cnn", "simple", title, 2015, "textbook practical", (1, 28, 28), 10,
        parameters, macs, *sight, preset={"spec": spec},
    )  # fmt: skip


def _imagenet(
    name: str, builder: str, title: str, year: int, paper: str, side: int, parameters: int, macs: int,
    sight: tuple[int, int], smallest: int, *published: Published, auxiliary: int = 0, classes: int = 1000, rate: float = 1.0, **preset: Any,
) -> Architecture:  # fmt: skip
    """Return a network for ImageNet's colour images; its family is the file that it stands in."""
    return Architecture(
        name, builder, builder.partition(":")[0], title, year, paper, (RGB, side, side), classes,
        parameters, macs, *sight, smallest=smallest, scales=True, published=published,
        auxiliary_parameters=auxiliary, rate=rate, preset=preset,
    )  # fmt: skip


def _cifar(
    name: str, builder: str, title: str, year: int, paper: str, parameters: int, macs: int, receptive_field: int,
    *published: Published, smallest: int = 1, **preset: Any,
) -> Architecture:  # fmt: skip
    """Return a network for CIFAR-10's 32×32 colour images; its last map has a quarter of the side."""
    return Architecture(
        name, builder, builder.partition(":")[0], title, year, paper, (RGB, 32, 32), 10,
        parameters, macs, receptive_field, 4, smallest=smallest, scales=True, published=published, preset=preset,
    )  # fmt: skip


# fmt: off
ENTRIES = (
    # --- the first, and the small ---
    Architecture("mlp", "mlp:mlp", "simple", "Multilayer perceptron", 1986, MLP, (1, 28, 28), 10, 235_146, 234_752, 0, 0),
    Architecture("lenet5", "lenet:lenet5", "lenet", "LeNet-5", 1998, LENET, (1, 32, 32), 10, 61_706, 416_520, 16, 4,
                 scales=True, smallest=16),
    Architecture("lenet5_1998", "lenet_1998:lenet5_1998", "lenet", "LeNet-5 as published", 1998, LENET,
                 (1, 32, 32), 10, 60_000, 328_096, 32, 4, scales=True, loss="rbf",
                 published=(Published(0.95, None, "MNIST test"), Published(0.8, None, "MNIST test, distorted training images"))),
    Architecture("simple_cnn", "simple_cnn:simple_cnn", "simple", "Simple CNN", 2015, BATCH_NORM, (1, 28, 28), 10,
                 94_186, 7_452_416, 18, 4),
    _simple("simple_cnn_p4", "conv6 relu flatten", 40_630, 77_064, (3, 1), "P4: one convolution"),
    _simple("simple_cnn_p5", "conv8p1 relu pool flatten", 15_770, 72_128, (4, 2), "P5: convolution and pooling"),
    _simple("simple_cnn_p6", "conv8 relu pool flatten dense32 relu", 43_706, 92_256, (4, 2), "P6: with a hidden layer"),
    _simple("simple_cnn_p7", "conv16 relu pool flatten dense64 relu", 173_930, 271_040, (4, 2), "P7: wider"),
    _simple("simple_cnn_p8", "conv32 relu bn pool conv64 relu bn pool flatten dense128 relu bn", 225_482, 2_631_040, (10, 4),
            "P8: with batch normalisation"),
    _simple("simple_cnn_p9", "conv32 relu pool dropout.25 conv64 relu pool dropout.25 flatten dense128 relu dropout.5",
            225_034, 2_631_040, (10, 4), "P9: with dropout"),
    _simple("simple_cnn_p11", "conv32 relu pool flatten dense64 relu", 347_146, 541_440, (4, 2), "P11: thirty-two filters"),
    _simple("simple_cnn_p13", "conv32 relu pool flatten dense64 relu", 347_146, 541_440, (4, 2), "P13: the same network as P11"),

    # --- AlexNet ---
    _imagenet("alexnet_2012", "alexnet:alexnet_2012", "AlexNet as published, two groups", 2012, ALEXNET, 227,
              60_965_224, 724_406_816, (195, 32), 67, Published(40.7, 18.2, TEN_CROPS), rate=0.1),
    _imagenet("alexnet", "alexnet:alexnet", "AlexNet, one tower", 2014, ONE_TOWER, 224,
              61_100_840, 714_188_480, (195, 32), 63, rate=0.1),
    _imagenet("alexnet_bn", "alexnet:alexnet_bn", "AlexNet with batch norm, unpadded", 2015, "textbook practical, after " + ALEXNET,
              224, 24_815_697, 743_251_072, (195, 32), 163, classes=17),

    # --- VGG ---
    _imagenet("vgg11", "vgg:vgg", "VGG-11 (A)", 2014, VGG, 224, 132_863_336, 7_609_090_048, (150, 32), 32,
              Published(29.6, 10.4, DENSE), depth=11, rate=0.1),
    _imagenet("vgg13", "vgg:vgg", "VGG-13 (B)", 2014, VGG, 224, 133_047_848, 11_308_466_176, (156, 32), 32,
              Published(28.7, 9.9, DENSE), depth=13, rate=0.1),
    _imagenet("vgg16", "vgg:vgg", "VGG-16 (D)", 2014, VGG, 224, 138_357_544, 15_470_264_320, (212, 32), 32,
              Published(27.0, 8.8, DENSE), depth=16, rate=0.1),
    _imagenet("vgg19", "vgg:vgg", "VGG-19 (E)", 2014, VGG, 224, 143_667_240, 19_632_062_464, (268, 32), 32,
              Published(27.3, 9.0, DENSE), depth=19, rate=0.1),
    _imagenet("vgg11_bn", "vgg:vgg", "VGG-11 with batch norm", 2015, VGG, 224, 132_868_840, 7_609_090_048, (150, 32), 32,
              depth=11, batch_norm=True, rate=0.1),
    _imagenet("vgg13_bn", "vgg:vgg", "VGG-13 with batch norm", 2015, VGG, 224, 133_053_736, 11_308_466_176, (156, 32), 32,
              depth=13, batch_norm=True, rate=0.1),
    _imagenet("vgg16_bn", "vgg:vgg", "VGG-16 with batch norm", 2015, VGG, 224, 138_365_992, 15_470_264_320, (212, 32), 32,
              depth=16, batch_norm=True, rate=0.1),
    _imagenet("vgg19_bn", "vgg:vgg", "VGG-19 with batch norm", 2015, VGG, 224, 143_678_248, 19_632_062_464, (268, 32), 32,
              depth=19, batch_norm=True, rate=0.1),

    # --- Inception ---
    _imagenet("googlenet_2014", "googlenet:googlenet_2014", "GoogLeNet as published", 2014, GOOGLENET, 224,
              6_998_552, 1_582_671_872, (715, 32), 31, Published(None, 10.07, ONE_CROP), Published(None, 9.15, TEN_CROPS),
              auxiliary=6_379_728, rate=0.1),
    _imagenet("googlenet", "googlenet:googlenet", "GoogLeNet with batch norm", 2015, GOOGLENET, 224,
              6_624_904, 1_498_376_192, (379, 32), 15, auxiliary=6_379_984),
    _imagenet("inception_v3", "inception_v3:inception_v3", "Inception-v3", 2015, INCEPTION_V3, 299,
              23_834_568, 5_713_216_096, (1311, 32), 75, Published(21.2, 5.6, "ImageNet, one crop of 299"),
              auxiliary=3_326_696),

    # --- ResNet, ResNeXt, Wide ResNet ---
    _imagenet("resnet18", "resnet:resnet", "ResNet-18", 2015, RESNET, 224, 11_689_512, 1_814_073_344, (435, 32), 1,
              Published(27.88, None, TEN_CROPS + ", option A"), depth=18),
    _imagenet("resnet34", "resnet:resnet", "ResNet-34", 2015, RESNET, 224, 21_797_672, 3_663_761_408, (899, 32), 1,
              Published(24.52, 7.46, TEN_CROPS + ", option B"), depth=34),
    _imagenet("resnet50", "resnet:resnet", "ResNet-50 (v1.5)", 2015, RESNET, 224, 25_557_032, 4_089_184_256, (427, 32), 1,
              Published(24.01, 7.02, ONE_CROP + " (fb.resnet.torch)"), depth=50),
    _imagenet("resnet101", "resnet:resnet", "ResNet-101 (v1.5)", 2015, RESNET, 224, 44_549_160, 7_801_405_440, (971, 32), 1,
              Published(22.44, 6.21, ONE_CROP + " (fb.resnet.torch)"), depth=101),
    _imagenet("resnet152", "resnet:resnet", "ResNet-152 (v1.5)", 2015, RESNET, 224, 60_192_808, 11_513_626_624, (1451, 32), 1,
              Published(22.16, 6.16, ONE_CROP + " (fb.resnet.torch)"), depth=152),
    _imagenet("resnet50_v1", "resnet:resnet", "ResNet-50 as published", 2015, RESNET, 224, 25_557_032, 3_857_973_248,
              (483, 32), 1, Published(22.85, 6.71, TEN_CROPS), Published(24.7, 7.8, ONE_CROP + " (authors' model)"),
              depth=50, stride_in_1x1=True),
    _imagenet("resnet101_v1", "resnet:resnet", "ResNet-101 as published", 2015, RESNET, 224, 44_549_160, 7_570_194_432,
              (1027, 32), 1, Published(21.75, 6.05, TEN_CROPS), Published(23.6, 7.1, ONE_CROP + " (authors' model)"),
              depth=101, stride_in_1x1=True),
    _imagenet("resnet152_v1", "resnet:resnet", "ResNet-152 as published", 2015, RESNET, 224, 60_192_808, 11_282_415_616,
              (1507, 32), 1, Published(21.43, 5.71, TEN_CROPS), Published(23.0, 6.7, ONE_CROP + " (authors' model)"),
              depth=152, stride_in_1x1=True),
    _imagenet("resnext50_32x4d", "resnet:resnet", "ResNeXt-50 32×4d", 2016, RESNEXT, 224, 25_028_904, 4_230_479_872,
              (427, 32), 1, Published(22.2, None, ONE_CROP), depth=50, groups=32, base_width=4),
    _imagenet("resnext101_32x8d", "resnet:resnet", "ResNeXt-101 32×8d", 2016, RESNEXT, 224, 88_791_336, 16_414_015_488,
              (971, 32), 1, depth=101, groups=32, base_width=8),
    _imagenet("resnext101_64x4d", "resnet:resnet", "ResNeXt-101 64×4d", 2016, RESNEXT, 224, 83_455_272, 15_460_270_080,
              (971, 32), 1, Published(20.4, None, ONE_CROP), depth=101, groups=64, base_width=4),
    _imagenet("wide_resnet50_2", "resnet:resnet", "Wide ResNet-50-2", 2016, WIDE, 224, 68_883_240, 11_398_021_120,
              (427, 32), 1, Published(21.9, 6.03, ONE_CROP), depth=50, base_width=128),
    _imagenet("wide_resnet101_2", "resnet:resnet", "Wide ResNet-101-2", 2016, WIDE, 224, 126_886_696, 22_753_050_624,
              (971, 32), 1, depth=101, base_width=128),

    # --- DenseNet ---
    _imagenet("densenet121", "densenet:densenet", "DenseNet-121", 2016, DENSENET, 224, 7_978_856, 2_834_161_664, (2071, 32),
              29, Published(25.02, 7.71, ONE_CROP), Published(23.61, 6.66, TEN_CROPS), depth=121),
    _imagenet("densenet161", "densenet:densenet", "DenseNet-161", 2016, DENSENET, 224, 28_681_000, 7_727_907_072, (2967, 32),
              29, Published(22.2, None, ONE_CROP + " (authors' repository)"), depth=161),
    _imagenet("densenet169", "densenet:densenet", "DenseNet-169", 2016, DENSENET, 224, 14_149_480, 3_359_843_328, (3351, 32),
              29, Published(23.80, 6.85, ONE_CROP), Published(22.08, 5.92, TEN_CROPS), depth=169),
    _imagenet("densenet201", "densenet:densenet", "DenseNet-201", 2016, DENSENET, 224, 20_013_928, 4_291_365_888, (3863, 32),
              29, Published(22.58, 6.34, ONE_CROP), Published(21.46, 5.54, TEN_CROPS), depth=201),
    _imagenet("densenet264", "densenet:densenet", "DenseNet-264", 2016, DENSENET, 224, 33_337_704, 5_751_653_376, (5399, 32),
              29, Published(22.15, 6.12, ONE_CROP), Published(20.80, 5.29, TEN_CROPS), depth=264),

    # --- SqueezeNet, MobileNet ---
    _imagenet("squeezenet1_0", "squeezenet:squeezenet", "SqueezeNet 1.0", 2016, SQUEEZENET, 224, 1_248_424, 818_924_576,
              (155, 16), 21, Published(42.5, 19.7, ONE_CROP), version="1.0", rate=0.1),
    _imagenet("squeezenet1_1", "squeezenet:squeezenet", "SqueezeNet 1.1", 2016, SQUEEZENET, 224, 1_235_496, 349_151_936,
              (207, 16), 17, version="1.1", rate=0.1),
    _imagenet("mobilenet_v2", "mobilenet_v2:mobilenet_v2", "MobileNetV2", 2018, MOBILENET_V2, 224, 3_504_872, 300_774_272,
              (491, 32), 1, Published(28.0, None, ONE_CROP)),
    _imagenet("mobilenet_v3_small", "mobilenet_v3:mobilenet_v3", "MobileNetV3 small", 2019, MOBILENET_V3, 224,
              2_542_856, 56_510_400, (639, 32), 1, Published(32.6, None, ONE_CROP), variant="small"),
    _imagenet("mobilenet_v3_large", "mobilenet_v3:mobilenet_v3", "MobileNetV3 large", 2019, MOBILENET_V3, 224,
              5_483_032, 216_589_760, (595, 32), 1, Published(24.8, None, ONE_CROP), variant="large"),

    # --- EfficientNet, EfficientNet-Lite ---
    _imagenet("efficientnet_b0", "efficientnet:efficientnet", "EfficientNet-B0", 2019, EFFICIENTNET, 224,
              5_288_548, 385_814_752, (851, 32), 1, Published(22.9, None, "ImageNet, one crop of 224, AutoAugment"), variant="b0"),
    _imagenet("efficientnet_b1", "efficientnet:efficientnet", "EfficientNet-B1", 2019, EFFICIENTNET, 240,
              7_794_184, 686_802_832, (1183, 32), 1, Published(20.9, None, "ImageNet, one crop of 240, AutoAugment"), variant="b1"),
    _imagenet("efficientnet_b2", "efficientnet:efficientnet", "EfficientNet-B2", 2019, EFFICIENTNET, 288,
              9_109_994, 1_087_529_456, (1183, 32), 1, Published(19.9, None, "ImageNet, one crop of 260, AutoAugment"), variant="b2"),
    _imagenet("efficientnet_b3", "efficientnet:efficientnet", "EfficientNet-B3", 2019, EFFICIENTNET, 300,
              12_233_232, 1_827_141_392, (1407, 32), 1, Published(18.4, None, "ImageNet, one crop of 300, AutoAugment"), variant="b3"),
    _imagenet("efficientnet_b4", "efficientnet:efficientnet", "EfficientNet-B4", 2019, EFFICIENTNET, 380,
              19_341_616, 4_393_771_024, (1799, 32), 1, Published(17.1, None, "ImageNet, one crop of 380, AutoAugment"), variant="b4"),
    _imagenet("efficientnet_b5", "efficientnet:efficientnet", "EfficientNet-B5", 2019, EFFICIENTNET, 456,
              30_389_784, 10_266_384_752, (2131, 32), 1, Published(16.4, None, "ImageNet, one crop of 456, AutoAugment"), variant="b5"),
    _imagenet("efficientnet_b6", "efficientnet:efficientnet", "EfficientNet-B6", 2019, EFFICIENTNET, 528,
              43_040_704, 19_067_593_536, (2523, 32), 1, Published(16.0, None, "ImageNet, one crop of 528, AutoAugment"), variant="b6"),
    _imagenet("efficientnet_b7", "efficientnet:efficientnet", "EfficientNet-B7", 2019, EFFICIENTNET, 600,
              66_347_960, 37_745_884_192, (3079, 32), 1, Published(15.7, None, "ImageNet, one crop of 600, AutoAugment"), variant="b7"),
    _imagenet("efficientnet_lite0", "efficientnet_lite:efficientnet_lite", "EfficientNet-Lite0", 2020, LITE, 224,
              4_652_008, 385_187_552, (851, 32), 1, Published(24.9, None, "ImageNet, one crop of 224"), variant="lite0"),
    _imagenet("efficientnet_lite1", "efficientnet_lite:efficientnet_lite", "EfficientNet-Lite1", 2020, LITE, 240,
              5_416_680, 600_185_232, (1115, 32), 1, Published(23.3, None, "ImageNet, one crop of 240"), variant="lite1"),
    _imagenet("efficientnet_lite2", "efficientnet_lite:efficientnet_lite", "EfficientNet-Lite2", 2020, LITE, 260,
              6_092_072, 859_736_272, (1115, 32), 1, Published(22.4, None, "ImageNet, one crop of 260"), variant="lite2"),
    _imagenet("efficientnet_lite3", "efficientnet_lite:efficientnet_lite", "EfficientNet-Lite3", 2020, LITE, 280,
              8_197_096, 1_383_321_872, (1339, 32), 1, Published(20.2, None, "ImageNet, one crop"), variant="lite3"),
    _imagenet("efficientnet_lite4", "efficientnet_lite:efficientnet_lite", "EfficientNet-Lite4", 2020, LITE, 300,
              13_006_568, 2_553_034_336, (1731, 32), 1, Published(18.5, None, "ImageNet, one crop"), variant="lite4"),

    # --- ConvNeXt ---
    _imagenet("convnext_tiny", "convnext:convnext_tiny", "ConvNeXt-T", 2022, CONVNEXT, 224, 28_589_128, 4_455_531_264,
              (1688, 32), 32, Published(17.9, None, "ImageNet, one crop of 224")),

    # --- for CIFAR's 32×32 ---
    _cifar("cifar_resnet20", "cifar_resnet:cifar_resnet", "ResNet-20 for CIFAR", 2015, RESNET, 269_722, 40_551_040, 81,
           Published(8.75, None, CIFAR), depth=20),
    _cifar("cifar_resnet32", "cifar_resnet:cifar_resnet", "ResNet-32 for CIFAR", 2015, RESNET, 464_154, 68_862_592, 137,
           Published(7.51, None, CIFAR), depth=32),
    _cifar("cifar_resnet44", "cifar_resnet:cifar_resnet", "ResNet-44 for CIFAR", 2015, RESNET, 658_586, 97_174_144, 193,
           Published(7.17, None, CIFAR), depth=44),
    _cifar("cifar_resnet56", "cifar_resnet:cifar_resnet", "ResNet-56 for CIFAR", 2015, RESNET, 853_018, 125_485_696, 249,
           Published(6.97, None, CIFAR), depth=56),
    _cifar("cifar_resnet110", "cifar_resnet:cifar_resnet", "ResNet-110 for CIFAR", 2015, RESNET, 1_727_962, 252_887_680, 501,
           Published(6.43, None, CIFAR), depth=110),
    _cifar("wrn_16_8", "wide_resnet:wide_resnet", "Wide ResNet-16-8", 2016, WIDE, 10_961_370, 1_548_145_664, 53,
           depth=16, widen=8),
    _cifar("wrn_40_4", "wide_resnet:wide_resnet", "Wide ResNet-40-4", 2016, WIDE, 8_949_210, 1_298_582_016, 165,
           depth=40, widen=4),
    _cifar("wrn_28_10", "wide_resnet:wide_resnet", "Wide ResNet-28-10", 2016, WIDE, 36_479_194, 5_243_328_768, 109,
           Published(4.00, None, CIFAR + ", mean and deviation"), depth=28, widen=10),
    _cifar("densenet_bc_100_12", "densenet:cifar_densenet", "DenseNet-BC-100-12", 2016, DENSENET,
           769_162, 287_929_692, 230, Published(4.51, None, CIFAR), smallest=4, depth=100, growth=12),
)
# fmt: on
