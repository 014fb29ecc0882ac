"""Whether to believe a map: its figures, and what they say against it in words."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

N = TypeVar("N", bound=nn.Module)

COMPARED = 14  # cells a side at which maps are compared, at most: class activation maps have seldom more
STABLE = 0.5  # rank correlation with the maps of slightly noisy images below which a map is called unstable
DEPENDS = 0.7  # the same with a network that knows nothing: above, half of the ranks' variance (ρ²) is there unlearned
AGREES = 0.0  # rank correlation with another method's map below which they are said to disagree


@dataclass(frozen=True)
class Faithfulness:
    """The figures of one map; None where one was not, or could not be, measured.

    `deletion` and `insertion` are areas of Petsiuk et al. 2018, the `moved_` ones the second best of the same map
    moved elsewhere (see `deletion.py`). `sparsity` is the Gini index. The others are Spearman's rank correlation of the
    map with that of the same image under slight noise (`stability`), with that of the network after its weights were
    shuffled (`randomised`: Adebayo et al. 2018), and with that of another method (`agreement`).
    """

    deletion: float | None = None
    moved_deletion: float | None = None
    insertion: float | None = None
    moved_insertion: float | None = None
    sparsity: float | None = None
    stability: float | None = None
    randomised: float | None = None
    agreement: float | None = None
    agreement_with: str = ""  # the other method

    def warnings(self) -> tuple[str, ...]:
        """Return what the figures say against the map, in whole sentences; nothing where they do not."""
        found = []
        if self.deletion is not None and self.moved_deletion is not None and self.deletion >= self.moved_deletion:
            found.append(
                f"Covering what it marks lowers the probability no more than covering other places does "
                f"(deletion {self.deletion:.3f}, moved elsewhere down to {self.moved_deletion:.3f})."
            )
        if self.insertion is not None and self.moved_insertion is not None and self.insertion <= self.moved_insertion:
            found.append(
                f"Showing what it marks raises the probability no more than showing other places does "
                f"(insertion {self.insertion:.3f}, moved elsewhere up to {self.moved_insertion:.3f})."
            )
        if self.stability is not None and self.stability < STABLE:
            found.append(f"It changes under noise that is hardly seen (rank correlation {self.stability:.2f}).")
        if self.randomised is not None and self.randomised > DEPENDS:
            found.append(
                f"A network whose weights were shuffled gives nearly the same map (rank correlation "
                f"{self.randomised:.2f}): it shows the image rather than what was learned."
            )
        if self.agreement is not None and self.agreement < AGREES:
            found.append(f"{self.agreement_with} marks other places (rank correlation {self.agreement:.2f}).")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return {**asdict(self), "agreement_with": self.agreement_with or None}


def gini(values: np.ndarray) -> float:
    """Return the Gini index of the magnitudes of `values`: 0 where all are alike, near 1 where few hold everything.

    Hurley, Rickard: "Comparing measures of sparsity", IEEE Trans. Information Theory 2009, eq. 5; used for
    attributions by Chalasani et al. 2020. 0 where all are zero.
    """
    sizes = np.sort(np.abs(values).ravel().astype(np.float64))
    total, n = sizes.sum(), sizes.size
    if total == 0:
        return 0.0
    places = (n - np.arange(1, n + 1) + 0.5) / n
    return float(max(1 - 2 * (sizes / total * places).sum(), 0.0))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two maps (H, W), in at most COMPARED cells a side.

    0 where one of them is the same everywhere: it says nothing of places.
    """
    a, b = (rankdata(_cells(one)) for one in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def _cells(map_: np.ndarray) -> np.ndarray:
    size = min(COMPARED, map_.shape[0]), min(COMPARED, map_.shape[1])
    cells: np.ndarray = F.adaptive_avg_pool2d(torch.as_tensor(map_, dtype=torch.float64)[None], size)[0].numpy()
    return cells


def shuffled(network: N, x: Tensor, seed: int) -> N:
    """Return a copy of `network` that has learned nothing: the entries of every parameter change places by chance.

    Adebayo et al.: "Sanity checks for saliency maps", NeurIPS 2018, section 3.1. Deviations: weights are shuffled
    rather than drawn anew, so that each layer keeps its scale, and batch norms take the figures of images `x`
    (B, C, H, W) in the new network; without that, many such networks would give no signal at all.
    """
    clone = copy.deepcopy(network)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in clone.parameters():
            order = torch.randperm(one.numel(), generator=chance).to(one.device)
            one.copy_(one.flatten()[order].view_as(one))
        norms = [one for one in clone.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of the passes that follow: of one
            norm.train()
        if norms:
            noisy = x.repeat(2, 1, 1, 1) + 0.1 * torch.randn(2 * len(x), *x.shape[1:], generator=chance).to(x)
            clone(noisy)
    clone.eval()
    return clone
