"""How alike the stages of a network are in what they tell of images: linear centred kernel alignment (CKA)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.explanation.capture import capture
from foveal.explanation.colours import heat
from foveal.explanation.lettering import Font, font, lines, written
from foveal.models.anatomy import inspect_network

FEWEST = 4  # images in a batch: the unbiased estimate divides by n - 3
SAME = 1e-6  # of the largest value, up to which a difference is rounding
CELL, MARGIN, LINE = 52, 20, 17


@dataclass(frozen=True, eq=False)
class Similarity:
    """The linear CKA between every two stages: 1 is the same up to rotation and scale, 0 unrelated."""

    stages: tuple[str, ...]
    values: np.ndarray  # (stages, stages) float64; an estimate may lie a little below 0
    images: int
    batches: int

    def picture(self) -> Image.Image:
        """Return the values as a labelled picture in the colours of `heat`, the numbers written into the cells."""
        small, large = font(12), font(17)
        count = len(self.stages)
        name = int(max(small.getlength(written(one)) for one in self.stages)) + 8
        left, top = MARGIN + name, MARGIN + 3 * LINE + name
        width = max(left + count * CELL + MARGIN, 420)
        note = (
            f"Linear CKA over {self.images:,} images in {self.batches:,} batches, without bias. "
            "1: the same but for rotation and scale; 0: unrelated."
        )
        foot = lines(note, width - 2 * MARGIN, small)
        page = Image.new("RGB", (width, top + count * CELL + MARGIN + len(foot) * LINE), "#ffffff")
        draw = ImageDraw.Draw(page)
        draw.text((MARGIN, MARGIN), "How alike the stages are", fill="#1a1a1a", font=large)
        colours = heat(np.nan_to_num(self.values))
        for row, own in enumerate(self.stages):
            y = top + row * CELL
            draw.text((left - 8, y + CELL / 2), written(own), fill="#1a1a1a", font=small, anchor="rm")
            page.paste(_upright(written(own), small), (left + row * CELL + CELL // 2 - LINE // 2, top - name))
            for column, value in enumerate(self.values[row]):
                x, colour = left + column * CELL, colours[row, column]
                draw.rectangle((x, y, x + CELL - 2, y + CELL - 2), fill=tuple(colour.tolist()))
                ink = "#000000" if colour @ np.array([0.3, 0.59, 0.11]) > 128 else "#ffffff"
                words = "-" if np.isnan(value) else f"{value:.2f}"
                draw.text((x + CELL / 2 - 1, y + CELL / 2 - 1), words, fill=ink, font=small, anchor="mm")
        for at, words in enumerate(foot):
            draw.text((MARGIN, top + count * CELL + MARGIN // 2 + at * LINE), words, fill="#595959", font=small)
        return page


def similarity(
    network: nn.Module,
    image: tuple[int, int, int],
    batches: Iterable[np.ndarray],
    *,
    normalise: Callable[[Tensor], Tensor],
) -> Similarity:
    """Return the linear CKA between all named stages of `network`, over batches of uint8 pixels (B, H, W, C).

    Kornblith, Norouzi, Lee, Hinton: "Similarity of neural network representations revisited", ICML 2019. Estimated
    batch by batch as by Nguyen, Raghu, Kornblith: "Do wide and deep networks learn the same things?", ICLR 2021,
    eqs. 2 and 3: the means of the unbiased HSIC of Song et al. (2012) over batches, then their ratio. No more than a
    batch is held. A map counts as the vector of all its values. Of a stage that is the same for all images, as a dead
    one, the CKA is not a number.

    Args:
        network: any torch module; left as it was found.
        image: the size (C, H, W) of the network's images.
        batches: the images; a batch of fewer than 4 is left out.
        normalise: makes of pixels (B, H, W, C) what the network takes (B, C, H, W).

    Raises:
        UsageError: when there is no batch of four images.
    """
    stages = [one for one in inspect_network(network, *image).stages if one.module]
    modules = [one.module for one in stages]
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    total, images, used = np.zeros((len(stages), len(stages))), 0, 0
    for pixels in batches:
        if len(pixels) < FEWEST:
            continue
        with capture(network, *modules) as captured:
            network(normalise(torch.from_numpy(np.ascontiguousarray(pixels)).to(device)))
            kernels = [_kernel(captured[module]) for module in modules]
        total += _unbiased_hsic(np.stack(kernels))
        images, used = images + len(pixels), used + 1
    if not used:
        raise UsageError(f"The likeness of stages takes batches of at least {FEWEST} images.")
    own = np.diag(total)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = total / np.sqrt(np.outer(own, own))
    return Similarity(tuple(one.name for one in stages), values, images, used)


def _kernel(x: Tensor) -> np.ndarray:
    """Return the products (B, B) float64 of the centred outputs (B, …) of a stage."""
    rows = x.flatten(1).double()
    largest = rows.abs().max()
    rows = rows - rows.mean(0)  # changes no HSIC, and keeps its differences from drowning in large means
    if rows.abs().max() <= SAME * largest:
        rows = torch.zeros_like(rows)
    products: np.ndarray = (rows @ rows.T).cpu().numpy()
    return products


def _unbiased_hsic(kernels: np.ndarray) -> np.ndarray:
    """Return the unbiased HSIC (S, S) between `kernels` (S, n, n): Song et al. 2012, eq. 5."""
    n = kernels.shape[1]
    hollow = kernels * (1 - np.eye(n))
    sums = hollow.sum(2)  # (S, n)
    totals = sums.sum(1)
    flat = hollow.reshape(len(hollow), -1)
    terms = flat @ flat.T + np.outer(totals, totals) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (sums @ sums.T)
    result: np.ndarray = terms / (n * (n - 3))
    return result


def _upright(text: str, letters: Font) -> Image.Image:
    """Return `text` to be read from below."""
    picture = Image.new("RGB", (int(letters.getlength(text)) + 8, LINE), "#ffffff")
    ImageDraw.Draw(picture).text((8, 1), text, fill="#1a1a1a", font=letters)
    return picture.rotate(90, expand=True)
