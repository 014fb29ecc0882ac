"""A time limit: the schedule is fitted to it, training ends within it, and a resumed run has the time that was left."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_runs import history_of, weights_of

import foveal
from foveal.errors import Interrupted, UsageError
from foveal.training import loop, time_limit
from foveal.training.checkpoint import read_checkpoint
from foveal.training.recipe import Recipe, read_recipe
from foveal.training.time_limit import TimeLimit, parse_duration

FIELDS = {"model": "mlp", "batch_size": 32, "threads": 1, "patience": 0, "progress": False}
STEPS = 7  # an epoch of few_digits' 210 training images
STEP_S, VALIDATION_S = 0.1, 0.07  # 45 validation images, at half the cost of learning from them


@dataclass
class Clock:
    """Goes on only when a step or a validation pass is done, and is a clock and the module `time` in one."""

    now: float = 1_000.0
    step_s: float = STEP_S
    steps: int = 0
    stop_at: int = 0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock, learn, validate = Clock(), loop.learn, loop.validate

    def slow_learn(*arguments):
        clock.now += clock.step_s
        clock.steps += 1
        if clock.steps == clock.stop_at:
            signal.raise_signal(signal.SIGINT)
        return learn(*arguments)

    def slow_validate(*arguments):
        clock.now += VALIDATION_S
        return validate(*arguments)

    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(time_limit, "time", clock)
    monkeypatch.setattr(loop, "learn", slow_learn)
    monkeypatch.setattr(loop, "validate", slow_validate)
    return clock


@pytest.mark.parametrize("limit_s", [0.05, 0.5, 4.0])
def test_training_ends_within_the_limit_and_uses_it(few_digits, run_dir, clock, limit_s):
    began = clock.now
    run = foveal.train(few_digits, out=run_dir, time_limit_s=limit_s, epochs=1_000, **FIELDS)
    taken, training = clock.now - began, run.metrics["training"]
    least = STEP_S + VALIDATION_S  # one step and one look at the validation images there always are
    assert taken <= max(limit_s, least) + 1e-6
    assert taken >= limit_s - 2 * (STEP_S + VALIDATION_S) - 0.05
    assert training["out_of_time"] and not training["stopped_early"]
    assert training["images"] == sum(row["images"] for row in run.history) <= clock.steps * 32
    assert run.is_finished and run.history[-1]["epoch"] == training["epochs"]


@pytest.mark.parametrize("schedule", ["one_cycle", "step"])
def test_the_schedule_is_finished_when_the_time_is_over(few_digits, run_dir, clock, monkeypatch, schedule):
    rates, learn = [], loop.learn
    monkeypatch.setattr(loop, "learn", lambda *given: (rates.append(given[-1]), learn(*given))[1])
    foveal.train(
        few_digits, out=run_dir, time_limit_s=10, epochs=1_000, schedule=schedule, learning_rate=0.01, **FIELDS
    )
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.01, rel=0.03)
    assert rates[-1] <= 0.01 * {"one_cycle": 0.02, "step": 0.0101}[schedule]
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if schedule == "one_cycle":
        assert 0.25 < peak / len(rates) < 0.35


def test_a_limit_that_does_not_bind_changes_nothing(few_digits, tmp_path, clock):
    without = foveal.train(few_digits, out=tmp_path / "without", epochs=3, **FIELDS)
    ample = foveal.train(few_digits, out=tmp_path / "ample", epochs=3, time_limit_s="1h", **FIELDS)
    assert weights_of(without) == weights_of(ample) and history_of(without) == history_of(ample)
    assert ample.recipe["time_limit_s"] == 3_600 and not ample.metrics["training"]["out_of_time"]


@pytest.mark.parametrize("stop_at", [6, 20])
def test_a_resumed_run_has_the_time_that_was_left(few_digits, tmp_path, clock, stop_at):
    fields = {**FIELDS, "time_limit_s": 4, "epochs": 1_000}
    whole = foveal.train(few_digits, out=tmp_path / "whole", **fields)
    clock.steps, clock.stop_at, began = 0, stop_at, clock.now
    with pytest.raises(Interrupted):
        foveal.train(few_digits, out=tmp_path / "torn", **fields)
    clock.now += 100_000  # the night between does not count
    done = foveal.train(few_digits, resume=tmp_path / "torn", progress=False)
    assert clock.now - began - 100_000 <= 4 + 1e-6
    assert done.metrics["training"]["out_of_time"]
    rows = list(zip(done.history, whole.history, strict=True))  # under a clock that ticks evenly: the same course
    assert [row["learning_rate"] for row, _ in rows] == pytest.approx(
        [other["learning_rate"] for _, other in rows], rel=0.03, abs=1e-5
    )
    assert all(abs(row["images"] - other["images"]) <= 32 for row, other in rows)


def test_a_run_whose_time_is_over_stays_over(few_digits, run_dir, clock):
    run = foveal.train(few_digits, out=run_dir, time_limit_s=2, epochs=1_000, **FIELDS)
    before, steps = weights_of(run), clock.steps
    run.report_file.unlink()
    foveal.train(few_digits, resume=run_dir, progress=False)
    assert clock.steps == steps and weights_of(run) == before
    state = read_checkpoint(run.checkpoint_file("last")).state
    assert state["out_of_time"] and state["elapsed_s"] == pytest.approx(2, abs=0.5)


def test_a_machine_that_slows_down_ends_in_time_too(few_digits, run_dir, clock, monkeypatch):
    learn, began = loop.learn, clock.now

    def slower(*arguments):
        clock.step_s = 0.4 if clock.steps > 20 else 0.1
        return learn(*arguments)

    monkeypatch.setattr(loop, "learn", slower)
    run = foveal.train(few_digits, out=run_dir, time_limit_s=8, epochs=5, **FIELDS)  # 5 epochs would take 5 s
    assert clock.now - began <= 8 + 1e-6
    assert run.metrics["training"]["out_of_time"]
    assert run.history[-1]["learning_rate"] < 0.0001


def test_the_recipe_without_the_clock_sees_as_many_images(few_digits, tmp_path, clock):
    run = foveal.train(few_digits, out=tmp_path / "run", time_limit_s=3, epochs=1_000, **FIELDS)
    recipe = read_recipe(run.path / "recipe-without-clock.toml")
    assert recipe.time_limit_s is None and recipe.epochs == run.metrics["training"]["epochs"]
    again = foveal.train(few_digits, out=tmp_path / "again", recipe=recipe, progress=False)
    twin = foveal.train(few_digits, out=tmp_path / "twin", recipe=recipe, progress=False)
    assert again.metrics["training"]["images"] == pytest.approx(run.metrics["training"]["images"], abs=recipe.epochs)
    assert weights_of(again) == weights_of(twin)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("10min", 600), ("1h30m", 5_400), ("1 h 30 min", 5_400), ("0.5m", 30)],
)
def test_times_are_read(text, seconds):
    assert parse_duration(text) == seconds
    assert Recipe(time_limit_s=text).time_limit_s == seconds


@pytest.mark.parametrize("text", ["", "m", "10x", "1.2.3s", "-5s", "10m10m", "10m 5", "ten", "٣s", "1e3", "0s", "nan"])
def test_other_times_are_refused_in_one_sentence(text):
    with pytest.raises(UsageError, match=r"time_limit_s = .* is wrong: "):
        Recipe().changed({"time_limit_s": text})


@given(
    limit_s=st.floats(0.1, 1e4), elapsed_s=st.floats(0, 1e4), closing_s=st.floats(0, 100), images=st.integers(1, 1_000)
)
def test_shares_are_shares(limit_s, elapsed_s, closing_s, images):
    limit = TimeLimit(limit_s, elapsed_s, closing_s, validation_images=50)
    for _ in range(3):
        assert 0 <= limit.share <= 1
        limit.step_ended(images)
    assert limit.is_over or limit.share < 1
    assert TimeLimit(None, elapsed_s, closing_s, validation_images=50).share == 0.0
