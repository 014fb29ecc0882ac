"""What a network is trained to make small: the mean over a batch, and the same over the validation images.

Outputs are logits (B, classes); p is their softmax, y the class of an image. `Recipe.loss` names the loss,
each architecture has one of its own for where nothing is said.

=============  ================================================================================
cross_entropy  -log p_y; with label smoothing ε the target is (1 - ε) at y plus ε / classes everywhere
focal          -(1 - p_y)^γ · log p_y, which looks at images that are still wrong (Lin et al. 2017)
mse            mean over the classes of (p - target)², target 1 at y and 0 elsewhere: what Keras
               calls ``mse`` on a softmax layer. Slow where p is sure and wrong: its gradient vanishes
rbf            y_y + log(e^(-j) + Σ_i e^(-y_i)) of penalties y_i = -logit i: LeCun et al. 1998,
               equation 9. e^(-j) stands for images that are none of the classes
rbf_mse        y_y, the squared distance to the code of the class: equation 8
=============  ================================================================================

Class weights weigh each image by its class, and the mean is that of the weights, as in torch's cross-entropy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.models.catalog import find
from foveal.training.recipe import Recipe


def training_loss(output: Tensor, labels: Tensor, recipe: Recipe, weights: Tensor | None = None) -> Tensor:
    """Return the mean loss that `recipe` names, of logits `output` (B, classes) and classes `labels` (B,).

    Cross-entropy also takes shares (B, classes), of images that were mixed.
    """
    if loss_name(recipe) == "cross_entropy":
        return F.cross_entropy(output, labels, weights, label_smoothing=recipe.label_smoothing)
    return weighted_mean(each_loss(output, labels, recipe), labels, weights)


def validation_loss(output: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Return the loss by which epochs are compared: the training loss without label smoothing and class weights."""
    if loss_name(recipe) == "cross_entropy":
        return F.cross_entropy(output, labels)
    return each_loss(output, labels, recipe).mean()


def loss_name(recipe: Recipe) -> str:
    """Return the loss of `recipe`, by default the one of its architecture."""
    return recipe.loss or find(recipe.model).loss


def each_loss(output: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Return the loss of each image (B,), for every loss but cross-entropy."""
    name = loss_name(recipe)
    if name == "focal":
        return focal(output, labels, recipe.focal_gamma)
    if name == "mse":
        return mse(output, labels)
    return rbf(output, labels, recipe.rubbish_penalty) if name == "rbf" else rbf_mse(output, labels)


def focal(output: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return the focal loss (B,) of T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017.

    For several classes, with softmax where the paper has a sigmoid; gamma 0 is cross-entropy.
    """
    log_p = of_class(F.log_softmax(output, 1), labels)  # (B,)
    wrong = -torch.expm1(log_p)  # 1 - p_y, exact also where p_y is nearly 1
    smallest = torch.finfo(wrong.dtype).eps ** 2  # keeps the gradient finite at p_y = 1 for gamma below 1
    return -(wrong.clamp_min(smallest) ** gamma) * log_p


def mse(output: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error (B,) of the probabilities against 1 for the class and 0 for the others."""
    target = F.one_hot(labels, output.shape[1]).to(output.dtype)  # (B, classes)
    return (output.softmax(1) - target).square().mean(1)


def rbf(output: Tensor, labels: Tensor, rubbish_penalty: float) -> Tensor:
    """Return the discriminative loss (B,) of negative penalties: the paper's maximum a posteriori criterion.

    Cross-entropy with one more answer, "none of these", whose penalty is fixed at j = `rubbish_penalty`.
    """
    rubbish = output.new_full((len(output), 1), -rubbish_penalty)
    return torch.cat([output, rubbish], 1).logsumexp(1) - of_class(output, labels)


def rbf_mse(output: Tensor, labels: Tensor) -> Tensor:
    """Return the penalty (B,) of the class, which is the squared error of F6 against the code of the class."""
    return -of_class(output, labels)


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """Return of each row of `values` (B, classes) the one value of its class (B,)."""
    return values.gather(1, labels[:, None])[:, 0]


def weighted_mean(losses: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of `losses` (B,), each image weighing as much as its class in `weights` (classes,)."""
    if weights is None:
        return losses.mean()
    each = weights[labels].to(losses.dtype)
    return (losses * each).sum() / each.sum()
