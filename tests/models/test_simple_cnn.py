"""The line of words: each word its layer, and no line raises anything but a UsageError."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.errors import UsageError
from foveal.models.simple_cnn import simple_cnn

NUMBER = st.integers(0, 40)
PADDING_WORDS = ["valid", "same", "tf", "full"]
WORD = st.one_of(
    st.sampled_from(["bn", "relu", "tanh", "sigmoid", "pool", "avgpool", "gap", "flatten", "dropout.25", "dropout0.5"]),
    st.sampled_from(["conv", "dense", "dropout1.5", "dropout", "conv8k", "conv-3", "k5", "batchnorm", "dense8.5", "·"]),
    st.builds("conv{}".format, NUMBER),
    st.builds("conv{}k{}p{}s{}".format, NUMBER, st.integers(0, 9), st.integers(0, 6), st.integers(0, 4)),
    st.builds("conv{}k{}s{}{}".format, NUMBER, st.integers(0, 9), st.integers(1, 4), st.sampled_from(PADDING_WORDS)),
    st.sampled_from(["minpool", "stochasticpool", "fractionalpool", "gmp", "lrn", "leakyrelu", "conv8p1same"]),
    st.builds("dense{}".format, NUMBER),
    st.sampled_from(["conv123456", "conv99999", "dense1234567890", "dense" + "9" * 5_000, "conv" + "9" * 5_000]),
    st.text(max_size=6),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(WORD, max_size=8).map(" ".join), st.integers(1, 20), st.integers(1, 20))
def test_any_line_is_a_network_or_a_usage_error(spec, height, width):
    try:
        network = simple_cnn(classes=3, channels=1, height=height, width=width, spec=spec)
    except UsageError:
        return
    assert network.eval()(torch.zeros(2, 1, height, width)).shape == (2, 3)
    assert set(network.stages.values()) <= {name for name, _ in network.named_modules()}


def test_each_word_is_its_layer():
    network = simple_cnn(spec="conv8k5p2s2 bn relu pool conv16 tanh avgpool dropout.25 gap dense12 bn sigmoid")
    kinds = [type(one).__name__ for one in network]
    assert kinds == [
        *["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Conv2d", "Tanh", "AvgPool2d", "Dropout", "GlobalAvgPool"],
        *["Linear", "BatchNorm1d", "Sigmoid", "Linear"],
    ]
    conv = network.get_submodule("conv1")
    assert (conv.kernel_size, conv.padding, conv.stride, conv.bias) == ((5, 5), (2, 2), (2, 2), None)
    assert network.get_submodule("conv2").bias is not None  # no batch normalisation comes next
    assert network.get_submodule("dense1").bias is None


def test_the_rarer_words_are_their_layers():
    network = simple_cnn(spec="conv8 leakyrelu lrn minpool stochasticpool fractionalpool gmp", channels=2)
    kinds = ["Conv2d", "LeakyReLU", "LocalResponseNorm", "MinPool2d", "StochasticPool2d", "FractionalMaxPool2d"]
    assert [type(one).__name__ for one in network] == [*kinds, "GlobalMaxPool", "Linear"]
    assert network.stages == {"block1": "lrn1", "output": "output"}
    x = torch.randn(2, 2, 28, 28)
    for layer, side in zip(network, [26, 26, 26, 13, 6, 4], strict=False):
        x = layer(x)
        assert x.shape == (2, 8, side, side)


@pytest.mark.parametrize(
    ("word", "side", "kind"),
    [
        ("conv8k5s2", 12, "Conv2d"),
        ("conv8k5s2valid", 12, "Conv2d"),
        ("conv8k5s2same", 14, "Conv2d"),
        ("conv8k4same", 28, "Conv2dSame"),  # one pixel before, two after
        ("conv8k5tf", 28, "Conv2d"),
        ("conv8k5s2tf", 14, "Conv2dSame"),
        ("conv8k5full", 32, "Conv2d"),
    ],
)
def test_a_padding_has_a_name(word, side, kind):
    conv = simple_cnn(spec=f"{word} bn relu").get_submodule("conv1")
    assert (type(conv).__name__, conv.bias) == (kind, None)
    assert conv(torch.zeros(1, 1, 28, 28)).shape == (1, 8, side, side)


@pytest.mark.parametrize(
    ("spec", "stages"),
    [
        ("conv8 relu pool conv8 relu flatten dense8", {"block1": "relu1", "block2": "relu2", "output": "output"}),
        ("conv8 relu pool dropout.2 flatten dense8", {"block1": "relu1", "output": "output"}),
        ("pool conv8", {"block1": "conv1", "output": "output"}),
        ("flatten dense8", {"output": "output"}),
        ("", {"output": "output"}),
    ],
)
def test_a_stage_is_a_block_of_convolutions(spec, stages):
    assert simple_cnn(spec=spec).stages == stages


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("conv8 bnn", 'Did you mean "bn"'),
        ("conv8 dense8", 'put "flatten" or "gap" before'),
        ("flatten conv8", "comes after the image was flattened"),
        ("conv8k9 conv8k9 conv8k9 conv8k9", '"conv8k9" needs a larger image than the 4×4'),
        ("pool pool pool pool pool", "too small: nothing is left"),
        ("flatten dense0", "dense layer of 0 units"),
        ("dropout.99999999999999999999", "no probability"),
        ("conv8p2same", "names its padding twice: leave out p2 or same"),
        ("minpol", 'Did you mean "minpool"'),
        ("pool pool pool pool fractionalpool", 'nothing is left after "fractionalpool"'),
    ],
)
def test_a_refusal_names_the_word(spec, said):
    with pytest.raises(UsageError) as refusal:
        simple_cnn(spec=spec)
    assert said in str(refusal.value)


def test_weights_are_of_he_and_biases_zero():
    torch.manual_seed(0)
    network = simple_cnn(spec="conv64k5 relu flatten dense64", channels=3)
    conv, dense = network.get_submodule("conv1"), network.get_submodule("dense1")
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 25)) ** 0.5, rel=0.05)
    assert dense.weight.std().item() == pytest.approx((2 / dense.in_features) ** 0.5, rel=0.05)
    assert all(not one.bias.any() for one in network if isinstance(one, nn.Conv2d | nn.Linear))
