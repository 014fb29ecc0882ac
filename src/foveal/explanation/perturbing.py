"""Explanations from answers alone: part of the image is covered, and one looks what becomes of the score.

They need no gradient, so any engine will do. What covers is the zero of the normalised image, its mean colour. Each
function returns maps (B, …) and calls `told` with the number of images just asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.explanation.ask import Ask
from foveal.explanation.target import Target

AT_ONCE = 64  # covered images in memory
GRID, SHOWN = 7, 0.5  # of RISE's masks: cells a side, and the probability that a cell is seen


def occlusion(ask: Ask, x: Tensor, target: Target, *, window: int, stride: int, told: Callable[[int], None]) -> Tensor:
    """Return (B, H, W): how much the score falls, on average over the covering windows, where a pixel is covered.

    Zeiler, Fergus: "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2. Deviations: the
    fall of the logit, not the probability that is left; each pixel has the mean over all windows that cover it.
    """
    height, width = x.shape[2:]
    places = [(top, left) for top in _starts(height, window, stride) for left in _starts(width, window, stride)]
    total, covering = torch.zeros(len(x), height, width), torch.zeros(height, width)
    for top, left in places:
        covering[top : top + window, left : left + window] += 1
    for image in range(len(x)):
        whole = target.of(image).score(ask(x[image : image + 1]))  # (1,)
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            covered = x[image].repeat(len(part), 1, 1, 1)  # (n, C, H, W)
            for at, (top, left) in enumerate(part):
                covered[at, :, top : top + window, left : left + window] = 0
            fall = (whole - target.of(image, len(part)).score(ask(covered))).cpu()  # (n,)
            for (top, left), one in zip(part, fall, strict=True):
                total[image, top : top + window, left : left + window] += one
            told(len(part))
    return total / covering


def occlusion_count(size: tuple[int, int], window: int, stride: int) -> int:
    """Return how many windows `occlusion` covers in an image of `size` (H, W)."""
    return len(_starts(size[0], window, stride)) * len(_starts(size[1], window, stride))


def _starts(side: int, window: int, stride: int) -> range:
    return range(0, math.ceil(max(side - window, 0) / stride) * stride + 1, stride)


def rise(ask: Ask, x: Tensor, target: Target, *, samples: int, seed: int, told: Callable[[int], None]) -> Tensor:
    """Return (B, H, W): the mean of random masks, weighted by the class's probability where only they are seen.

    S = Σ p(x ⊙ m) m / (n · E[m]). Petsiuk, Das, Saenko: "RISE: Randomized input sampling for explanation of black-box
    models", BMVC 2018, eq. 6 and section 3.2 (masks of 7×7 cells, each seen with probability 0.5, enlarged and moved).
    The same masks serve all images of the batch. No deviation.
    """
    total = torch.zeros(len(x), *x.shape[2:])
    for masks in rise_masks(x.shape[2], x.shape[3], samples, seed):  # (n, H, W)
        for image in range(len(x)):
            logits = ask(x[image] * masks[:, None].to(x.device))
            total[image] += torch.einsum("n,nhw->hw", target.of(image, len(masks)).probability(logits).cpu(), masks)
            told(len(masks))
    return total / (samples * SHOWN)


def rise_masks(height: int, width: int, samples: int, seed: int) -> Iterator[Tensor]:
    """Yield RISE's masks (n, height, width), 0 to 1, `samples` in all."""
    chance = torch.Generator().manual_seed(seed)
    rows, columns = math.ceil(height / GRID), math.ceil(width / GRID)  # of a cell, in pixels
    size = (GRID + 1) * rows, (GRID + 1) * columns
    for start in range(0, samples, AT_ONCE):
        count = min(AT_ONCE, samples - start)
        seen = (torch.rand(count, 1, GRID, GRID, generator=chance) < SHOWN).float()
        down = torch.randint(rows, (count,), generator=chance).tolist()
        right = torch.randint(columns, (count,), generator=chance).tolist()
        large = F.interpolate(seen, size, mode="bilinear", align_corners=False)[:, 0]
        yield torch.stack(
            [one[top : top + height, left : left + width] for one, top, left in zip(large, down, right, strict=True)]
        )


def score_cam(ask: Ask, x: Tensor, target: Target, activations: Tensor, *, told: Callable[[int], None]) -> Tensor:
    """Return (B, h, w): ReLU(Σₖ wₖ Aₖ), wₖ = softmaxₖ of the score of the image seen through Aₖ alone.

    Wang et al.: "Score-CAM: Score-weighted visual explanations for convolutional neural networks", CVPRW 2020, with
    each map enlarged and brought to 0 … 1 as mask. Deviation, which the usual implementation shares: the score is the
    logit, and that of the empty image, the same for all maps, is not subtracted. Maps without any contrast, whose
    masks are empty, are asked once.
    """
    large = activations.shape[2:] != x.shape[2:]
    maps = []
    for image, own in enumerate(activations):  # (K, h, w)
        lowest, highest = own.amin(dim=(1, 2)), own.amax(dim=(1, 2))
        lively = torch.nonzero(highest > lowest)[:, 0]
        blank = target.of(image).score(ask(torch.zeros_like(x[image : image + 1])))
        scores = blank.cpu().repeat(len(own))  # (K,)
        for part in torch.split(lively, AT_ONCE):
            masks = own[part][:, None]  # (n, 1, h, w)
            if large:
                masks = F.interpolate(masks, x.shape[2:], mode="bilinear", align_corners=True)
            low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
            seen = x[image] * ((masks - low) / (high - low + 1e-8)).to(x.device)  # (n, C, H, W)
            scores[part.cpu()] = target.of(image, len(part)).score(ask(seen)).cpu()
            told(len(part))
        weights = torch.softmax(scores.to(own.device), dim=0)
        maps.append(torch.relu(torch.einsum("k,khw->hw", weights, own)))
    return torch.stack(maps)
