"""Class activation maps: a stage's maps A (B, K, h, w), weighted by what their gradients G of the score say, summed.

Each function takes A and G and returns maps (B, h, w). In all of them the last step is a ReLU, so that only what speaks
for the class remains. The score is the logit (before softmax), as the papers have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from foveal.explanation.capture import capture
from foveal.explanation.target import Target

CLEAR_OF_ZERO = 1e-6  # added where Grad-CAM++ divides


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """L = ReLU(Σₖ wₖ Aₖ) with wₖ the mean of Gₖ over its cells.

    Selvaraju et al.: "Grad-CAM: Visual explanations from deep networks via gradient-based localization", ICCV 2017,
    eq. 1 and 2. No deviation.
    """
    weights = gradients.mean(dim=(2, 3))  # (B, K)
    return torch.relu(torch.einsum("bk,bkhw->bhw", weights, activations))


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """L = ReLU(Σₖ wₖ Aₖ), wₖ = Σ αₖ ReLU(Gₖ), αₖ = Gₖ² / (2 Gₖ² + (Σ Aₖ) Gₖ³), zero where Gₖ is.

    Chattopadhay et al.: "Grad-CAM++: Generalized gradient-based visual explanations for deep convolutional networks",
    WACV 2018, eq. 19 and 7, in which the derivatives are those of exp(score). Deviation: the common factor exp(score),
    which is the same for all maps of an image, is left out, and 10⁻⁶ is added to the denominator, as is usual.
    """
    squares = gradients.square()
    sums = activations.sum(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
    alpha = squares / (2 * squares + sums * squares * gradients + CLEAR_OF_ZERO)
    weights = (torch.where(gradients != 0, alpha, 0) * torch.relu(gradients)).sum(dim=(2, 3))  # (B, K)
    return torch.relu(torch.einsum("bk,bkhw->bhw", weights, activations))


def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """L = ReLU(Σₖ Gₖ ⊙ Aₖ): no mean over cells, so that the map shows where the score comes from.

    Draelos, Carin: "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks",
    2020, eq. 6. With one dense layer behind the maps its sum is the logit, less the bias. Deviation: the ReLU, which
    the paper leaves to the picture.
    """
    return torch.relu((gradients * activations).sum(dim=1))


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """L = ReLU(Σₖ ReLU(Gₖ) ⊙ Aₖ): sharp also at early stages.

    Jiang et al.: "LayerCAM: Exploring hierarchical class activation maps for localization", TIP 2021, eq. 6 to 8.
    No deviation.
    """
    return torch.relu((torch.relu(gradients) * activations).sum(dim=1))


def eigen_cam(activations: Tensor) -> Tensor:
    """L = ReLU(the projection of the cells' centred values onto their first principal component); of no class.

    Muhammad, Yeasin: "Eigen-CAM: Class activation map using principal components", IJCNN 2020. Deviations: values are
    centred first, as the usual implementation does; and the sign, which a principal component does not have, is that
    in which the projection goes with the sum of the maps (elsewhere it is left to chance).
    """
    cells = activations.flatten(2).transpose(1, 2).double()  # (B, h·w, K)
    centred = cells - cells.mean(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))  # of (B, h·w, h·w): K may be thousands
    projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()  # (B, h·w)
    goes_with = (projection * cells.sum(dim=2)).sum(dim=1, keepdim=True)
    projection = torch.where(goes_with < 0, -projection, projection)
    return torch.relu(projection).reshape(len(activations), *activations.shape[2:]).float()


BY_GRADIENT: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "hirescam": hires_cam,
    "layercam": layer_cam,
}


def gradient_cam(network: nn.Module, x: Tensor, target: Target, module: str, name: str = "gradcam") -> Tensor:
    """Return the maps (B, h, w) of the method called `name`, from one pass of images `x` (B, C, H, W).

    It costs a forward pass and a backward pass from the logits to `module`, and leaves the network as it was.
    """
    with capture(network, module, graph="above") as kept:
        score = target.score(network(x))  # (B,)
        (gradients,) = kept.gradients(score, module)  # (B, K, h, w)
        activations = kept[module].detach()
    with torch.no_grad():
        return BY_GRADIENT[name](activations.float(), gradients.float())


def activations_of(network: nn.Module, x: Tensor, module: str) -> tuple[Tensor, Tensor]:
    """Return the maps (B, K, h, w) that `module` makes of images `x` (B, C, H, W), and the logits (B, classes)."""
    with capture(network, module) as kept:
        logits = network(x)
        return kept[module].float(), logits.float()
