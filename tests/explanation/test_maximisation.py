"""Images made to excite a unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explained import member, same_state, state_of
from torch import nn

from foveal.errors import UsageError
from foveal.explanation.maximisation import Ascent, maximise

PLAIN = Ascent(steps=60, rate=0.2, jitter=0, blur=0, decay=0)
HALF = {"mean": (0.5,), "std": (0.25,)}


def test_a_linear_unit_is_excited_most_by_black_and_white_where_its_weights_say():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    pattern = torch.tensor([[1.0, -1.0] * 8, [-1.0, 1.0] * 8])
    network[1].weight = nn.Parameter(pattern)
    found = maximise(network, [0, 1], (1, 4, 4), **HALF, ascent=PLAIN)
    np.testing.assert_array_equal(found.images.reshape(2, 16), np.where(pattern > 0, 255, 0))
    np.testing.assert_allclose(found.reached, [32, 32])  # sixteen pixels, two deviations from the mean each
    assert [one.title.split("\n")[0] for one in found.tiles(["plum", "lime"])] == ["plum", "lime"]


def test_a_channel_is_the_mean_of_its_map():
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(inplace=True))
    network[0].weight = nn.Parameter(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    found = maximise(network, [1], (1, 4, 4), stage="0", **HALF, ascent=PLAIN)
    assert not found.images.any()
    assert found.reached.tolist() == [2.0]
    assert found.tiles()[0].title == f"0 · channel 1\n{found.before[0]:.2g} to 2"


def test_a_dead_unit_says_so():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    nn.init.constant_(network[0].weight, 0.0)
    nn.init.constant_(network[0].bias, -1.0)
    found = maximise(network, [0], (1, 4, 4), stage="1", **HALF, ascent=Ascent(steps=2))
    assert found.reached.tolist() == [0]
    assert found.tiles()[0].alarm == "could not be excited"


def test_a_seed_repeats_to_the_bit_and_the_network_stays_as_it_was():
    network, x = member("resnet18")
    network.layer1.train()
    state, size = state_of(network), tuple(x.shape[1:])
    mean, std = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)
    how = Ascent(steps=12)
    first, again, other = (
        maximise(network, [0, 3], size, stage="conv2_x", mean=mean, std=std, ascent=how, seed=seed)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any()
    assert (first.reached > first.before).all()
    assert same_state(state, state_of(network))


def test_the_regularisers_are_named_and_smooth():
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 1, bias=False))
    nn.init.normal_(network[1].weight, generator=torch.Generator().manual_seed(0))

    def roughness(how: Ascent) -> float:
        picture = maximise(network, [0], (1, 16, 16), **HALF, ascent=how).images[0, ..., 0].astype(float)
        return float(np.abs(np.diff(picture, axis=0)).mean())

    assert roughness(Ascent(blur=1)) < roughness(Ascent(blur=0, decay=0)) / 2
    assert str(Ascent()) == (
        "128 steps of gradient ascent, jitter of up to 3.1% of the side, a blur of 0.5 pixels every 4 steps, "
        "L2 decay of 0.01 a step"
    )
    assert str(PLAIN) == "60 steps of gradient ascent, no regularisation"


def test_bad_questions_are_one_sentence():
    network, _ = member("resnet18")
    ask = {"image": (3, 40, 40), "mean": (0.5,) * 3, "std": (0.2,) * 3}
    with pytest.raises(UsageError, match="no unit 5 in the answer, which has 5"):
        maximise(network, [5], **ask)
    with pytest.raises(UsageError, match='no stage or module "C9"'):
        maximise(network, [0], **ask, stage="C9")
    with pytest.raises(UsageError, match="Say which units"):
        maximise(network, [], **ask)
    with pytest.raises(UsageError, match="from 0 to 8 pixels"):
        Ascent(blur=-1)
