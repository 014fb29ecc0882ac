"""Each optimiser against torch.optim, over steps with and without gradients; and the loss scale of float16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal.training.loss_scale import LARGEST, LossScale
from foveal.training.optimizer import make_optimizer, orthogonal

RATES = [0.01, 0.02, 0.005]


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3, 3, 3), (4,), (5, 4), (5,), (2, 2)]
    made = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    made[0].data = made[0].data.to(memory_format=torch.channels_last)
    return made


def theirs(name: str, made: list[nn.Parameter], decay: float, momentum: float, nesterov: bool) -> torch.optim.Optimizer:
    groups = [
        {"params": [one for one in made if one.ndim > 1], "weight_decay": decay},
        {"params": [one for one in made if one.ndim == 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=0.1, momentum=momentum, nesterov=nesterov)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[name]
    return kind(groups, lr=0.1)


def give_gradients(made: list[nn.Parameter], step: int) -> None:
    """The last parameter never has a gradient, the third only at every second step."""
    generator = torch.Generator().manual_seed(100 + step)
    for at, one in enumerate(made):
        gradient = torch.randn(one.shape, generator=generator)
        one.grad = None if at == 4 or (at == 2 and step % 2) else gradient


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "momentum", "nesterov"),
    [("sgd", 0.0, False), ("sgd", 0.9, False), ("sgd", 0.9, True)]
    + [(name, 0.9, False) for name in ("adam", "adamw", "rmsprop")],
)
def test_it_moves_as_torchs_does(name, momentum, nesterov, decay):
    ours, others = parameters(), parameters()
    optimizer = make_optimizer(name, ours, weight_decay=decay, momentum=momentum, nesterov=nesterov)
    reference = theirs(name, others, decay, momentum, nesterov)
    for step in range(20):
        rate = RATES[step % 3]
        give_gradients(ours, step)
        give_gradients(others, step)
        for group in reference.param_groups:
            group["lr"] = rate
        optimizer.step(rate)
        reference.step()
        assert all(one.grad is None for one in ours)
    for one, other in zip(ours, others, strict=True):
        assert (one - other).abs().max() <= 1e-6
    assert torch.equal(ours[4], parameters()[4])
    assert not torch.equal(ours[2], parameters()[2])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "muon"])
def test_stored_and_restored_it_goes_on_to_the_bit(name):
    def run(stop: int | None) -> list[nn.Parameter]:
        made = parameters()
        options = {"weight_decay": 0.1, "momentum": 0.9, "nesterov": True}
        optimizer = make_optimizer(name, made, **options)
        for step in range(12):
            if step == stop:
                stored, steps = {key: one.clone() for key, one in optimizer.tensors().items()}, optimizer.steps
                optimizer = make_optimizer(name, made, **options)
                optimizer.restore(stored, steps)
            give_gradients(made, step)
            optimizer.step(0.01)
        return made

    for one, other in zip(run(None), run(7), strict=True):
        assert torch.equal(one, other)


def test_another_state_is_refused():
    adam = make_optimizer("adam", parameters(), weight_decay=0, momentum=0, nesterov=False)
    sgd = make_optimizer("sgd", parameters(), weight_decay=0, momentum=0, nesterov=False)
    with pytest.raises(ValueError, match="does not fit"):
        adam.restore(sgd.tensors(), sgd.steps)
    wrong = {key: one[:1] for key, one in adam.tensors().items()}
    with pytest.raises(ValueError, match="does not fit"):
        adam.restore(wrong, adam.steps)


def test_norms_and_biases_do_not_decay():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    optimizer = make_optimizer("adamw", network.parameters(), weight_decay=0.5, momentum=0, nesterov=False)
    for one in network.parameters():
        one.grad = torch.zeros_like(one)
    optimizer.step(0.1)
    changed = {name for name, one in network.named_parameters() if not torch.equal(one, before[name])}
    assert changed == {"0.weight", "3.weight"}


def test_frozen_parameters_stay_out():
    made = parameters()
    made[0].requires_grad = False
    optimizer = make_optimizer("adamw", made, weight_decay=0.5, momentum=0, nesterov=False)
    assert len(optimizer.parameters) == 4
    optimizer.step(0.1)  # no gradient anywhere: nothing moves
    assert all(torch.equal(one, other) for one, other in zip(made, parameters(), strict=True))


def test_an_overflow_halves_the_scale_and_skips_the_step():
    scale, made = LossScale.for_type(torch.float16), parameters()
    assert scale.factor == 65_536
    for one in made:
        one.grad = torch.full_like(one, 65_536.0)
    assert scale.unscale(made) and all(torch.equal(one.grad, torch.ones_like(one)) for one in made)
    made[1].grad[0] = float("inf")
    assert not scale.unscale(made)
    assert scale.factor == 32_768 and scale.good_steps == 0 and all(one.grad is None for one in made)


def test_two_thousand_good_steps_double_the_scale_to_a_limit():
    scale, made = LossScale.for_type(torch.float16), [nn.Parameter(torch.zeros(1))]
    for _ in range(2_000):
        made[0].grad = torch.ones(1)
        assert scale.factor == 65_536
        scale.unscale(made)
    assert scale.factor == 131_072
    scale.factor, scale.good_steps = LARGEST, 1_999
    scale.unscale(made)
    assert scale.factor == LARGEST


def test_full_precision_needs_no_scale():
    scale, made = LossScale.for_type(None), parameters()
    made[0].grad = torch.full_like(made[0], float("inf"))
    assert scale.factor == 1 and scale.unscale(made) and made[0].grad is not None


def test_muon_makes_the_momentum_orthogonal_and_leaves_the_last_matrix_to_adam():
    """Against the definition: each singular value goes through the polynomial three times, by NumPy's SVD."""
    rate, momentum, decay = 0.02, 0.9, 0.1
    made = parameters()[:4]
    optimizer = make_optimizer("muon", made, weight_decay=decay, momentum=momentum, nesterov=False)
    rest = [one.detach().clone().requires_grad_() for one in made[1:]]  # the last matrix, and what has one dimension
    groups = [{"params": rest[1:2], "weight_decay": decay}, {"params": rest[::2], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=rate / 4, betas=(0.9, 0.99))
    kernel, buffer = made[0].detach().double().numpy().reshape(4, 27).copy(), np.zeros((4, 27))
    for step in range(5):
        give_gradients(made, step)
        gradient = made[0].grad.double().numpy().reshape(4, 27)
        buffer = momentum * buffer + gradient
        u, values, vt = np.linalg.svd(gradient + momentum * buffer, full_matrices=False)
        values = values / np.sqrt((values**2).sum())
        for _ in range(3):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        kernel = kernel * (1 - rate * decay) - rate * (u * values) @ vt
        for one, other in zip(made[1:], rest, strict=True):
            other.grad = one.grad
        optimizer.step(rate)
        adam.step()
    assert np.abs(made[0].detach().numpy().reshape(4, 27) - kernel).max() < 1e-5
    for one, other in zip(made[1:], rest, strict=True):
        torch.testing.assert_close(one, other)
    assert optimizer.tensors()["square.0"].numel() == 0  # only Adam keeps squares
    assert optimizer.tensors()["square.2"].numel() == 20


def test_a_tall_matrix_turns_as_its_transpose_does():
    tall = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonal(tall), orthogonal(tall.T).T)
    assert orthogonal(torch.zeros(3, 2)).abs().max() == 0
