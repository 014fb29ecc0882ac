"""Which images several classifiers answered, all of them: joined by content, none that one of them learnt from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Answer:
    """What a classifier said of one image."""

    record_id: str
    digest: str  # SHA-256 of the image's content
    group: str  # empty: unknown
    label: str
    predicted: str
    probability: float  # of the predicted class
    probabilities: tuple[float, ...] = ()  # of every class, in the order of the sorted names

    @property
    def right(self) -> bool:
        """Whether the answer is the label."""
        return self.predicted == self.label


@dataclass(frozen=True)
class Answers:
    """All answers of one classifier in one evaluation, and which content it has learnt from."""

    answers: tuple[Answer, ...]
    learnt: frozenset[str]  # digests of images, and `group_key`s of groups, that served its training


@dataclass(frozen=True)
class Common:
    """The images that all of several classifiers answered and none has learnt from; one row an image."""

    rows: tuple[tuple[Answer, ...], ...]  # (images) of (classifiers)
    learnt: tuple[int, ...]  # of each classifier's images: so many served the training of any of them
    alone: tuple[int, ...]  # … and so many not all the others answered
    relabelled: int  # images left out since the classifiers were told different labels
    renamed: int  # images in `rows` that lie under different record ids
    same_images: bool  # whether all answered the same content

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.rows)

    def right(self, classifier: int) -> np.ndarray:
        """Return (N,) bool: where the classifier at this position is right."""
        return np.array([row[classifier].right for row in self.rows], bool)

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """Return (N,) the place of each image's label among the sorted `classes`."""
        places = {name: place for place, name in enumerate(sorted(classes))}
        return np.array([places[row[0].label] for row in self.rows], np.int64)

    def probabilities(self, classifier: int) -> np.ndarray:
        """Return (N, classes): what the classifier at this position says of every class, by their sorted names."""
        return np.array([row[classifier].probabilities for row in self.rows], float)

    def units(self) -> np.ndarray:
        """Return (N,) the number of the unit of each image: its group, wherever it has one, with copies joined."""
        keys = [[f"\0{row[0].digest}", *(group_key(one.group) for one in row if one.group)] for row in self.rows]
        parent: dict[str, str] = {}

        def root(key: str) -> str:
            while parent.setdefault(key, key) != key:
                parent[key] = parent[parent[key]]
                key = parent[key]
            return key

        for first, *others in keys:
            for other in others:
                parent[root(other)] = root(first)
        roots = [root(first) for first, *_ in keys]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(roots))}
        return np.array([numbers[name] for name in roots], np.int64)


def group_key(group: str) -> str:
    """Return the key of a group among the digests of `Answers.learnt`."""
    return f"group {group}"


def find_common(evaluations: Sequence[Answers]) -> Common:
    """Return what `evaluations`, two or more, have in common.

    Images are the same when their content is; among exact copies those under the same record id belong
    together. An image counts only when all give it the same label and none of the classifiers learnt from it
    or from its group.
    """
    forbidden = frozenset[str]().union(*(one.learnt for one in evaluations))
    learnt, by_content = [], []
    for evaluation in evaluations:
        free = [one for one in evaluation.answers if not _is_learnt(one, forbidden)]
        learnt.append(len(evaluation.answers) - len(free))
        content: defaultdict[str, list[Answer]] = defaultdict(list)
        for answer in free:
            content[answer.digest].append(answer)
        by_content.append(content)
    everywhere = [digest for digest in by_content[0] if all(digest in content for content in by_content)]
    joined = [row for digest in everywhere for row in _same(*(content[digest] for content in by_content))]
    rows = tuple(row for row in joined if len({one.label for one in row}) == 1)
    return Common(
        rows=rows,
        learnt=tuple(learnt),
        alone=tuple(sum(map(len, content.values())) - len(joined) for content in by_content),
        relabelled=len(joined) - len(rows),
        renamed=sum(len({one.record_id for one in row}) > 1 for row in rows),
        same_images=len({frozenset(one.digest for one in each.answers) for each in evaluations}) == 1,
    )


def _is_learnt(answer: Answer, forbidden: frozenset[str]) -> bool:
    return answer.digest in forbidden or bool(answer.group and group_key(answer.group) in forbidden)


def _same(*copies: list[Answer]) -> Iterator[tuple[Answer, ...]]:
    """Yield the rows of one content: first those under one record id, then what is left in the order of the labels."""
    named = [{one.record_id: one for one in answers} for answers in copies]
    shared = [name for name in named[0] if all(name in answers for answers in named)]
    for name in shared:
        yield tuple(answers[name] for answers in named)
    left = [
        sorted((one for one in answers if one.record_id not in shared), key=lambda one: (one.label, one.record_id))
        for answers in copies
    ]
    yield from zip(*left, strict=False)
