"""Explanations by the gradient of the score in the pixels: guided, integrated along a path, or averaged over noise.

Integrated gradients and SmoothGrad are captum's. Guided backpropagation is not: captum's needs every ReLU to be a
module of its own that runs once and not in place, which networks of the gallery do not keep to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from foveal.engines.eval_mode import in_eval_mode
from foveal.engines.kinds import need
from foveal.errors import UsageError
from foveal.explanation.target import Target

Told = Callable[[int], None]

AT_ONCE = 32  # images in a pass of captum's
NOISE = 0.15  # of the range of an image's values: SmoothGrad's figure 3
RELUS = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})
CLIPPED_AT = 6.0  # ReLU6


def guided_backpropagation(network: nn.Module, x: Tensor, target: Target) -> Tensor:
    """Return (B, C, H, W): the gradient of the score by the pixels, only positive parts of it passing each ReLU back.

    Springenberg et al.: "Striving for simplicity: The all convolutional net", ICLR 2015 workshop, section 3.4. ReLU6 is
    treated as the ReLU that it is below 6. Whatever calls a ReLU: a module, one in place or shared, or a function.
    Raises UsageError for a network without any. Adebayo et al. 2018 show that it depends little on the weights.
    """
    pixels = x.detach().clone().requires_grad_()
    with in_eval_mode(network), torch.enable_grad(), _Guiding() as guiding:
        score = target.score(network(pixels))
    if not guiding.relus:
        raise UsageError("Guided backpropagation changes how ReLUs pass gradients back, and this network has none.")
    return torch.autograd.grad(score.sum(), pixels)[0]


def integrated_gradients(
    network: nn.Module, x: Tensor, target: Target, *, steps: int, told: Told
) -> tuple[Tensor, Tensor]:
    """Return (B, C, H, W) and, (B,), by how much its sum misses the change of the score from the baseline to the image.

    (x - x₀) ⊙ the mean gradient on the straight way from x₀ to x, with Gauss-Legendre's rule. Sundararajan, Taly, Yan:
    "Axiomatic attribution for deep networks", ICML 2017, eq. 1. The baseline x₀ is the zero of the normalised image,
    its mean colour. By captum. Raises MissingPartError where that is not installed.
    """
    need("explain", "captum")
    from captum.attr import IntegratedGradients

    forward = _Scoring(network, target)
    parts, misses = [], []
    with in_eval_mode(network):
        for image in range(len(x)):
            forward.image = image
            part, miss = IntegratedGradients(forward).attribute(
                x[image : image + 1].detach().clone().requires_grad_(),
                baselines=0,
                n_steps=steps,
                internal_batch_size=AT_ONCE,
                return_convergence_delta=True,
            )
            parts.append(part.detach().float())
            misses.append(miss.detach().float())
            told(steps)
    return torch.cat(parts), torch.cat(misses)


def smooth_grad(network: nn.Module, x: Tensor, target: Target, *, samples: int, seed: int, told: Told) -> Tensor:
    """Return (B, C, H, W): the mean gradient of the score by the pixels of `samples` noisy copies of the image.

    Smilkov et al.: "SmoothGrad: removing noise by adding noise", 2017, eq. 1, with a noise of 15 % of the image's
    range. By captum. Raises MissingPartError where that is not installed.
    """
    need("explain", "captum")
    from captum.attr import NoiseTunnel, Saliency

    forward = _Scoring(network, target)
    parts = []
    with in_eval_mode(network), torch.random.fork_rng(devices=[]):
        for image in range(len(x)):
            torch.manual_seed(seed)
            forward.image = image
            pixels = x[image : image + 1].detach().clone()
            noise = NOISE * float(pixels.max() - pixels.min())
            part = NoiseTunnel(Saliency(forward)).attribute(
                pixels.requires_grad_(),
                nt_type="smoothgrad",
                nt_samples=samples,
                nt_samples_batch_size=AT_ONCE,
                stdevs=noise,
                abs=False,
            )
            parts.append(part.detach().float())
            told(samples)
    return torch.cat(parts)


class _Scoring:
    """The score of variants of one image, as captum asks for it."""

    def __init__(self, network: nn.Module, target: Target) -> None:
        self.network, self.target, self.image = network, target, 0

    def __call__(self, x: Tensor) -> Tensor:
        return self.target.of(self.image, len(x)).score(self.network(x))


class _Guiding(TorchFunctionMode):
    """Puts guided ReLUs in the place of whatever computes a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.relus = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        clipped = func is F.hardtanh and (*args[1:3], given.get("min_val"), given.get("max_val"))[:2] == (
            0.0,
            CLIPPED_AT,
        )
        if func in RELUS or func is F.relu6 or clipped:
            self.relus += 1
            return _GuidedReLU.apply(args[0], torch.inf if func in RELUS else CLIPPED_AT)  # type: ignore[no-untyped-call]
        return func(*args, **given)


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, highest: float) -> Tensor:
        ctx.highest = highest
        ctx.save_for_backward(x)
        return x.clamp_min(0) if highest == torch.inf else x.clamp(0, highest)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,), positive = ctx.saved_tensors, gradients[0].clamp_min(0)
        if ctx.highest == torch.inf:
            return torch.ops.aten.threshold_backward(positive, x, 0), None
        return torch.ops.aten.hardtanh_backward(positive, x, 0.0, ctx.highest), None
