"""Networks and images that explainers are tried on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.explanation.ask import ask_torch
from foveal.explanation.methods import Question, Settings, Subject
from foveal.explanation.target import Target
from foveal.models.catalog import create_model
from gallery_members import batch, lively, pass_size

CLASSES = 5
FEW = Settings(samples=6, window=16)


def member(name: str) -> tuple[nn.Module, Tensor]:
    """Return the gallery's network `name` of five classes, as lively as a trained one, and two images for it."""
    size = pass_size(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = lively(create_model(name, classes=CLASSES, channels=3, size=size))
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the running figures become those of the pass
            module.reset_running_stats()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.train()(batch(8, 3, size, seed=1))
    return network.eval(), batch(2, 3, size, seed=2)


def asked(network: nn.Module, x: Tensor, target: Target | None = None, settings: Settings = FEW) -> Question:
    """Return the question why `network` gives images `x` the score of `target`, by default that of its answer."""
    subject = Subject(network, lambda _, __: ask_torch(network))
    return Question(subject, x, target or Target(), settings)


def state_of(network: nn.Module) -> list[object]:
    """Return everything of a network that an explanation must leave as it was."""
    modules = [(one.training, len(one._forward_hooks), len(one._forward_pre_hooks)) for one in network.modules()]
    grads = [None if one.grad is None else one.grad.clone() for one in network.parameters()]
    wanted = [one.requires_grad for one in network.parameters()]
    return [modules, wanted, grads, [one.clone() for one in network.state_dict().values()]]


def same_state(first: list[object], second: list[object]) -> bool:
    """Whether two states of a network are equal to the bit."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(same_state(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return first == second
