"""AlexNet against the paper's numbers and formula, and the networks that are told for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.alexnet import alexnet_2012
from foveal.models.anatomy import layer_table
from foveal.models.catalog import create_model
from foveal.models.network import parameter_count
from gallery_members import on_meta

PAPER = {  # parameters and maps of each layer: section 3.5 and figure 2
    "conv1": (34_944, "96×55×55"),
    "pool1": (0, "96×27×27"),
    "conv2": (307_456, "256×27×27"),
    "pool2": (0, "256×13×13"),
    "conv3": (885_120, "384×13×13"),
    "conv4": (663_936, "384×13×13"),
    "conv5": (442_624, "256×13×13"),
    "pool5": (0, "256×6×6"),
    "fc6": (37_752_832, "4096"),
    "fc7": (16_781_312, "4096"),
    "fc8": (4_097_000, "1000"),
}


def rows(side: int, **options: object) -> dict[str, tuple[int, str]]:
    with torch.device("meta"):
        network = alexnet_2012(height=side, width=side, **options)
    table = layer_table(network, 3, side, side)
    return {row.name: (row.parameters, row.output) for row in table if row.name in PAPER}


def test_every_layer_is_the_papers():
    assert rows(227) == PAPER
    assert sum(parameters for parameters, _ in PAPER.values()) == 60_965_224


def test_the_papers_maps_come_from_227_or_from_224_with_a_padding_of_two():
    assert rows(224, padding=2) == PAPER
    unpadded = rows(224)
    assert unpadded["conv1"][1] == "96×54×54"
    assert unpadded["pool5"][1] == "256×5×5"


def test_joined_groups_have_the_parameters_that_are_told_for_alexnet_too():
    with torch.device("meta"):
        joined = alexnet_2012(groups=1)
    assert parameter_count(joined) == 62_378_344
    assert sum(row.macs for row in layer_table(joined, 3, 227, 227)) == 1_135_256_096


@pytest.mark.parametrize(("lrn", "k", "alpha"), [("paper", 2.0, 1e-4), ("caffe", 1.0, 1e-4 / 5)])
def test_normalisation_is_the_papers_formula(lrn, k, alpha):
    with torch.device("meta"):
        norm = alexnet_2012(lrn=lrn).get_submodule("norm1")
    a = np.random.default_rng(0).normal(0, 50, (96, 4, 3))  # large enough for the sum to count
    b = np.empty_like(a)
    for i in range(96):
        near = a[max(0, i - 2) : min(95, i + 2) + 1]
        b[i] = a[i] / (k + alpha * (near**2).sum(0)) ** 0.75
    assert norm(torch.tensor(a)[None])[0].numpy() == pytest.approx(b, rel=1e-12)


def test_a_group_sees_the_maps_of_its_own_half_only():
    network = alexnet_2012(classes=2, height=67, width=67)
    x = torch.randn(1, 96, 5, 5, requires_grad=True)
    network.get_submodule("conv2")(x)[:, :128].sum().backward()
    assert x.grad[:, :48].abs().min() > 0
    assert not x.grad[:, 48:].any()


def test_first_weights_are_the_papers():
    torch.manual_seed(0)
    network = alexnet_2012(classes=10, height=67, width=67)
    layers = {name: one for name, one in network.named_children() if isinstance(one, nn.Conv2d | nn.Linear)}
    assert {name: one.bias.unique().tolist() for name, one in layers.items()} == {
        name: [1.0 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0] for name in layers
    }
    for one in layers.values():
        assert one.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_batch_norm_variant_shrinks_as_it_does_in_keras():
    network = on_meta("alexnet_bn")
    table = {row.name: row for row in layer_table(network, 3, 224, 224)}
    assert [table[f"conv{number}"].output for number in range(1, 6)] == [
        "96×54×54", "256×26×26", "384×10×10", "384×8×8", "256×6×6",
    ]  # fmt: skip
    assert (table["pool1"].output, table["pool2"].output, table["pool5"].output) == (
        "96×26×26", "256×12×12", "256×2×2",
    )  # fmt: skip
    assert network.get_submodule("fc6").in_features == 1024
    statistics = sum(one.numel() for name, one in network.named_buffers() if "running" in name)
    assert (statistics, parameter_count(network) + statistics) == (19_136, 24_834_833)  # as Keras counts
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert {(one.eps, one.momentum) for one in norms} == {(1e-3, 0.01)} and len(norms) == 7
    assert parameter_count(create_on_meta(classes=1000)) == 28_843_048


def create_on_meta(classes: int) -> nn.Module:
    with torch.device("meta"):
        return create_model("alexnet_bn", classes=classes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lrn": "papers"}, 'Did you mean "paper"'),
        ({"groups": 3}, "1 or 2 groups"),
        ({"padding": -1}, "padding of 0 or more"),
        ({"dropout": 1.0}, "no probability"),
    ],
)
def test_what_it_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        create_model("alexnet_2012", options=options)
