"""Images that excite a unit most, made by gradient ascent on the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.errors import UsageError
from foveal.explanation.capture import capture
from foveal.explanation.sheets import Tile, sheets
from foveal.explanation.stages import module_of

AT_ONCE = 16  # images in a pass
NOISE = 0.05  # of the first image, around the mean colour, in standard deviations
BLUR_EVERY = 4  # steps
REACH = 3.0  # standard deviations of a blur's kernel to each side


@dataclass(frozen=True)
class Ascent:
    """How the images are made; each of the regularisers is off at 0."""

    steps: int = 128
    rate: float = 0.1  # of the first step, in the normalised pixels' unit; it falls to a tenth, and the decay with it
    jitter: float = 1 / 32  # share of the shorter side by which the image is shifted before a pass, at most
    blur: float = 0.5  # standard deviation in pixels of a blur, after every fourth step (`BLUR_EVERY`)
    decay: float = 0.01  # share by which the first step draws the pixels to the mean colour: L2

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0:
            raise UsageError("An ascent takes one step or more, at a rate above 0.")
        if not 0 <= self.jitter <= 1 or not 0 <= self.blur <= 8 or not 0 <= self.decay < 1:
            raise UsageError("jitter is a share from 0 to 1, blur from 0 to 8 pixels, and decay from 0 to below 1.")

    def __str__(self) -> str:
        parts = [f"{self.steps} steps of gradient ascent"]
        parts += [f"jitter of up to {self.jitter:.1%} of the side"] if self.jitter else []
        parts += [f"a blur of {self.blur:g} pixels every {BLUR_EVERY} steps"] if self.blur else []
        parts += [f"L2 decay of {self.decay:g} a step"] if self.decay else []
        return ", ".join(parts) + ("" if len(parts) > 1 else ", no regularisation")


@dataclass(frozen=True, eq=False)
class Maximised:
    """The images found for some units of a stage."""

    stage: str  # empty: the units are classes, excited by their logits
    units: tuple[int, ...]
    images: np.ndarray  # (units, H, W, C) uint8
    before: np.ndarray  # (units,) float32: how much the image that it began with excites the unit
    reached: np.ndarray  # (units,) float32: and the image found
    ascent: Ascent
    seed: int

    def tiles(self, names: Sequence[str] = ()) -> list[Tile]:
        """Return the images, each with its unit and by how much it excites it; `names` are the classes."""
        return [
            Tile(
                picture,
                f"{self.name(unit, names)}\n{start:.2g} to {end:.2g}",
                alarm="" if end > start else "could not be excited",
            )
            for unit, picture, start, end in zip(self.units, self.images, self.before, self.reached, strict=True)
        ]

    def name(self, unit: int, names: Sequence[str]) -> str:
        """Return what a unit is called."""
        if self.stage:
            return f"{self.stage} · channel {unit}"
        return names[unit] if names else f"class {unit}"

    def sheets(self, names: Sequence[str] = ()) -> list[Image.Image]:
        """Return the images on pages; `names` are the classes."""
        what = "mean activation" if self.stage else "logit"
        return sheets(
            self.tiles(names),
            heading=f"{self.stage or 'classes'}: images made to excite one {'channel' if self.stage else 'class'} each",
            note=f"{self.ascent}; seed {self.seed}. The numbers: the {what} at the start and at the end.",
            columns=4,
            side=224,
            most=16,
        )


def maximise(
    network: nn.Module,
    units: Sequence[int],
    image: tuple[int, int, int],
    *,
    stage: str | None = None,
    mean: Sequence[float],
    std: Sequence[float],
    ascent: Ascent | None = None,
    seed: int = 0,
) -> Maximised:
    """Return an image (C, H, W) for each of `units` that excites it most.

    What is raised is the mean of the channel's map, or the unit itself where the stage is a vector. The gradient of
    each image is divided by its root mean square, so that the rate means the same for every unit. Erhan, Bengio,
    Courville, Vincent: "Visualizing higher-layer features of a deep network", 2009. Regularised by jitter (Mordvintsev,
    Olah, Tyka: "Inceptionism", 2015), blur and L2 decay (Yosinski et al.: "Understanding neural networks through deep
    visualization", 2015); pixels stay within black and white. On a CPU the same seed gives the same image to the bit.

    Args:
        network: any torch module; left as it was found.
        units: channels of the stage, or classes.
        image: the size of the network's images.
        stage: a stage's name of the paper, or a module's; None is the logits, one a class.
        mean: of each channel, on the scale 0 to 1, by which images are normalised.
        std: the standard deviation of each channel, likewise.
        ascent: how.
        seed: of the first noise and of the jitter.

    Raises:
        UsageError: for a stage or a unit that there is not.
    """
    how = ascent or Ascent()
    if not units:
        raise UsageError("Say which units: numbers of channels, from 0.")
    module = None if stage is None else module_of(network, stage)
    climber = _Climber(network, module, how, torch.tensor(mean), torch.tensor(std))
    parts = [climber.climb(units[start : start + AT_ONCE], image, seed) for start in range(0, len(units), AT_ONCE)]
    pixels, before, reached = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return Maximised(stage or "", tuple(units), pixels, before, reached, how, seed)


class _Climber:
    """Gradient ascent for one stage; `module` None is what the network answers."""

    def __init__(self, network: nn.Module, module: str | None, how: Ascent, mean: Tensor, std: Tensor) -> None:
        self.network, self.module, self.how = network, module, how
        first = next(network.parameters(), mean)
        self.device = first.device
        self.mean, self.std = (one.float().view(1, -1, 1, 1).to(self.device) for one in (mean, std))
        self.darkest, self.brightest = -self.mean / self.std, (1 - self.mean) / self.std

    def climb(self, units: Sequence[int], image: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (units, H, W, C) uint8, and the activations (units,) that each began and ended with."""
        dice = torch.Generator().manual_seed(seed)
        x = self.within((NOISE * torch.randn(1, *image, generator=dice)).to(self.device)).repeat(len(units), 1, 1, 1)
        before = self.activations(x, units)[0].detach()
        for step in range(self.how.steps):
            shift = self.shift(dice, min(image[1:]))
            moved = x.roll(shift, (2, 3))
            _, gradient = self.activations(moved, units, graph=True)
            gradient = gradient.roll((-shift[0], -shift[1]), (2, 3))
            size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
            share = 1 - 0.9 * step / self.how.steps
            gradient = gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
            x = x * (1 - share * self.how.decay) + share * self.how.rate * gradient
            if self.how.blur and (step + 1) % BLUR_EVERY == 0 and step + 1 < self.how.steps:
                x = _blurred(x, self.how.blur)
            x = self.within(x)
        reached = self.activations(x, units)[0]
        pixels = ((x * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu(), before.cpu(), reached.cpu()

    def activations(self, x: Tensor, units: Sequence[int], *, graph: bool = False) -> tuple[Tensor, Tensor]:
        """Return by how much each image excites its unit (units,); with `graph` also the gradient of that by `x`."""
        pixels = x.detach().clone().requires_grad_(graph)
        modules = () if self.module is None else (self.module,)
        with capture(self.network, *modules, graph="whole" if graph else "none") as captured:
            logits = self.network(pixels)
            given = logits if self.module is None else captured[self.module]  # (units, K, …)
            if given.ndim not in (2, 4) or max(units) >= given.shape[1] or min(units) < 0:
                raise UsageError(self.refusal(given, units))
            chosen = given[torch.arange(len(units)), torch.tensor(units)]  # (units, …)
            activations = chosen.flatten(1).mean(1) if chosen.ndim > 1 else chosen
            gradient = torch.autograd.grad(activations.sum(), pixels)[0] if graph else torch.zeros_like(x)
        return activations.detach().float(), gradient

    def refusal(self, given: Tensor, units: Sequence[int]) -> str:
        """Return what is wrong with `units` for a stage that gave `given`."""
        where = "the answer" if self.module is None else f'"{self.module}"'
        if given.ndim not in (2, 4):
            return f"What {where} gives is neither a map nor a vector ({given.ndim} axes); choose another stage."
        wrong = next(one for one in units if not 0 <= one < given.shape[1])
        return f"There is no unit {wrong} in {where}, which has {given.shape[1]:,}: 0 to {given.shape[1] - 1}."

    def shift(self, dice: torch.Generator, side: int) -> tuple[int, int]:
        """Return by how many rows and columns an image of `side` pixels is moved."""
        most = round(self.how.jitter * side)
        rows, columns = torch.randint(-most, most + 1, (2,), generator=dice).tolist()
        return rows, columns

    def within(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, H, W) with every pixel between black and white."""
        return torch.minimum(torch.maximum(x, self.darkest), self.brightest)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Return `x` (B, C, H, W) blurred by a Gaussian of `sigma` pixels, its border repeated outwards."""
    reach = min(max(1, math.ceil(REACH * sigma)), *(side - 1 for side in x.shape[2:])) if min(x.shape[2:]) > 1 else 0
    places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = torch.softmax(-places.square() / (2 * sigma**2), 0)
    channels = x.shape[1]
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
