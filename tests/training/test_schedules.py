"""The learning rate of every step, against torch's OneCycleLR and ReduceLROnPlateau or a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.training.schedule import Schedule

NAMES = ["one_cycle", "cosine", "step", "plateau", "constant"]


def rates(name: str, steps: int, peak: float = 0.1) -> list[float]:
    schedule = Schedule(name, peak, steps)
    return [schedule.rate(step) for step in range(steps)]


def test_one_cycle_has_the_shape_of_torchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=1_000)
    for step, ours in enumerate(rates("one_cycle", 1_000)):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.001), step
        optimizer.step()
        oracle.step() if step < 999 else None
    ours = rates("one_cycle", 1_001)
    assert (ours[0], ours[300], ours[1_000]) == pytest.approx((0.1 / 25, 0.1, 0.1 / 250_000))


def test_cosine_warms_up_and_ends_near_zero():
    ours = rates("cosine", 100)
    assert ours[:10] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert ours[10:] == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 90)) for step in range(90)])
    assert 0 < ours[-1] < 0.0001


def test_step_and_constant():
    assert rates("step", 8) == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    assert rates("constant", 5) == [0.1] * 5


def test_plateau_goes_down_where_torchs_does():
    losses = [3, 2, 2.5, 2.4, 2.3, 1.9, 1.95, 1.9, 1.9, 1.9, 1.9, 1.9, 1.8, 2, 2, 2]
    schedule = Schedule("plateau", 0.1, 16)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, threshold=0)
    seen = []
    for loss in losses:
        schedule.epoch_ended(loss)
        oracle.step(loss)
        seen.append(schedule.rate(0))
        assert seen[-1] == pytest.approx(optimizer.param_groups[0]["lr"])
    assert len(set(seen)) == 5


@pytest.mark.parametrize("name", NAMES)
@given(steps=st.integers(1, 300), peak=st.floats(1e-6, 10))
def test_every_rate_is_above_zero_and_at_most_the_peak(name, steps, peak):
    every = rates(name, steps, peak)
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in every)
    if name in ("one_cycle", "cosine") and steps >= 20:
        assert max(every) > 0.98 * peak and every[-1] < 0.02 * peak
