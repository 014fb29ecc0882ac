"""Mixup and cutmix: the labels say what is in the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.augment.mixing import mix_batch
from foveal.data.augment.policy import Augment
from foveal.errors import UsageError

MIXUP, CUTMIX = Augment(mixup=0.4), Augment(cutmix=1)


def numbered(count: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (count, 2, height, width) that are all of their own label's unit in size, and the labels."""
    labels = torch.arange(count)
    return (2.0**labels)[:, None, None, None].expand(count, 2, height, width).contiguous(), labels


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 8),
    sides=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    alpha=st.floats(0.05, 5),
    kind=st.sampled_from(["mixup", "cutmix"]),
    seed=st.integers(0, 2**63 - 1),
)
def test_targets_are_the_shares_of_the_pixels(count, sides, alpha, kind, seed):
    x, labels = numbered(count, *sides)
    before = x.clone()
    mixed, targets = mix_batch(x, labels, count + 1, Augment.from_dict({kind: alpha}), seed)
    assert torch.equal(x, before)
    assert mixed.shape == x.shape
    assert targets.shape == (count, count + 1)
    assert torch.allclose(targets.sum(1), torch.ones(count))
    assert torch.allclose(mixed.mean((1, 2, 3)), targets[:, :-1] @ 2.0**labels, rtol=1e-4)
    again = mix_batch(x, labels, count + 1, Augment.from_dict({kind: alpha}), seed)
    assert torch.equal(again[0], mixed)
    assert torch.equal(again[1], targets)


def test_cutmix_lays_one_box_of_the_partner():
    x, labels = numbered(6, 20, 30)
    boxes = 0
    for seed in range(20):
        mixed, targets = mix_batch(x, labels, 6, CUTMIX, seed)
        assert set(mixed.unique().tolist()) <= set(x.unique().tolist())
        for one in range(6):
            foreign = (mixed[one, 0] != x[one, 0]).numpy()
            rows, columns = np.nonzero(foreign)
            if len(rows):
                boxes += 1
                assert foreign.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a whole rectangle
                assert targets[one, one].item() == pytest.approx(1 - foreign.mean(), abs=1e-6)
    assert boxes > 60


def test_shares_follow_the_beta_distribution():
    x, labels = numbered(2, 2, 2)
    shares = []
    for seed in range(2000):
        _, targets = mix_batch(x, labels, 2, Augment(mixup=2), seed)
        if targets[0, 0] != 1:  # its partner is the other one
            shares.append(targets[0, 0].item())
    assert len(shares) == pytest.approx(1000, abs=120)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / 20, abs=0.006)  # of Beta(2, 2)


def test_both_take_turns_by_lot():
    x, labels = numbered(4, 16, 16)
    units = set(x.unique().tolist())
    cut = sum(
        set(mix_batch(x, labels, 4, Augment(mixup=1, cutmix=1), seed)[0].unique().tolist()) <= units
        for seed in range(300)
    )
    assert cut == pytest.approx(150, abs=40)


def test_neither_is_one_hot_and_leaves_the_images():
    x, labels = numbered(3, 4, 4)
    mixed, targets = mix_batch(x, labels, 5, Augment(horizontal_flip=0.5), 0)
    assert mixed is x
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, 5).float())


@pytest.mark.parametrize("policy", [MIXUP, CUTMIX])
def test_channels_last_and_half_floats_stay(policy):
    x = numbered(4, 8, 8)[0].half().contiguous(memory_format=torch.channels_last)
    mixed, targets = mix_batch(x, torch.arange(4), 4, policy, 1)
    assert mixed.dtype == torch.half
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert targets.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "labels", "classes", "says"),
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2).long(), 2, "floating-point (B, C, H, W)"),
        (torch.zeros(2, 4, 4), torch.zeros(2).long(), 2, "not float32 of shape (2, 4, 4)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(3).long(), 2, "2 of them, not int64 of shape (3,)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2), 2, "not float32 of shape (2,)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2).long(), 0, "at least one class, not 0"),
    ],
)
def test_other_input_is_refused_in_a_sentence(x, labels, classes, says):
    with pytest.raises(UsageError) as error:
        mix_batch(x, labels, classes, MIXUP, 0)
    assert says in str(error.value)
