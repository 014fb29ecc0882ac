"""Measuring maps: by asking the classifier again, about noisy images too, and networks that learned nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.ensemble import Ensemble
from foveal.explanation.deletion import MOVES, STEPS, Curves, areas, curves
from foveal.explanation.faithfulness import Faithfulness, gini, rank_correlation, shuffled
from foveal.explanation.mapping import Mapped, Told, Wanted, maps_of, normalised
from foveal.explanation.methods import BY_NAME, Method
from foveal.explanation.subject import answering

NOISE = 0.02 * 255  # standard deviation of the noise on pixels under which a map should stay
DRAWS = 2  # of noise, and of networks that learned nothing
MOST_PASSES = (
    64  # of a method that is run again on noisy images and shuffled weights: not of occlusion, RISE, Score-CAM
)
ANSWERS_A_MAP = 2 * (1 + MOVES) * (STEPS + 1)  # images that deletion and insertion ask about
COMPANIONS = ("gradcam", "hirescam", "layercam")  # with which a gradient's map is compared, when it is alone


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

    `mapped` are the maps by method. The weights are shuffled only where torch answers.
    """
    ask = answering(classifier).ask(normalised(classifier, pixels[:1]), len(pixels) * len(mapped) * ANSWERS_A_MAP)
    x, target, seed = normalised(classifier, pixels), wanted.target(classes), wanted.settings.seed
    others = _others(classifier, pixels, classes, wanted, mapped)
    judged = {}
    for method, own in mapped.items():
        draws = 0 if method.passes(x, wanted.settings, MOST_PASSES + 1) > MOST_PASSES else DRAWS
        found: list[Curves] = []
        for at in range(len(pixels)):
            found += curves(ask, x[at : at + 1], target.of(at), own.maps[at : at + 1], seed=seed)
            told(ANSWERS_A_MAP)
        noisy = [_noisy(pixels, seed, draw) for draw in range(draws)]
        stable = [maps_of(classifier, one, classes, wanted, method, told=told).maps for one in noisy]
        ignorant = [
            maps_of(one, pixels, classes, wanted, method, told=told).maps
            for one in _ignorant(classifier, pixels, [seed + 1 + draw for draw in range(draws)])
        ]
        companions = {name: maps for name, maps in others.items() if name != method.title}
        judged[method] = [
            Faithfulness(
                float(areas(found[at].deletion)),
                float(areas(found[at].moved_deletion).min()),
                float(areas(found[at].insertion)),
                float(areas(found[at].moved_insertion).max()),
                gini(map_),
                _mean([rank_correlation(map_, one[at]) for one in stable]),
                _mean([rank_correlation(map_, one[at]) for one in ignorant]),
                _mean([rank_correlation(map_, one[at]) for one in companions.values()]),
                tuple(companions),
            )
            for at, map_ in enumerate(own.maps)
        ]
    return judged


def judged_passes(passes: int) -> int:
    """Return how many images are asked about to judge a map for which its method asks about `passes`."""
    return ANSWERS_A_MAP + (2 * DRAWS * passes if passes <= MOST_PASSES else 0)


def _others(
    classifier: Classifier,
    pixels: np.ndarray,
    classes: Sequence[int],
    wanted: Wanted,
    mapped: dict[Method, Mapped],
) -> dict[str, np.ndarray]:
    """Return the maps (B, H, W) that the maps are compared with, by the title of their method."""
    found = {method.title: own.maps for method, own in mapped.items()}
    (alone, *more) = mapped
    if not more and alone.name in COMPANIONS:
        for name in COMPANIONS:
            if name != alone.name:
                found[BY_NAME[name].title] = maps_of(classifier, pixels, classes, wanted, BY_NAME[name]).maps
    return found


def _noisy(pixels: np.ndarray, seed: int, draw: int) -> np.ndarray:
    noise = np.random.default_rng([seed, draw]).normal(0, NOISE, pixels.shape)
    result: np.ndarray = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
    return result


def _ignorant(classifier: Classifier, pixels: np.ndarray, seeds: Sequence[int]) -> list[Classifier]:
    """Return `classifier` with shuffled weights, once a seed; none where a stored engine answers for it."""
    if classifier.runner is not None:
        return []
    if isinstance(classifier, Ensemble):
        each = [_ignorant(member, pixels, seeds) for member in classifier.members]
        return [replace(classifier, members=members) for members in zip(*each, strict=True)]
    x = normalised(classifier, pixels)
    return [replace(classifier, network=shuffled(classifier.network, x, seed)) for seed in seeds]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
