"""Explainers beside their peers, pytorch-grad-cam, captum and RISE's published way: the same network, images, method.

One batched call each, in turns, the best of several; the ratio is the peer's time over ours, and beside it stands how
far the maps are apart after the same normalisation. First of all: what Grad-CAM costs beside a forward and backward
pass to the stage, which is the least that it can cost.

    pip install 'foveal[explain,openvino]'
    pip install --no-deps torchvision==0.28.0 grad-cam==1.5.7 ttach opencv-python-headless
    python bench/explain.py [--network resnet18] [--images 4]

Score-CAM, RISE and occlusion are asked by OpenVINO where it is installed, as Foveal does; the time to open it counts.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.explanation import cam, gradients, perturbing
from foveal.explanation.ask import ask_fast, ask_torch
from foveal.explanation.methods import enlarged
from foveal.explanation.stages import find_stage
from foveal.explanation.target import Target
from foveal.models.catalog import create_model
from torchvision_operators import declare_operators

RISE_MASKS, STEPS, COPIES, WINDOW, SIDE = 500, 16, 8, 32, 224


def best(calls: list[Callable[[], Any]], repeats: int) -> tuple[list[float], list[Any]]:
    """Return the shortest time of each call, run in turns, and what each gave."""
    times, results = [np.inf] * len(calls), list[Any]([None] * len(calls))
    for _ in range(repeats):
        for at, call in enumerate(calls):
            start = time.perf_counter()
            results[at] = call()
            times[at] = min(times[at], time.perf_counter() - start)
    return times, results


def normalised(maps: object) -> np.ndarray:
    """Return maps (B, H, W) from 0 to 1 each."""
    array = np.asarray(maps.detach() if isinstance(maps, Tensor) else maps, np.float32)
    array = array - array.min(axis=(1, 2), keepdims=True)
    scaled: np.ndarray = array / (1e-7 + array.max(axis=(1, 2), keepdims=True))
    return scaled


def published_rise(network: nn.Module, x: Tensor, classes: Tensor, masks: Tensor) -> Tensor:
    """Return RISE's maps as its published code makes them: masked images in batches of 100 through the network."""
    maps = []
    with torch.no_grad():
        for image, number in zip(x, classes, strict=True):
            stack = masks[:, None] * image
            p = torch.cat([torch.softmax(network(part), dim=1) for part in torch.split(stack, 100)])
            maps.append((p[:, number] @ masks.flatten(1)).view(masks.shape[1:]) / len(masks) / 0.5)
    return torch.stack(maps)


def plain_gradcam_cost(network: nn.Module, x: Tensor, classes: Tensor, module: str, repeats: int) -> None:
    """Print the time of Grad-CAM beside that of a forward and backward pass to the stage."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()

    def passes() -> None:
        handle = network.get_submodule(module).register_forward_hook(keep)
        with torch.no_grad():
            logits = network(x)
        handle.remove()
        torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept.pop())

    def ours() -> object:
        return enlarged(cam.gradient_cam(network, x, Target(classes), module), *x.shape[2:])

    (least, own), _ = best([passes, ours], repeats)
    print(f"Grad-CAM {own:.4f} s, forward and backward to the stage {least:.4f} s: {own / least:.2f} times")


@dataclass(frozen=True, eq=False)
class Setting:
    """The same network twice, as ours and as a user of the peers has it, with the same images and classes."""

    network: nn.Module
    theirs: nn.Module
    ours_x: Tensor  # channels last in memory, as Foveal's preprocessing gives them
    x: Tensor
    classes: Tensor
    module: str
    repeats: int

    @property
    def target(self) -> Target:
        return Target(self.classes)

    def row(
        self, method: str, peer: str, ours: Callable[[], object], other: Callable[[], object], repeats: int = 1
    ) -> None:
        """Print one line of the table."""
        (own, his), (mine, yours) = best([ours, other], repeats)
        apart = np.abs(normalised(mine) - normalised(yours)).max()
        print(f"{method:24}{peer:18}{own:9.3f}{his:9.3f}{his / own:8.2f}  {apart:.1e}", flush=True)


def told(_: int) -> None:
    """Show no progress."""


def class_activation_maps(all_: Setting) -> None:
    """Print the rows of pytorch-grad-cam's methods."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    pytorch_grad_cam.score_cam.tqdm.tqdm = lambda steps: steps  # its bar is no part of the work
    targets = [ClassifierOutputTarget(number) for number in all_.classes.tolist()]

    def peer(name: str) -> Callable[[], object]:
        return lambda: getattr(pytorch_grad_cam, name)(all_.theirs, [all_.theirs.get_submodule(all_.module)])(
            all_.x, targets
        )

    def ours(name: str) -> Callable[[], object]:
        return lambda: enlarged(cam.gradient_cam(all_.network, all_.ours_x, all_.target, all_.module, name), SIDE, SIDE)

    for name, other in (
        ("gradcam", "GradCAM"),
        ("gradcam++", "GradCAMPlusPlus"),
        ("hirescam", "HiResCAM"),
        ("layercam", "LayerCAM"),
    ):
        all_.row(name, "pytorch-grad-cam", ours(name), peer(other), all_.repeats)

    def eigen() -> object:
        return enlarged(cam.eigen_cam(cam.activations_of(all_.network, all_.ours_x, all_.module)[0]), SIDE, SIDE)

    all_.row("eigencam (any sign)", "pytorch-grad-cam", eigen, peer("EigenCAM"), all_.repeats)

    def score() -> object:
        activations, _ = cam.activations_of(all_.network, all_.ours_x, all_.module)
        ask = ask_fast(all_.network, all_.ours_x, len(all_.x) * activations.shape[1])
        return enlarged(perturbing.score_cam(ask, all_.ours_x, all_.target, activations, told=told), SIDE, SIDE)

    all_.row("scorecam", "pytorch-grad-cam", score, peer("ScoreCAM"))


def from_answers(all_: Setting) -> None:
    """Print the rows of the methods that need answers only."""
    from captum.attr import Occlusion

    def rise() -> object:
        ask = ask_fast(all_.network, all_.ours_x, len(all_.x) * RISE_MASKS)
        return perturbing.rise(ask, all_.ours_x, all_.target, samples=RISE_MASKS, seed=0, told=told)

    masks = torch.cat([*perturbing.rise_masks(SIDE, SIDE, RISE_MASKS, 0)])
    published = lambda: published_rise(all_.theirs, all_.x, all_.classes, masks)  # noqa: E731
    all_.row(f"rise, {RISE_MASKS} masks", "published way", rise, published)

    def occlude() -> object:
        count = perturbing.occlusion_count((SIDE, SIDE), WINDOW, WINDOW // 2)
        ask = ask_fast(all_.network, all_.ours_x, len(all_.x) * count)
        return perturbing.occlusion(ask, all_.ours_x, all_.target, window=WINDOW, stride=WINDOW // 2, told=told)

    def captum() -> object:
        shapes, strides = (3, WINDOW, WINDOW), (3, WINDOW // 2, WINDOW // 2)
        found = Occlusion(all_.theirs).attribute(
            all_.x, sliding_window_shapes=shapes, strides=strides, target=all_.classes
        )
        return found[:, 0]

    all_.row("occlusion", "captum", occlude, captum)


def from_pixels(all_: Setting) -> None:
    """Print the rows of the methods that differentiate by the pixels."""
    from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency

    network, theirs, target = all_.network, all_.theirs, all_.target
    guided = GuidedBackprop(once_each(theirs))
    all_.row(
        "guided-backprop",
        "captum",
        lambda: gradients.guided_backpropagation(network, all_.ours_x, target).abs().amax(dim=1),
        lambda: guided.attribute(all_.x, target=all_.classes).abs().amax(dim=1),
        all_.repeats,
    )
    path, noisy = IntegratedGradients(theirs), NoiseTunnel(Saliency(theirs))
    at_once, noise = gradients.AT_ONCE, gradients.NOISE * float(all_.x.max() - all_.x.min())
    all_.row(
        "integrated-gradients",
        "captum",
        lambda: gradients.integrated_gradients(network, all_.ours_x, target, steps=STEPS, told=told)[0].sum(dim=1),
        lambda: path.attribute(all_.x, target=all_.classes, n_steps=STEPS, internal_batch_size=at_once).sum(dim=1),
        2,
    )
    all_.row(
        "smoothgrad (by chance)",
        "captum",
        lambda: gradients.smooth_grad(network, all_.ours_x, target, samples=COPIES, seed=0, told=told).amax(dim=1),
        lambda: noisy.attribute(all_.x, target=all_.classes, nt_samples=COPIES, stdevs=noise, abs=False).amax(dim=1),
        2,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    declare_operators()
    torch.manual_seed(0)
    network = create_model(options.network)
    x = torch.randn(options.images, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    for norm in network.modules():  # running figures as after training
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
            norm.reset_running_stats()
    with torch.no_grad():
        network.train()(x)
    network.eval()
    theirs = copy.deepcopy(network)
    for one in theirs.modules():
        if hasattr(one, "inplace"):
            one.__dict__["inplace"] = False  # which the peers' hooks do not survive
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as every classifier of ours is loaded
    ours_x = x.contiguous(memory_format=torch.channels_last)
    classes = ask_torch(network)(x).argmax(dim=1)
    module = find_stage(network, None, (3, SIDE, SIDE)).module
    threads = torch.get_num_threads()
    print(f"{options.network}, {options.images} images of {SIDE}×{SIDE}, {threads} threads, torch {torch.__version__}")
    plain_gradcam_cost(network, ours_x, classes, module, 4 * options.repeats)
    print(f"\n{'method':24}{'peer':18}{'ours s':>9}{'peer s':>9}{'ratio':>8}  maps apart by")
    all_ = Setting(network, theirs, ours_x, x, classes, module, options.repeats)
    class_activation_maps(all_)
    from_answers(all_)
    from_pixels(all_)


class Alternating(nn.Module):
    """Two modules in the place of one that is called twice, for captum's guided backpropagation."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.turn = nn.ReLU(), nn.ReLU(), 0

    def forward(self, value: Tensor) -> Tensor:
        self.turn = 1 - self.turn
        answer: Tensor = self.one(value) if self.turn else self.other(value)
        return answer


def once_each(network: nn.Module) -> nn.Module:
    """Return a copy in which a ReLU that a residual block calls twice is two."""
    clone = copy.deepcopy(network)
    for block in clone.modules():
        if isinstance(getattr(block, "relu", None), nn.ReLU) and hasattr(block, "conv2"):
            block.relu = Alternating()
    return clone


if __name__ == "__main__":
    main()
