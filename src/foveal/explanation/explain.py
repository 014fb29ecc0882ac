"""Explaining images to the end: what the classifier answers, each method's map, and whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.answers import Said
from foveal.classifier.device import saying_out_of_memory
from foveal.errors import UsageError, nearest
from foveal.explanation.explanation import Explanation
from foveal.explanation.faithfulness import Faithfulness
from foveal.explanation.judging import judge
from foveal.explanation.mapping import Mapped, Told, Wanted, maps_of
from foveal.explanation.methods import Method

AT_ONCE = 16  # images
MOST_NAMED = 20  # classes in a sentence


@dataclass(frozen=True, eq=False)
class Image:
    """An image as the network takes it, with its name and the SHA-256 of what it was read from."""

    pixels: np.ndarray  # (H, W, C) uint8
    name: str
    digest: str


@dataclass(frozen=True, eq=False)
class _Column:
    """One method and one class of every image of a batch."""

    method: Method
    classes: list[int]  # of each image
    mapped: Mapped
    judged: list[Faithfulness] | None


def class_number(classifier: Classifier, name: str) -> int:
    """Return the index of the class called `name`; UsageError lists the classes there are."""
    if name not in classifier.classes:
        known = ", ".join(classifier.classes[:MOST_NAMED])
        more = len(classifier.classes) - MOST_NAMED
        rest = f", and {more:,} more" if more > 0 else ""
        raise UsageError(
            f'There is no class "{name}"; the classifier knows {known}{rest}.{_meant(name, classifier.classes)}'
        )
    return classifier.classes.index(name)


def _meant(name: str, classes: Sequence[str]) -> str:
    """Return which class may have been meant: one that differs in capitals alone, or the nearest."""
    same = [one for one in classes if one.casefold() == name.casefold()]
    return f' Did you mean "{same[0]}"?' if same else nearest(name, classes)


def explain_images(
    classifier: Classifier, images: Sequence[Image], wanted: Wanted, *, told: Told = lambda _: None
) -> list[Explanation]:
    """Return the explanations of `images`, by image, then method, then class.

    `told` is called with the number of images that the network was asked about, by the methods that ask very often.
    Raises UsageError where a method does not suit the network, or a class is explained against itself.
    """
    if wanted.against is not None and wanted.against in wanted.classes:
        raise UsageError(f'The class "{classifier.classes[wanted.against]}" cannot be explained against itself.')
    found = []
    for start in range(0, len(images), AT_ONCE):
        with saying_out_of_memory("explain fewer images at once, or smaller ones"):
            found += _explain_batch(classifier, images[start : start + AT_ONCE], wanted, told)
    return found


def _explain_batch(classifier: Classifier, images: Sequence[Image], wanted: Wanted, told: Told) -> list[Explanation]:
    pixels = np.stack([one.pixels for one in images])  # (B, H, W, C)
    said = [*classifier.answer(pixels).rows()]
    columns: list[_Column] = []
    for number in wanted.classes:
        classes = [one.label if number is None else number for one in said]
        if wanted.against in classes:
            at = classes.index(wanted.against)
            raise UsageError(
                f'{images[at].name} is answered "{classifier.classes[classes[at]]}", which cannot be explained against '
                f"itself; name the class to explain."
            )
        mapped = {one: maps_of(classifier, pixels, classes, wanted, one, told=told) for one in wanted.methods}
        judged = judge(classifier, pixels, classes, wanted, mapped, told=told) if wanted.judged else {}
        columns += [_Column(one, classes, own, judged.get(one)) for one, own in mapped.items()]
    columns.sort(key=lambda column: wanted.methods.index(column.method))
    return [
        _explanation(classifier, image, said[at], column, at, wanted.against)
        for at, image in enumerate(images)
        for column in columns
    ]


def _explanation(
    classifier: Classifier, image: Image, said: Said, column: _Column, at: int, against: int | None
) -> Explanation:
    names, number, found = classifier.classes, column.classes[at], column.mapped.found
    return Explanation(
        grid=found.maps[at].numpy(),
        picture=image.pixels,
        method=column.method.name,
        target=names[number],
        probability=float(said.probabilities[number]),
        answered=names[said.label],
        classifier_hash=classifier.hash,
        engine=classifier.engine,
        input=image.name,
        input_hash=image.digest,
        against="" if against is None else names[against],
        abstain=said.abstained,
        place=found.place,
        parameters=found.parameters,
        faithfulness=column.judged[at] if column.judged is not None else None,
    )
