"""Class activation maps and pixel attributions against pytorch-grad-cam, captum, and NumPy."""

from __future__ import annotations

import copy
import importlib.util

import numpy as np
import pytest
import torch
from explained import asked, member

from foveal.explanation.cam import BY_GRADIENT, eigen_cam
from foveal.explanation.methods import BY_NAME, Settings, enlarged
from foveal.explanation.stages import find_stage
from foveal.explanation.target import Target

NETWORKS = ["cifar_resnet20", "squeezenet1_1", "densenet_bc_100_12", "vgg11"]
PEERS = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "scorecam": "ScoreCAM",
    "eigencam": "EigenCAM",
}


def normalised(maps):
    """Return maps (B, H, W) as pytorch-grad-cam brings them to 0 … 1."""
    maps = np.asarray(maps) - np.asarray(maps).min(axis=(1, 2), keepdims=True)
    return maps / (1e-7 + maps.max(axis=(1, 2), keepdims=True))


@pytest.mark.parametrize("family", [NETWORKS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in NETWORKS[1:])])
@pytest.mark.parametrize("name", PEERS)
def test_equal_to_pytorch_grad_cam(pytorch_grad_cam, monkeypatch, family, name):
    """The same maps after the same normalisation, within 1e-4."""
    from pytorch_grad_cam import score_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    monkeypatch.setattr(score_cam.tqdm, "tqdm", lambda steps: steps)
    network, x = member(family)
    place = find_stage(network, None, tuple(x.shape[1:]))
    theirs = copy.deepcopy(network)
    for module in theirs.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # which the peer's hooks do not survive
    peer = getattr(pytorch_grad_cam, PEERS[name])(theirs, [theirs.get_submodule(place.module)])
    wanted = peer(x, [ClassifierOutputTarget(1), ClassifierOutputTarget(3)])
    found = BY_NAME[name].run(asked(network, x, Target(torch.tensor([1, 3])))).maps
    if name == "eigencam":  # their sign is left to chance
        negative = BY_NAME[name].run(asked(network, x)).maps
        agrees = np.abs(wanted - normalised(enlarged(negative, *x.shape[2:]))).max(axis=(1, 2)) < 1e-4
        components = [_component(one) for one in _activations(network, x, place.module)]
        assert all(agree or _flipped(part, map_) for agree, part, map_ in zip(agrees, components, wanted, strict=True))
        return
    np.testing.assert_allclose(normalised(enlarged(found, *x.shape[2:])), wanted, atol=1e-4)


def _activations(network, x, module):
    from foveal.explanation.cam import activations_of

    return activations_of(network, x, module)[0].numpy()


def _component(activations):
    cells = activations.reshape(len(activations), -1).T.astype(np.float64)
    cells -= cells.mean(axis=0)
    return (cells @ np.linalg.svd(cells)[2][0]).reshape(activations.shape[1:])


def _flipped(component, map_):
    """Whether the peer's map is that of the component with one of its two signs."""
    for sign in (1, -1):
        own = torch.relu(torch.tensor(sign * component, dtype=torch.float32))[None]
        if np.abs(normalised(enlarged(own, *map_.shape)) - map_).max() < 1e-3:
            return True
    return False


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_each_formula_in_numpy(name):
    """Cell by cell, as the papers write them."""
    chance = np.random.default_rng(0)
    activations, gradients = chance.normal(size=(2, 3, 4, 5)), chance.normal(size=(2, 3, 4, 5))
    wanted = np.zeros((2, 4, 5))
    for at, (a, g) in enumerate(zip(activations, gradients, strict=True)):
        for plane, slope in zip(a, g, strict=True):
            if name == "gradcam":
                wanted[at] += slope.mean() * plane
            elif name == "hirescam":
                wanted[at] += slope * plane
            elif name == "layercam":
                wanted[at] += np.maximum(slope, 0) * plane
            else:
                alpha = slope**2 / (2 * slope**2 + plane.sum() * slope**3 + 1e-6)
                wanted[at] += (alpha * np.maximum(slope, 0)).sum() * plane
    found = BY_GRADIENT[name](torch.tensor(activations), torch.tensor(gradients))
    np.testing.assert_allclose(found, np.maximum(wanted, 0), atol=1e-10)


def test_eigen_cam_is_the_first_component_with_the_sign_of_the_maps():
    chance = np.random.default_rng(1)
    activations = chance.gamma(1.0, size=(3, 6, 5, 4))
    for found, own in zip(eigen_cam(torch.tensor(activations)), activations, strict=True):
        component = _component(own)
        component *= np.sign((component * own.sum(axis=0)).sum())
        np.testing.assert_allclose(found, np.maximum(component, 0), atol=1e-5)


def test_occlusion_is_captums():
    if importlib.util.find_spec("captum") is None:
        pytest.skip("the oracle captum is not installed (make test-all installs it)")
    from captum.attr import Occlusion

    network, x = member("cifar_resnet20")
    target = Target(torch.tensor([1, 3]))
    for window, stride in ((8, 4), (7, 5), (32, 3)):
        found = BY_NAME["occlusion"].run(asked(network, x, target, Settings(window=window, stride=stride))).maps
        wanted = Occlusion(network).attribute(
            x, sliding_window_shapes=(3, window, window), strides=(3, stride, stride), target=target.classes
        )
        torch.testing.assert_close(found, wanted[:, 0].detach(), rtol=1e-3, atol=1e-4)


def test_smooth_grad_of_a_linear_network_is_its_gradient():
    if importlib.util.find_spec("captum") is None:
        pytest.skip("captum is not installed (make test-all installs it)")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
    found = BY_NAME["smoothgrad"].run(asked(network, torch.randn(2, 3, 8, 8), Target(torch.tensor([1, 3])))).maps
    weights = network[1].weight.detach()[[1, 3]].view(2, 3, 8, 8)
    torch.testing.assert_close(found, weights.abs().amax(dim=1))


def test_rise_by_hand():
    """A network that sees one pixel: the masks' mean there, and RISE's own estimate everywhere."""
    from foveal.explanation.perturbing import rise_masks

    class OnePixel(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0, 10, 12], torch.zeros(len(x))], dim=1)

    network, x = OnePixel(), torch.ones(1, 1, 28, 28)
    found = BY_NAME["rise"].run(asked(network, x, Target(torch.tensor([0])), Settings(samples=500))).maps[0]
    masks = torch.cat([*rise_masks(28, 28, 500, 0)])
    assert masks.shape == (500, 28, 28)
    assert abs(float(masks.mean()) - 0.5) < 0.02
    weights = torch.sigmoid(masks[:, 10, 12])
    torch.testing.assert_close(found, torch.einsum("n,nhw->hw", weights, masks) / (500 * 0.5))
    row, column = divmod(int(found.argmax()), 28)
    assert abs(row - 10) <= 3
    assert abs(column - 12) <= 3
