"""What is explained: the score of a class, or of one class against another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Target:
    """Which class of each image is explained; None is the one that the network answers.

    With `against`, what is explained is why it is one class rather than the other: the difference of their logits.
    """

    classes: Tensor | None = None  # (B,) int64
    against: Tensor | None = None  # (B,) int64

    def score(self, logits: Tensor) -> Tensor:
        """Return the logit of each image's class (B,), less that of the other class; from `logits` (B, classes)."""
        value = logits.gather(1, self.chosen(logits)[:, None])[:, 0]
        return (
            value if self.against is None else value - logits.gather(1, self.against.to(logits.device)[:, None])[:, 0]
        )

    def probability(self, logits: Tensor) -> Tensor:
        """Return the probability of each image's class (B,), less that of the other class."""
        return self.score(torch.softmax(logits, dim=1))

    def chosen(self, logits: Tensor) -> Tensor:
        """Return each image's class (B,)."""
        return logits.argmax(dim=1) if self.classes is None else self.classes.to(logits.device)

    def fixed(self, logits: Tensor) -> Target:
        """Return this target with the classes that `logits` (B, classes) choose, for other views of the same images."""
        return Target(self.chosen(logits), self.against)

    def of(self, image: int, times: int = 1) -> Target:
        """Return the target of one image of the batch, for `times` variants of it. The classes must be `fixed`."""
        assert self.classes is not None
        other = None if self.against is None else self.against[image].expand(times)
        return Target(self.classes[image].expand(times), other)
