"""Loss scaling for float16 (Micikevicius et al. 2018): small gradients are lifted above float16's smallest number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LARGEST = 2.0**24


@dataclass
class LossScale:
    """The factor on the loss: doubled after 2,000 good steps, halved after one that overflowed. 1 when not needed."""

    factor: float = 1.0
    good_steps: int = 0
    needed: bool = False

    @classmethod
    def for_type(cls, half: torch.dtype | None) -> LossScale:
        """Return the scale to begin with when the forward pass runs in `half`."""
        return cls(65_536.0, 0, needed=True) if half is torch.float16 else cls()

    def unscale(self, parameters: list[nn.Parameter]) -> bool:
        """Divide the gradients by the factor; on overflow clear them and return False: the step is to be skipped."""
        if not self.needed:
            return True
        gradients: list[Tensor] = [one.grad for one in parameters if one.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, 1 / self.factor)
        if all(bool(torch.isfinite(one).all()) for one in gradients):
            self.good_steps += 1
            if self.good_steps % 2_000 == 0:
                self.factor = min(self.factor * 2, LARGEST)
            return True
        self.factor, self.good_steps = self.factor / 2, 0
        for parameter in parameters:
            parameter.grad = None
        return False
