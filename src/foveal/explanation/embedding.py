"""Features as points in the plane: images that a network holds for alike lie near each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.engines.kinds import need
from foveal.errors import UsageError

Method = Literal["pca", "umap"]
NEIGHBOURS = 15  # of UMAP's default
FEWEST = 3


@dataclass(frozen=True, eq=False)
class Embedding:
    """Two numbers an image."""

    points: np.ndarray  # (N, 2) float64
    method: Method
    words: str  # how the points were made, in a sentence


def embed(features: np.ndarray, *, method: Method = "pca", seed: int = 0) -> Embedding:
    """Return `features` (N, D) as points in the plane.

    By principal components (scikit-learn), which keep straight lines straight and always give the same; or by UMAP
    (McInnes, Healy, Melville 2018; umap-learn), which keeps neighbours together, and whose distances between far groups
    mean little.

    Raises:
        UsageError: for fewer than 3 images or 2 features. MissingPartError: for UMAP where it is not installed.
    """
    require(method)
    count, width = features.shape
    if count < FEWEST or width < 2:
        raise UsageError(f"An embedding takes at least {FEWEST} images and 2 features, not {count} and {width}.")
    if method == "umap":
        from umap import UMAP

        points = UMAP(n_neighbors=min(NEIGHBOURS, count - 1), random_state=seed, n_jobs=1).fit_transform(features)
        return Embedding(np.asarray(points, np.float64), method, f"UMAP of {width:,} features, seed {seed}.")
    from sklearn.decomposition import PCA

    made = PCA(2, svd_solver="full").fit(features.astype(np.float64))
    shares = np.nan_to_num(made.explained_variance_ratio_)
    words = f"The first two principal components of {width:,} features; they hold {shares[0]:.0%} and {shares[1]:.0%}"
    return Embedding(made.transform(features.astype(np.float64)), method, f"{words} of the variance.")


def require(method: Method) -> None:
    """Raise MissingPartError when `method` needs a package that is not installed."""
    if method == "umap":
        need("umap", "umap")
