"""Explainers beside their peers, pytorch-grad-cam, captum and RISE's published way: the same network, images, method.

One batched call each, in turns, the best of several; the ratio is the peer's time over ours, and beside it stands how far
the maps are apart after the same normalisation. First of all: what Grad-CAM costs beside a forward and backward pass to
the stage, which is the least that it can cost.

    pip install 'foveal[explain,openvino]'
    pip install --no-deps torchvision==0.28.0 grad-cam==1.5.7 ttach opencv-python-headless
    python bench/explain.py [--network resnet18] [--images 4]

Score-CAM, RISE and occlusion are asked by OpenVINO where it is installed, as Foveal does; the time to open it counts.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.explanation import cam, gradients, perturbing
from foveal.explanation.ask import ask_fast, ask_torch
from foveal.explanation.methods import enlarged
from foveal.explanation.stages import find_stage
from foveal.explanation.target import Target
from foveal.models.catalog import create_model

RISE_MASKS, STEPS, COPIES, WINDOW = 500, 16, 8, 32


def best(calls: list[Callable[[], object]], repeats: int) -> tuple[list[float], list[object]]:
    """Return the shortest time of each call, run in turns, and what each gave."""
    times, results = [np.inf] * len(calls), [None] * len(calls)
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
    return array / (1e-7 + array.max(axis=(1, 2), keepdims=True))


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
        return enlarged(cam.gradient_cams(network, x, Target(classes), module)["gradcam"], *x.shape[2:])

    (least, own), _ = best([passes, ours], repeats)
    print(
        f"Grad-CAM {own * 1000:.1f} ms, forward and backward to the stage {least * 1000:.1f} ms: {own / least:.2f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for operator in ("torchvision::nms", "torchvision::qnms"):
        with contextlib.suppress(RuntimeError):
            torch.library.define(operator, "(Tensor x) -> Tensor")
    import pytorch_grad_cam
    from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Occlusion, Saliency
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    pytorch_grad_cam.score_cam.tqdm.tqdm = lambda steps: steps  # its bar is no part of the work
    torch.manual_seed(0)
    network = create_model(options.network).eval()
    x = torch.randn(options.images, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    for module in network.modules():  # running figures as after training
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(x)
    network.eval()
    theirs = copy.deepcopy(network)
    for module in theirs.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # which the peers' hooks do not survive
    ours_x = x.contiguous(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)  # as every classifier of ours is loaded
    classes = ask_torch(network)(x).argmax(dim=1)
    place, target = find_stage(network, None, (3, 224, 224)), Target(classes)
    targets = [ClassifierOutputTarget(number) for number in classes.tolist()]
    print(
        f"{options.network}, {options.images} images of 224×224, {torch.get_num_threads()} threads, {os.uname().machine}"
    )
    plain_gradcam_cost(network, ours_x, classes, place.module, 4 * options.repeats)
    print(f"\n{'method':24}{'peer':18}{'ours s':>9}{'peer s':>9}{'ratio':>8}  maps apart by")

    def row(method: str, peer: str, ours: Callable[[], object], other: Callable[[], object], repeats: int) -> None:
        (own, his), (mine, yours) = best([ours, other], repeats)
        apart = np.abs(normalised(mine) - normalised(yours)).max()
        print(f"{method:24}{peer:18}{own:9.3f}{his:9.3f}{his / own:8.2f}  {apart:.1e}", flush=True)

    def told(_: int) -> None:
        return None

    def peer_cam(name: str) -> Callable[[], object]:
        return lambda: getattr(pytorch_grad_cam, name)(theirs, [theirs.get_submodule(place.module)])(x, targets)

    def our_cam(name: str) -> Callable[[], object]:
        return lambda: enlarged(cam.gradient_cams(network, ours_x, target, place.module, (name,))[name], 224, 224)

    for name, peer in (
        ("gradcam", "GradCAM"),
        ("gradcam++", "GradCAMPlusPlus"),
        ("hirescam", "HiResCAM"),
        ("layercam", "LayerCAM"),
    ):
        row(name, "pytorch-grad-cam", our_cam(name), peer_cam(name), options.repeats)

    def eigen() -> object:
        maps = cam.eigen_cam(cam.activations_of(network, ours_x, place.module)[0])
        return enlarged(maps, 224, 224)

    row("eigencam (any sign)", "pytorch-grad-cam", eigen, peer_cam("EigenCAM"), options.repeats)

    def score() -> object:
        activations, _ = cam.activations_of(network, ours_x, place.module)
        ask = ask_fast(network, ours_x, len(x) * activations.shape[1])
        return enlarged(perturbing.score_cam(ask, ours_x, target, activations, told=told), 224, 224)

    row("scorecam", "pytorch-grad-cam", score, peer_cam("ScoreCAM"), 1)

    def rise() -> object:
        ask = ask_fast(network, ours_x, len(x) * RISE_MASKS)
        return perturbing.rise(ask, ours_x, target, samples=RISE_MASKS, seed=0, told=told)

    masks = torch.cat([*perturbing.rise_masks(224, 224, RISE_MASKS, 0)])
    row(f"rise, {RISE_MASKS} masks", "published way", rise, lambda: published_rise(theirs, x, classes, masks), 1)

    def occlude() -> object:
        ask = ask_fast(network, ours_x, len(x) * perturbing.occlusion_count((224, 224), WINDOW, WINDOW // 2))
        return perturbing.occlusion(ask, ours_x, target, window=WINDOW, stride=WINDOW // 2, told=told)

    def captum_occlude() -> object:
        shapes, strides = (3, WINDOW, WINDOW), (3, WINDOW // 2, WINDOW // 2)
        kept = Occlusion(theirs).attribute(x, sliding_window_shapes=shapes, strides=strides, target=classes)
        return kept[:, 0]

    row("occlusion", "captum", occlude, captum_occlude, 1)
    row(
        "guided-backprop",
        "captum",
        lambda: gradients.guided_backpropagation(network, ours_x, target).abs().amax(dim=1),
        lambda: GuidedBackprop(once_each(theirs)).attribute(x, target=classes).abs().amax(dim=1),
        options.repeats,
    )
    row(
        "integrated-gradients",
        "captum",
        lambda: gradients.integrated_gradients(network, ours_x, target, steps=STEPS, told=told)[0].sum(dim=1),
        lambda: (
            IntegratedGradients(theirs)
            .attribute(x, target=classes, n_steps=STEPS, internal_batch_size=gradients.AT_ONCE)
            .sum(dim=1)
        ),
        1,
    )
    row(
        "smoothgrad (by chance)",
        "captum",
        lambda: gradients.smooth_grad(network, ours_x, target, samples=COPIES, seed=0, told=told).abs().amax(dim=1),
        lambda: (
            NoiseTunnel(Saliency(theirs))
            .attribute(x, target=classes, nt_samples=COPIES, stdevs=0.15 * float(x.max() - x.min()), abs=False)
            .abs()
            .amax(dim=1)
        ),
        1,
    )


def once_each(network: nn.Module) -> nn.Module:
    """Return a copy for captum's guided backpropagation, in which a shared ReLU is several where the block calls two."""
    clone = copy.deepcopy(network)
    for block in clone.modules():
        relu = getattr(block, "relu", None)
        if isinstance(relu, nn.ReLU) and hasattr(block, "conv2"):
            first, second = nn.ReLU(), nn.ReLU()
            calls = iter(())

            class Alternating(nn.Module):
                def __init__(self, one: nn.Module, other: nn.Module) -> None:
                    super().__init__()
                    self.one, self.other, self.turn = one, other, 0

                def forward(self, value: Tensor) -> Tensor:
                    self.turn = 1 - self.turn
                    return self.one(value) if self.turn else self.other(value)

            del calls
            block.relu = Alternating(first, second)
    return clone


if __name__ == "__main__":
    sys.exit(main())
