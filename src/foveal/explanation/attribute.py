"""Maps of any torch network, without a classifier around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.explanation.ask import ask_fast
from foveal.explanation.methods import Question, Settings, Subject, enlarged, find_method
from foveal.explanation.target import Target


def attribute(
    network: nn.Module,
    x: Tensor,
    *,
    method: str = "gradcam",
    classes: Tensor | int | None = None,
    against: Tensor | int | None = None,
    settings: Settings | None = None,
) -> Tensor:
    """Return maps (B, H, W) float32: what of images `x` (B, C, H, W) spoke for their classes, by any method.

    Args:
        network: any torch module that returns logits (B, classes); left as it was found.
        x: images as the network takes them, on its device.
        method: a name of `METHODS`.
        classes: of each image (B,), or one for all; None is the class that the network answers.
        against: likewise, another class: why it is the one rather than this.
        settings: the stage and what else can be chosen.

    Raises:
        UsageError: for images of another shape, a class out of range, and what the method refuses.
    """
    if x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise UsageError(f"Images are numbers (B, C, H, W), at least one, not {x.dtype} {tuple(x.shape)}.")
    subject = Subject(network, lambda some, times: ask_fast(network, some, times))
    count = subject.ask(x, 1)(x[:1]).shape[-1]
    target = Target(_each(classes, len(x), count), _each(against, len(x), count))
    found = find_method(method).run(Question(subject, x, target, settings or Settings()))
    return enlarged(found.maps.detach().float(), x.shape[2], x.shape[3])


def _each(classes: Tensor | int | None, images: int, count: int) -> Tensor | None:
    """Return a class for each image; UsageError where it is none of `count`."""
    if classes is None:
        return None
    each = torch.as_tensor(classes, dtype=torch.int64).expand(images)
    if int(each.min()) < 0 or int(each.max()) >= count:
        known = f"{count:,} classes, 0 to {count - 1}"
        raise UsageError(f"The network answers with {known}; {each.tolist()} are not all of them.")
    return each
