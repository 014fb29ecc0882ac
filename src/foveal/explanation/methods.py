"""The explainers: what each one is called, what it needs, and how it is run. One line a method in METHODS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foveal.engines.kinds import TORCH
from foveal.errors import UsageError, nearest
from foveal.explanation import cam, gradients, perturbing
from foveal.explanation.ask import Ask
from foveal.explanation.stages import Place, find_stage
from foveal.explanation.target import Target

Needs = Literal["gradients", "maps", "answers"]

MOST_SEED = 1 << 32


@dataclass(frozen=True)
class Settings:
    """What can be chosen of an explanation; None is the method's own default."""

    stage: str | int | None = None  # of class activation maps; None: the last map before pooling
    samples: int | None = None  # masks of RISE, noisy copies of SmoothGrad, steps of integrated gradients
    window: int | None = None  # of occlusion, in pixels: a seventh of the shorter side
    stride: int | None = None  # of occlusion: half the window
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "window", "stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"The {name} of an explanation are one or more, not {value}.")
        if not 0 <= self.seed < MOST_SEED:
            raise UsageError(f"The seed of an explanation is a number from 0 to {MOST_SEED - 1:,}, not {self.seed}.")


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to explain: with its inside where `network` is there, else by its answers alone."""

    network: nn.Module | None
    ask: Callable[[Tensor, int], Ask]  # images like those that will be asked, and how many → what answers soonest
    engine: str = TORCH

    def opened(self, method: str, needs: Needs) -> nn.Module:
        """Return the network; UsageError where only its answers can be had."""
        if self.network is None:
            raise UsageError(
                f"{method} needs the {'gradients' if needs == 'gradients' else 'maps'} of a network, which the engine "
                f"{self.engine} does not give; take occlusion or rise, or the engine {TORCH}."
            )
        return self.network


@dataclass(frozen=True, eq=False)
class Found:
    """What a method gives for a batch: maps (B, h, w), of the image's size or coarser, and what it took for them."""

    maps: Tensor
    place: Place | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Question:
    """What a method is asked: why `subject` gives images `x` (B, C, H, W), normalised, their target's score."""

    subject: Subject
    x: Tensor
    target: Target
    settings: Settings
    told: Callable[[int], None] = lambda _: None  # the number of images that the network was just asked about

    def opened(self, method: str, needs: Needs) -> tuple[nn.Module, Place]:
        """Return the network and the stage whose maps are used; UsageError where one of them is not to be had."""
        network = self.subject.opened(method, needs)
        return network, find_stage(network, self.settings.stage, (self.x.shape[1], self.x.shape[2], self.x.shape[3]))

    def fixed(self, ask: Ask | None = None) -> Target:
        """Return the target with the classes that the network answers, where none was named."""
        if self.target.classes is not None:
            return self.target
        return self.target.fixed((ask or self.subject.ask(self.x, len(self.x)))(self.x))


Run = Callable[[Question], Found]


@dataclass(frozen=True)
class Method:
    """One explainer. `signed` maps tell what speaks against the class too, by values below zero."""

    name: str
    title: str
    source: str
    needs: Needs
    run: Run
    signed: bool = False
    caution: str = ""  # what is known against it, whatever the image

    @property
    def has_stage(self) -> bool:
        """Whether its map is made of a stage's maps, of which another can be chosen."""
        return self.name.endswith(("cam", "cam++"))

    @property
    def asks_often(self) -> bool:
        """Whether it asks the network a hundred times and more for a map."""
        return self.name in ("scorecam", "occlusion", "rise")

    @property
    def of_pixels(self) -> bool:
        """Whether its maps are as fine as the pixels, with values that change from one to the next."""
        return self.name in ("guided-backprop", "integrated-gradients", "smoothgrad")

    def passes(self, x: Tensor, settings: Settings, channels: int) -> int:
        """Return how many images the network is asked about for each of `x` (B, C, H, W), for progress; 0: few.

        `channels` are those of the stage.
        """
        if self.name == "occlusion":
            return perturbing.occlusion_count(_size(x), *occlusion_window(x, settings))
        asked = {"rise": MASKS, "integrated-gradients": STEPS, "smoothgrad": COPIES}
        if self.name in asked:
            return settings.samples or asked[self.name]
        return channels if self.name == "scorecam" else 0


MASKS, COPIES, STEPS = 1000, 25, 32


def _by_gradient(name: str) -> Run:
    def run(asked: Question) -> Found:
        network, place = asked.opened(BY_NAME[name].title, "gradients")
        return Found(cam.gradient_cam(network, asked.x, asked.target, place.module, name), place)

    return run


def _eigen_cam(asked: Question) -> Found:
    network, place = asked.opened("Eigen-CAM", "maps")
    return Found(cam.eigen_cam(cam.activations_of(network, asked.x, place.module)[0]), place)


def _score_cam(asked: Question) -> Found:
    network, place = asked.opened("Score-CAM", "maps")
    activations, logits = cam.activations_of(network, asked.x, place.module)
    ask = asked.subject.ask(asked.x, len(asked.x) * place.shape[0])
    maps = perturbing.score_cam(ask, asked.x, asked.target.fixed(logits), activations, told=asked.told)
    return Found(maps, place, {"engine": ask.engine})


def _guided(asked: Question) -> Found:
    network = asked.subject.opened("Guided backpropagation", "gradients")
    return Found(_largest(gradients.guided_backpropagation(network, asked.x, asked.target)))


def _integrated(asked: Question) -> Found:
    network, steps = asked.subject.opened("Integrated gradients", "gradients"), asked.settings.samples or STEPS
    found, misses = gradients.integrated_gradients(network, asked.x, asked.fixed(), steps=steps, told=asked.told)
    return Found(found.sum(dim=1), None, {"steps": steps, "largest_miss": float(misses.abs().max())})


def _smooth(asked: Question) -> Found:
    network, samples = asked.subject.opened("SmoothGrad", "gradients"), asked.settings.samples or COPIES
    seed = asked.settings.seed
    found = gradients.smooth_grad(network, asked.x, asked.fixed(), samples=samples, seed=seed, told=asked.told)
    return Found(_largest(found), None, {"copies": samples, "noise": gradients.NOISE, "seed": seed})


def _occlusion(asked: Question) -> Found:
    window, stride = occlusion_window(asked.x, asked.settings)
    ask = asked.subject.ask(asked.x, len(asked.x) * perturbing.occlusion_count(_size(asked.x), window, stride))
    maps = perturbing.occlusion(ask, asked.x, asked.fixed(ask), window=window, stride=stride, told=asked.told)
    return Found(maps, None, {"window": window, "stride": stride, "engine": ask.engine})


def _rise(asked: Question) -> Found:
    samples, seed = asked.settings.samples or MASKS, asked.settings.seed
    ask = asked.subject.ask(asked.x, len(asked.x) * samples)
    maps = perturbing.rise(ask, asked.x, asked.fixed(ask), samples=samples, seed=seed, told=asked.told)
    return Found(maps, None, {"masks": samples, "seed": seed, "engine": ask.engine})


OF_NO_CLASS = "Eigen-CAM shows what stands out in the maps; it is the same for every class."
OF_THE_IMAGE = "Guided backpropagation draws edges and depends little on what was learned (Adebayo et al. 2018)."

METHODS: tuple[Method, ...] = (
    Method("gradcam", "Grad-CAM", "Selvaraju et al. 2017", "gradients", _by_gradient("gradcam")),
    Method("gradcam++", "Grad-CAM++", "Chattopadhay et al. 2018", "gradients", _by_gradient("gradcam++")),
    Method("hirescam", "HiResCAM", "Draelos, Carin 2020", "gradients", _by_gradient("hirescam")),
    Method("layercam", "Layer-CAM", "Jiang et al. 2021", "gradients", _by_gradient("layercam")),
    Method("scorecam", "Score-CAM", "Wang et al. 2020", "maps", _score_cam),
    Method("eigencam", "Eigen-CAM", "Muhammad, Yeasin 2020", "maps", _eigen_cam, caution=OF_NO_CLASS),
    Method(
        "guided-backprop",
        "Guided backpropagation",
        "Springenberg et al. 2015",
        "gradients",
        _guided,
        caution=OF_THE_IMAGE,
    ),
    Method("integrated-gradients", "Integrated gradients", "Sundararajan et al. 2017", "gradients", _integrated, True),
    Method("smoothgrad", "SmoothGrad", "Smilkov et al. 2017", "gradients", _smooth),
    Method("occlusion", "Occlusion", "Zeiler, Fergus 2014", "answers", _occlusion, True),
    Method("rise", "RISE", "Petsiuk et al. 2018", "answers", _rise),
)
BY_NAME: Mapping[str, Method] = {method.name: method for method in METHODS}


def find_method(name: str) -> Method:
    """Return the method of this name or title, in whatever spelling; UsageError lists those that there are."""
    found = {_plain(known): one for one in METHODS for known in (one.name, one.title)}.get(_plain(name))
    if found is None:
        raise UsageError(f'There is no method "{name}"; choose {", ".join(BY_NAME)}.{nearest(name, BY_NAME)}')
    return found


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def occlusion_window(x: Tensor, settings: Settings) -> tuple[int, int]:
    """Return the side and the stride of occlusion's window; UsageError where it is larger than the image."""
    shorter = min(_size(x))
    window = settings.window or max(1, shorter // 7)
    if window > shorter:
        raise UsageError(f"A window of {window} pixels does not fit into an image of {x.shape[2]}×{x.shape[3]}.")
    stride = settings.stride or max(1, window // 2)
    if stride > window:
        raise UsageError(f"A stride of {stride} pixels leaves gaps between windows of {window}; take a smaller one.")
    return window, stride


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _largest(found: Tensor) -> Tensor:
    """Return the largest magnitude over the channels (B, H, W), as Simonyan et al. 2014 draw gradients."""
    return found.abs().amax(dim=1)


def enlarged(maps: Tensor, height: int, width: int) -> Tensor:
    """Return `maps` (B, h, w) at the size of the image (B, height, width), by bilinear interpolation."""
    if maps.shape[1:] == (height, width):
        return maps
    return torch.nn.functional.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
