"""A few pixels aside: whether the answers stay, and whether the last feature map moves along."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn

from foveal.classifier import Classifier
from foveal.data.corruptions import moved
from foveal.engines.eval_mode import in_eval_mode
from foveal.errors import FovealError
from foveal.evaluation.robustness import MapShifted, Shifted, logit_change, measure_map, measure_shift
from foveal.models.anatomy import inspect_network
from foveal.progress import Stage
from foveal.workflows.own_images import OwnImages

SMALLEST_MAP = 4  # cells a side: on a smaller one a shift leaves little to compare
MOST_CELLS = 2
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


class Asked:
    """The classifier, with the count of images that it has answered and the time that it took."""

    def __init__(self, classifier: Classifier, stage: Stage) -> None:
        self.classifier, self.stage = classifier, stage
        decisions = classifier.decisions
        self.abstains = decisions.gate is not None or decisions.sets is not None
        self.count, self._began = 0, time.perf_counter()

    @property
    def rate(self) -> float:
        """Images a second since the beginning, their damage included."""
        return self.count / max(time.perf_counter() - self._began, 1e-9)

    def counted(self, images: int, doing: str) -> None:
        """Count so many images more, and show it."""
        self.count += images
        self.stage.advance(images, info=f"{doing}  {self.rate:,.0f} images/s")

    def answers(self, pixels: np.ndarray, doing: str) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (N, C), and whether it abstains (N,) bool."""
        said = self.classifier.answer(pixels)
        self.counted(len(pixels), doing)
        return said.probabilities, said.abstained != ""

    def logits(self, pixels: np.ndarray, doing: str) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and logits, each (N, C)."""
        raw = self.classifier.raw(pixels)
        self.counted(len(pixels), doing)
        return self.classifier.decisions.calibrated(raw.probabilities), raw.logits


def check_shifts(asked: Asked, test: OwnImages, rows: np.ndarray, distances: range) -> tuple[Shifted, ...]:
    """Return what the images at `rows` are answered when they are moved up, down, left and right."""
    pixels, labels, units = test.pixels[rows], test.labels[rows], test.units[rows]
    still, still_logits = asked.logits(pixels, "shifts")
    found = []
    for distance in distances:
        doing = f"shift by {distance} {'pixel' if distance == 1 else 'pixels'}"
        said = [asked.logits(moved(pixels, distance * y, distance * x), doing) for y, x in DIRECTIONS]
        change = logit_change(still_logits, [logits for _, logits in said])
        found.append(measure_shift(distance, labels, units, still, [one for one, _ in said], change))
    return tuple(found)


def check_maps(classifier: Classifier, pixels: np.ndarray) -> tuple[MapShifted, ...]:
    """Return how the last feature map of a useful size moves along with the images; nothing where there is none."""
    preprocess = classifier.preprocess
    place = _last_map(classifier.network, (preprocess.channels, preprocess.height, preprocess.width))
    if place is None:
        return ()
    name, stride = place
    still = _map_of(classifier, name, pixels)
    if still is None:
        return ()

    def moved_map(down: int, across: int) -> np.ndarray:
        there = _map_of(classifier, name, moved(pixels, down * stride, across * stride))
        return np.empty((0, 0, 0, 0)) if there is None else there

    found = []
    for cells in range(1, MOST_CELLS + 1):
        errors = measure_map(still, moved_map, cells)
        if errors is not None:
            shape = "×".join(map(str, still.shape[1:]))
            found.append(MapShifted(name, stride, shape, cells, *errors))
    return tuple(found)


def _last_map(network: nn.Module, shape: tuple[int, int, int]) -> tuple[str, int] | None:
    """Return the last layer with a map of `SMALLEST_MAP` cells a side or more, and its stride; None without one."""
    try:
        layers = inspect_network(network, *shape).layers
    except (FovealError, RuntimeError):  # a network of others that cannot be followed
        return None
    modules = dict(network.named_modules())
    for layer in reversed(layers):
        sides = layer.output.split("×")
        square = layer.stride is not None and layer.stride[0] == layer.stride[1]
        if square and len(sides) == 3 and layer.name in modules and min(map(int, sides[1:])) >= SMALLEST_MAP:
            assert layer.stride is not None
            return layer.name, layer.stride[0]
    return None


@torch.inference_mode()
def _map_of(classifier: Classifier, name: str, pixels: np.ndarray) -> np.ndarray | None:
    """Return what the module called `name` makes of `pixels`, (N, C, h, w); None where that is no map."""
    network = classifier.network
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):
            kept.append(output.detach().float().cpu().clone())  # what follows may work in place

    handle = network.get_submodule(name).register_forward_hook(keep)
    try:
        with in_eval_mode(network):
            device = next(network.parameters()).device
            network(classifier.preprocess.normalise(torch.from_numpy(pixels).to(device)))
    finally:
        handle.remove()
    return kept[-1].numpy() if kept and kept[-1].ndim == 4 else None
