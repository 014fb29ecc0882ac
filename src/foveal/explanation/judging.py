"""Measuring maps: by asking the classifier again, about noisy images too, and networks that learned nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from foveal.classifier import Classifier
from foveal.classifier.ensemble import Ensemble
from foveal.errors import UsageError
from foveal.explanation.ask import Ask
from foveal.explanation.deletion import MOVES, STEPS, areas, curves, second_smallest
from foveal.explanation.faithfulness import Faithfulness, gini, rank_correlation, shuffled
from foveal.explanation.mapping import Mapped, Told, Wanted, maps_of, normalised
from foveal.explanation.methods import BY_NAME, Method
from foveal.explanation.perturbing import occlusion
from foveal.explanation.subject import answering
from foveal.explanation.target import Target

NOISE = 0.02 * 255  # standard deviation of the noise on pixels under which a map should stay
DRAWS = 2  # of noise, and of networks that learned nothing; none of methods that ask very often
PARTS = 7  # windows a side of the coarse occlusion that maps are compared with
ANSWERS_A_MAP = 2 * (1 + MOVES) * (STEPS + 1)  # images that deletion and insertion ask about


def judge(
    classifier: Classifier,
    pixels: np.ndarray,
    classes: Sequence[int],
    wanted: Wanted,
    mapped: dict[Method, Mapped],
    *,
    told: Told = lambda _: None,
) -> dict[Method, list[Faithfulness]]:
    """Return the figures of each method's maps of uint8 `pixels` (B, H, W, C) for their `classes`, one an image.

    `mapped` are the maps by method. A map's figures depend on its image, method and seed alone, not on what else is
    explained. Agreement is with occlusion in windows of a seventh of the side, which asks for answers only and so knows
    nothing of what the other methods look at; occlusion itself is compared with Grad-CAM. The weights are shuffled only
    where torch answers.
    """
    x, target = normalised(classifier, pixels), wanted.target(classes)
    ask = answering(classifier).ask(x[:1], len(pixels) * len(mapped) * ANSWERS_A_MAP)
    judged: dict[Method, list[Faithfulness]] = {method: [] for method in mapped}
    for at in range(len(pixels)):
        alone = pixels[at : at + 1], [classes[at]], x[at : at + 1], target.of(at)
        covered = _covered(ask, alone[2], alone[3])
        for method, own in mapped.items():
            judged[method].append(_judge(classifier, *alone, wanted, method, own.maps[at], covered, ask))
            told(ANSWERS_A_MAP)
    return judged


def _judge(
    classifier: Classifier,
    pixels: np.ndarray,
    classes: Sequence[int],
    x: Tensor,
    target: Target,
    wanted: Wanted,
    method: Method,
    map_: np.ndarray,
    covered: np.ndarray,
    ask: Ask,
) -> Faithfulness:
    """Return the figures of one map (H, W) of one image, pixels (1, H, W, C); `covered` is occlusion's map of it."""
    seed, draws = wanted.settings.seed, 0 if method.asks_often else DRAWS
    (found,) = curves(ask, x, target, map_[None], seed=seed)
    stable = [maps_of(classifier, _noisy(pixels, seed, draw), classes, wanted, method).maps[0] for draw in range(draws)]
    ignorant = [
        maps_of(one, pixels, classes, wanted, method).maps[0]
        for one in _ignorant(classifier, x, [seed + 1 + draw for draw in range(draws)])
    ]
    name, other = "Occlusion", covered
    if method.name == "occlusion":
        name, other = _grad_cam(classifier, pixels, classes, wanted)
    return Faithfulness(
        float(areas(found.deletion)),
        second_smallest(areas(found.moved_deletion)),
        float(areas(found.insertion)),
        -second_smallest(-areas(found.moved_insertion)),
        gini(map_),
        _mean([rank_correlation(map_, one) for one in stable]),
        _mean([rank_correlation(map_, one) for one in ignorant]),
        rank_correlation(np.maximum(map_, 0), np.maximum(other, 0)) if name else None,
        name,
    )


def _covered(ask: Ask, x: Tensor, target: Target) -> np.ndarray:
    """Return (H, W): by how much the score of one image (1, C, H, W) falls where a large window covers it."""
    window = max(1, min(x.shape[2:]) // PARTS)
    found: np.ndarray = occlusion(ask, x, target, window=window, stride=window, told=lambda _: None)[0].numpy()
    return found


def _grad_cam(
    classifier: Classifier, pixels: np.ndarray, classes: Sequence[int], wanted: Wanted
) -> tuple[str, np.ndarray]:
    """Return Grad-CAM's title and map of one image; no title where the classifier has no such map."""
    method = BY_NAME["gradcam"]
    try:
        return method.title, maps_of(classifier, pixels, classes, wanted, method).maps[0]
    except UsageError:
        return "", np.zeros(pixels.shape[1:3])


def _noisy(pixels: np.ndarray, seed: int, draw: int) -> np.ndarray:
    noise = np.random.default_rng([seed, draw]).normal(0, NOISE, pixels.shape)
    result: np.ndarray = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
    return result


def _ignorant(classifier: Classifier, x: Tensor, seeds: Sequence[int]) -> list[Classifier]:
    """Return `classifier` with shuffled weights, once a seed; none where a stored engine answers for it."""
    if classifier.runner is not None:
        return []
    if isinstance(classifier, Ensemble):
        each = [_ignorant(member, x, seeds) for member in classifier.members]
        return [replace(classifier, members=members) for members in zip(*each, strict=True)]
    return [replace(classifier, network=shuffled(classifier.network, x, seed)) for seed in seeds]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
