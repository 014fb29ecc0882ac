"""Optimisers: SGD, Adam, AdamW, RMSprop, each with torch.optim's formula and defaults.

Ours and not torch.optim's because the state is then a flat dict of tensors (which safetensors
stores and a resumed run restores to the bit), and because constructing one of torch's imports its
compiler, over a second of every training's start. A test holds each against torch.optim.

Weight decay touches matrices and kernels only, never norms and biases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from foveal.errors import ClassifierError


class Optimizer:
    """Holds the parameters and one list of tensors a kind of state; `step` moves the parameters once."""

    state_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float = 0.0) -> None:
        self.parameters = [one for one in parameters if one.requires_grad]
        self.weight_decay = weight_decay
        self.decays = [one.ndim > 1 for one in self.parameters]
        self.steps = 0
        self.state = {name: [torch.zeros_like(one) for one in self.parameters] for name in self.state_names}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move the parameters by their gradients, which are cleared."""
        self.steps += 1
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.parameters]
        self.move(gradients, learning_rate)
        for parameter in self.parameters:
            parameter.grad = None

    def move(self, gradients: list[Tensor], learning_rate: float) -> None:
        raise NotImplementedError

    def add_decay(self, gradients: list[Tensor]) -> None:
        """Add L2 regularisation to the gradients: g + weight_decay · w."""
        if self.weight_decay:
            torch._foreach_add_(self._decayed(gradients), self._decayed(self.parameters), alpha=self.weight_decay)

    def _decayed(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        return [tensor for tensor, decays in zip(tensors, self.decays, strict=True) if decays]

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as name → tensor."""
        return {f"{name}.{at}": tensor for name, kind in self.state.items() for at, tensor in enumerate(kind)}

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Take over what `tensors` and `steps` of another optimiser of the same kind held."""
        own = self.tensors()
        if own.keys() != tensors.keys():
            raise ClassifierError("The checkpoint's optimiser state does not fit the recipe.")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        self.steps = steps


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964), also Nesterov's (Sutskever et al. 2013)."""

    state_names = ("momentum",)

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay)
        self.momentum, self.nesterov = momentum, nesterov

    def move(self, gradients: list[Tensor], learning_rate: float) -> None:
        self.add_decay(gradients)
        buffers = self.state["momentum"]
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_add_(buffers, gradients)
        if self.nesterov:
            torch._foreach_add_(gradients, buffers, alpha=self.momentum)
            torch._foreach_add_(self.parameters, gradients, alpha=-learning_rate)
        else:
            torch._foreach_add_(self.parameters, buffers, alpha=-learning_rate)


class Adam(Optimizer):
    """Adam (Kingma, Ba 2015): β 0.9 and 0.999, ε 1e-8; weight decay as L2 in the gradient."""

    state_names = ("mean", "square")
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    epsilon: ClassVar[float] = 1e-8

    def move(self, gradients: list[Tensor], learning_rate: float) -> None:
        self.decay(gradients, learning_rate)
        means, squares = self.state["mean"], self.state["square"]
        beta1, beta2 = self.betas
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_div_(scales, math.sqrt(1 - beta2**self.steps))
        torch._foreach_add_(scales, self.epsilon)
        torch._foreach_addcdiv_(self.parameters, means, scales, -learning_rate / (1 - beta1**self.steps))

    def decay(self, gradients: list[Tensor], learning_rate: float) -> None:  # noqa: ARG002 - AdamW uses the rate
        self.add_decay(gradients)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019): w · (1 - rate · weight_decay)."""

    def decay(self, gradients: list[Tensor], learning_rate: float) -> None:  # noqa: ARG002
        if self.weight_decay:
            torch._foreach_mul_(self._decayed(self.parameters), 1 - learning_rate * self.weight_decay)


class RMSprop(Optimizer):
    """RMSprop (Tieleman, Hinton 2012): α 0.99, ε 1e-8."""

    state_names = ("square",)

    def move(self, gradients: list[Tensor], learning_rate: float) -> None:
        self.add_decay(gradients)
        squares = self.state["square"]
        torch._foreach_mul_(squares, 0.99)
        torch._foreach_addcmul_(squares, gradients, gradients, 0.01)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_add_(scales, 1e-8)
        torch._foreach_addcdiv_(self.parameters, gradients, scales, -learning_rate)


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], *, weight_decay: float, momentum: float, nesterov: bool
) -> Optimizer:
    """Return the optimiser called `name`: sgd, adam, adamw or rmsprop."""
    if name == "sgd":
        return SGD(parameters, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)
    return {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}[name](parameters, weight_decay=weight_decay)
