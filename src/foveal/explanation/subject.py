"""A classifier as methods ask it: one network, several that answer together, or the answers of a stored engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.classifier import Classifier
from foveal.classifier.calibration import SMALLEST_PROBABILITY
from foveal.classifier.ensemble import Ensemble
from foveal.explanation.ask import Ask, ask_fast, ask_runner
from foveal.explanation.methods import Subject
from foveal.preprocess import Preprocess


def subjects_of(classifier: Classifier) -> tuple[Subject, ...]:
    """Return the networks of `classifier`: its members where it is an ensemble, else one."""
    members = classifier.members if isinstance(classifier, Ensemble) else (classifier,)
    return tuple(_subject(member) for member in members)


def answering(classifier: Classifier) -> Subject:
    """Return `classifier` as one whole that answers: an ensemble by the mean of its members' probabilities.

    Images are normalised as `classifier.preprocess` does it; members of an ensemble get them as they know them.
    """
    if not isinstance(classifier, Ensemble):
        return _subject(classifier)
    members, known = classifier.members, classifier.preprocess

    def ask(x: Tensor, times: int) -> Ask:
        asks = [_subject(one).ask(_as_known(x, known, one.preprocess), times) for one in members]

        def answer(images: Tensor) -> Tensor:
            said = [
                torch.softmax(each(_as_known(images, known, one.preprocess)), dim=1)
                for each, one in zip(asks, members, strict=True)
            ]
            return torch.stack(said).mean(dim=0).clamp(min=SMALLEST_PROBABILITY).log()

        return Ask(asks[0].engine, answer)

    return Subject(None, ask, classifier.engine)


def device_of(classifier: Classifier) -> torch.device:
    """Return where its network is."""
    return next(classifier.network.parameters()).device


def _subject(classifier: Classifier) -> Subject:
    runner, network, engine = classifier.runner, classifier.network, classifier.engine
    if runner is not None:
        return Subject(None, lambda _, __: ask_runner(runner, engine), engine)
    return Subject(network, lambda x, times: ask_fast(network, x, times))


def _as_known(x: Tensor, is_: Preprocess, wanted: Preprocess) -> Tensor:
    """Return images normalised by `is_` as `wanted` normalises them."""
    if (is_.mean, is_.std) == (wanted.mean, wanted.std):
        return x

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=x.device).view(1, -1, 1, 1)

    return (x * column(is_.std) + column(is_.mean) - column(wanted.mean)) / column(wanted.std)
