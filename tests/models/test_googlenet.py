"""GoogLeNet against table 1 of its paper, its auxiliary heads, and what torchvision's is in truth."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from foveal.errors import UsageError
from foveal.models.catalog import create_model
from foveal.models.googlenet import googlenet, googlenet_2014
from foveal.models.network import Heads, parameter_count
from gallery_members import batch, lively, on_meta

NETWORKS = ("googlenet_2014", "googlenet")
TABLE = {  # the paper's output of each row, and its parameters, counted from the row's widths with their biases
    "conv1": ((64, 112, 112), 9_472),  # where the paper prints 2.7K
    "conv2": ((192, 56, 56), 114_944),
    "inception 3a": ((256, 28, 28), 163_696),
    "inception 3b": ((480, 28, 28), 388_736),
    "inception 4a": ((512, 14, 14), 376_176),
    "inception 4b": ((512, 14, 14), 449_160),
    "inception 4c": ((512, 14, 14), 510_104),
    "inception 4d": ((528, 14, 14), 605_376),
    "inception 4e": ((832, 14, 14), 868_352),
    "inception 5a": ((832, 7, 7), 1_043_456),
    "inception 5b": ((1024, 7, 7), 1_444_080),
    "output": ((1000,), 1_025_000),
}


def seen(network: nn.Module, names: list[str]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return a dictionary that a pass fills: module → its input and output."""
    passed: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: passed.update({name: (inputs[0], output)})
        )
    return passed


def test_rows_are_the_tables():
    network = on_meta("googlenet_2014").eval()
    passed = seen(network, list(network.stages.values()))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    rows = {
        stage: (tuple(passed[path][1].shape[1:]), parameter_count(network.get_submodule(path)))
        for stage, path in network.stages.items()
    }
    width_and_side, count = rows["conv2"]  # a row of two: 1×1, then 3×3
    rows["conv2"] = (width_and_side, count + parameter_count(network.get_submodule("conv2")))
    assert rows == TABLE
    assert sum(count for _, count in rows.values()) == 6_998_552
    assert parameter_count(network) == 13_378_280
    assert [parameter_count(network.get_submodule(head)) for head in network.auxiliary] == [3_188_840, 3_190_888]


def test_torchvisions_has_3x3_kernels_where_the_paper_has_5x5_and_no_normalisation_of_neighbours():
    kernels = {name: on_meta(name).get_submodule("inception3a.branch3.1.conv") for name in NETWORKS}
    assert {name: conv.kernel_size for name, conv in kernels.items()} == {
        "googlenet_2014": (5, 5),
        "googlenet": (3, 3),
    }
    norms = {
        name: {type(one) for one in on_meta(name).modules()} & {nn.LocalResponseNorm, nn.BatchNorm2d}
        for name in NETWORKS
    }
    assert norms == {"googlenet_2014": {nn.LocalResponseNorm}, "googlenet": {nn.BatchNorm2d}}
    assert (
        on_meta("googlenet_2014").get_submodule("maxpool4").kernel_size,
        on_meta("googlenet").get_submodule("maxpool4").kernel_size,
    ) == (3, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_heads_hang_on_4a_and_4d_and_answer_in_training_only(name):
    network = create_model(name, classes=7, size=(64, 64))
    passed = seen(network, ["inception4a", "inception4d", "aux1", "aux2", "fc"])
    x = batch(3, 3, (64, 64))
    answer = network.train()(x)
    assert isinstance(answer, Heads) and answer.weight == 0.3
    assert passed["aux1"][0] is passed["inception4a"][1] and passed["aux2"][0] is passed["inception4d"][1]
    assert answer.logits is passed["fc"][1]
    assert [one is passed[head][1] for one, head in zip(answer.auxiliary, network.auxiliary, strict=True)] == [True] * 2
    assert [tuple(one.shape) for one in (answer.logits, *answer.auxiliary)] == [(3, 7)] * 3
    passed.clear()
    assert network.eval()(x).shape == (3, 7)
    assert "aux1" not in passed and "aux2" not in passed


@pytest.mark.parametrize("build", [googlenet_2014, googlenet])
def test_without_heads_there_are_none(build):
    network = build(classes=7, auxiliary=False).train()
    assert network.auxiliary == () and not [name for name in network.state_dict() if "aux" in name]
    assert network(batch(2, 3, (64, 64))).shape == (2, 7)


def test_heads_average_5x5_by_three_at_the_papers_size_and_equal_parts_elsewhere():
    torch.manual_seed(0)
    head = googlenet_2014(classes=5).get_submodule("aux1").eval()
    for side, average in ((14, functional.avg_pool2d), (28, None), (4, None), (2, None)):
        x = torch.rand(2, 512, side, side)
        parts = average(x, 5, 3) if average else functional.adaptive_avg_pool2d(x, 4)
        hidden = functional.relu(head.fc1(functional.relu(head.conv.conv(parts)).flatten(1)))
        assert torch.allclose(head(x), head.fc2(hidden), rtol=1e-5, atol=1e-6)


def without_chance(network: nn.Module) -> nn.Module:
    """Return `network` with dropouts that leave nothing out, to be compared in training mode."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network.train()


def test_training_answers_equal_torchvisions_which_names_the_second_head_first(torchvision):
    ours = without_chance(lively(googlenet(classes=10)))
    theirs = torchvision.models.googlenet(weights=None, num_classes=10, aux_logits=True, init_weights=False)
    theirs.load_state_dict(ours.state_dict())
    x = batch(4, 3, (96, 96))
    with torch.no_grad():
        answer, expected = ours(x), without_chance(theirs)(x)
    pairs = zip(
        (answer.logits, *answer.auxiliary), (expected.logits, expected.aux_logits1, expected.aux_logits2), strict=True
    )
    for one, other in pairs:
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_transform_input_is_torchvisions(torchvision):
    ours = lively(googlenet(classes=10, transform_input=True)).eval()
    theirs = torchvision.models.googlenet(
        weights=None, num_classes=10, aux_logits=True, init_weights=False, transform_input=True
    )
    theirs.load_state_dict(ours.state_dict())
    x = batch(2, 3, (64, 64))
    with torch.no_grad():
        answer, expected = ours(x), theirs.eval()(x)
        assert (answer - expected).abs().max() <= 1e-5 * expected.abs().max()
        theirs.transform_input = False
        assert (answer - theirs(x)).abs().max() > 1e-2 * expected.abs().max()
    with pytest.raises(UsageError, match="colour images: it cannot take 1 channels"):
        create_model("googlenet", channels=1, options={"transform_input": True})


def test_first_weights():
    torch.manual_seed(0)
    published, normed = googlenet_2014(), googlenet()
    weight = published.get_submodule("inception5b.branch2.1.conv").weight
    assert 0.99 < weight.abs().max().item() / (3 / (192 * 9)) ** 0.5 <= 1
    biases = {name: one.unique().tolist() for name, one in published.named_parameters() if name.endswith("bias")}
    assert biases == {
        name: [0.0] if name in ("fc.bias", "aux1.fc2.bias", "aux2.fc2.bias") else [pytest.approx(0.2)]
        for name in biases
    }
    for name in ("inception5b.branch2.1.conv", "aux1.fc1", "fc"):
        assert normed.get_submodule(name).weight.std().item() == pytest.approx(0.01, rel=0.02)
