"""Inception-v3: the maps of its stages, its auxiliary head, its first weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.catalog import create_model
from foveal.models.inception_v3 import inception_v3
from foveal.models.network import Heads
from gallery_members import batch, lively, on_meta

MAPS = {  # sides in table 1 of the paper, widths in the network that its authors released
    "Conv2d_1a_3x3": (32, 149),
    "Conv2d_2a_3x3": (32, 147),
    "Conv2d_2b_3x3": (64, 147),
    "Conv2d_3b_1x1": (80, 73),
    "Conv2d_4a_3x3": (192, 71),
    "Mixed_5b": (256, 35),
    "Mixed_5c": (288, 35),
    "Mixed_5d": (288, 35),
    "Mixed_6a": (768, 17),
    "Mixed_6b": (768, 17),
    "Mixed_6c": (768, 17),
    "Mixed_6d": (768, 17),
    "Mixed_6e": (768, 17),
    "Mixed_7a": (1280, 8),
    "Mixed_7b": (2048, 8),
    "Mixed_7c": (2048, 8),
}


def test_maps_of_every_stage():
    network = on_meta("inception_v3").eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for stage, path in network.stages.items():
        network.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, stage=stage: shapes.update({stage: tuple(output.shape[1:])})
        )
    network(torch.empty(1, 3, 299, 299, device="meta"))
    assert shapes == {**{stage: (width, side, side) for stage, (width, side) in MAPS.items()}, "output": (1000,)}


def without_chance(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network.train()


@pytest.mark.slow
def test_training_answers_equal_torchvisions_at_299(torchvision):
    ours = without_chance(lively(inception_v3(classes=10, transform_input=True)))
    theirs = torchvision.models.inception_v3(
        weights=None, num_classes=10, aux_logits=True, init_weights=False, transform_input=True
    )
    theirs.load_state_dict(ours.state_dict())
    x = batch(2, 3, (299, 299))
    with torch.no_grad():
        answer, expected = ours(x), without_chance(theirs)(x)
    assert answer.weight == 0.4
    for one, other in ((answer.logits, expected.logits), (answer.auxiliary[0], expected.aux_logits)):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize("side", [75, 96])  # last maps of 3×3 and 4×4, of which torchvision's head cannot take 5×5
def test_the_head_answers_small_images_too_and_in_training_only(side):
    network = create_model("inception_v3", classes=7, size=(side, side))
    x = batch(2, 3, (side, side))
    answer = network.train()(x)
    assert isinstance(answer, Heads) and answer.logits.shape == answer.auxiliary[0].shape == (2, 7)
    assert network.eval()(x).shape == (2, 7)


def test_without_its_head_it_answers_with_logits_alone():
    network = inception_v3(classes=7, auxiliary=False).train()
    assert network.auxiliary == () and not [name for name in network.state_dict() if "Aux" in name]
    assert network(batch(2, 3, (75, 75))).shape == (2, 7)


def test_first_weights_are_torchvisions():
    torch.manual_seed(0)
    network = inception_v3()
    deviations = {
        "Mixed_7c.branch3x3_1.conv": 0.1,
        "fc": 0.1,
        "AuxLogits.conv0.conv": 0.1,
        "AuxLogits.conv1.conv": 0.01,
        "AuxLogits.fc": 0.001,
    }
    for name, deviation in deviations.items():
        assert network.get_submodule(name).weight.std().item() == pytest.approx(deviation, rel=0.02), name


def test_grey_images_cannot_be_transformed():
    with pytest.raises(UsageError, match="colour images"):
        inception_v3(channels=1, transform_input=True)
