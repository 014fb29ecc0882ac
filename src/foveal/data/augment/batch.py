"""The augmentation of a batch of images: colours, then one move, then blur, noise and cutout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.data.augment.colour import Colours, Tone
from foveal.data.augment.draws import Draws, Lot
from foveal.data.augment.elastic import Elastic
from foveal.data.augment.geometry import Sampling, WholePixels, draw_moves
from foveal.data.augment.policy import Augment
from foveal.data.augment.texture import Blur, Cutout, Noise
from foveal.errors import UsageError

PART = 1 << 18  # numbers that are worked on at once by a CPU: they stay in its cache, twice as fast


@torch.no_grad()
def augment_batch(images: Tensor, policy: Augment, seeds: Tensor) -> Tensor:
    """Return uint8 `images` (B, H, W, C) augmented by `policy`, on their device; the images themselves when it is off.

    What happens to an image depends on its seed alone, of `seeds` int64 (B,): on a CPU it is the same to the bit
    alone and in any batch. `image_seeds` makes seeds. Colours change before the picture is moved, so that what
    `fill` leaves black is black. All is float32 until it is rounded once. UsageError for images or seeds of another
    kind. `policy.mixup` and `policy.cutmix` are `mix_batch`'s.
    """
    _check(images, seeds)
    if not policy.changes_images or not images.numel():
        return images
    plan = _plan(images, policy, seeds)
    count = len(images)
    step = max(1, PART // images[0].numel()) if images.device.type == "cpu" else count
    out = torch.empty_like(images, memory_format=torch.contiguous_format)
    for start in range(0, count, step):
        part = slice(start, start + step)
        x = images[part].permute(0, 3, 1, 2).contiguous()  # (b, C, H, W)
        torch.stack(plan.apply(x, part).unbind(1), 3, out=out[part])  # twice as fast as a permuted copy
    return out


@dataclass(frozen=True)
class Plan:
    """What is done to each image of a batch, everything drawn; None is left out."""

    tone: Tone | None
    colours: Colours | None
    move: WholePixels | Sampling | None
    blur: Blur | None
    noise: Noise | None
    cutout: Cutout | None

    def apply(self, x: Tensor, part: slice) -> Tensor:
        """Return uint8 `x` (b, C, H, W), the images of `part` of the batch, augmented."""
        if self.tone:
            x = self.tone(x, part)
        elif self.colours or self.blur or self.noise or isinstance(self.move, Sampling):
            x = x.float()
        for stage in (self.colours, self.move, self.blur, self.noise):
            if stage:
                x = stage(x, part)
        if x.dtype != torch.uint8:
            x = x.round_().clamp_(0, 255).to(torch.uint8)
        return self.cutout(x, part) if self.cutout else x


def _plan(images: Tensor, policy: Augment, seeds: Tensor) -> Plan:
    """Draw for each image what `policy` leaves to chance."""
    _, height, width, channels = images.shape
    device, draws = images.device, Draws(seeds)
    has_tone = policy.brightness or policy.contrast or policy.gamma
    has_colours = channels == 3 and (policy.saturation or policy.hue or policy.pca_colour)
    return Plan(
        tone=Tone(policy, draws) if has_tone else None,
        colours=Colours(policy, draws, device) if has_colours else None,
        move=_move(policy, draws, height, width, device) if policy.moves_pixels else None,
        blur=Blur(draws, policy.blur, device) if policy.blur else None,
        noise=Noise(draws, policy.noise, device) if policy.noise else None,
        cutout=Cutout(draws, policy.cutout, height, width, device) if policy.cutout else None,
    )


def _move(policy: Augment, draws: Draws, height: int, width: int, device: torch.device) -> WholePixels | Sampling:
    moves = draw_moves(policy, draws, height, width)
    if policy.keeps_whole_pixels:
        return WholePixels(policy, moves, height, width, device)
    keys = draws.keys(Lot.ELASTIC).to(device)
    elastic = Elastic(keys, policy.elastic, policy.elastic_sigma, height, width) if policy.elastic else None
    return Sampling(moves, elastic, height, width, policy.fill, device)


def _check(images: Tensor, seeds: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        kind = f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
        raise UsageError(f"Images to augment are uint8 (B, H, W, 1 or 3), not {kind}.")
    if seeds.dtype != torch.int64 or seeds.shape != images.shape[:1]:
        kind = f"{str(seeds.dtype).removeprefix('torch.')} of shape {tuple(seeds.shape)}"
        raise UsageError(f"Augmentation takes one int64 seed an image, {len(images)} of them, not {kind}.")
