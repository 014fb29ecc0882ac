"""What the page's script reads: which images lie where, their pictures, and every probability for the slider."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foveal.report import wording
from foveal.report.results import Answer, Tested
from foveal.web.svg import printable
from foveal.web.thumbnails import Thumbnail

MOST_SHOWN = 24  # images of a cell or a bin
MOST_SHARES = 600_000  # probabilities that the page carries for its slider: 1.6 MB
STEPS = 65_535  # to which a probability is rounded there

Cell = tuple[int, int]


@dataclass(eq=False)
class Shown:
    """The records that the page can show, each once."""

    tested: Tested
    thumbnails: Mapping[str, Thumbnail | None]
    records: list[list[Any]] = field(default_factory=list)
    place: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = {name: index for index, name in enumerate(self.tested.scores.classes)}
        self.numbers = {record_id: index for index, record_id in enumerate(self.thumbnails)}
        self.rows = {answer.record_id: row for row, answer in enumerate(self.tested.answers)}

    def of(self, images: Sequence[Answer]) -> list[int]:
        """Return the places in `records` of the first of `images` for which there was room."""
        found = []
        for answer in images[:MOST_SHOWN]:
            if answer.record_id not in self.thumbnails or answer.label not in self.names:
                continue
            if answer.record_id not in self.place:
                self.place[answer.record_id] = len(self.records)
                self.records.append(self._record(answer))
            found.append(self.place[answer.record_id])
        return found

    def _record(self, answer: Answer) -> list[Any]:
        """Return [id, true, predicted, probability, thumbnail or -1, row of the answers]."""
        there = self.thumbnails[answer.record_id] is not None
        return [
            printable(answer.record_id),
            self.names[answer.label],
            self.names[answer.predicted],
            wording.percent(answer.probability),
            self.numbers[answer.record_id] if there else -1,
            self.rows[answer.record_id],
        ]


def page_data(
    tested: Tested,
    cells: Mapping[Cell, Sequence[Answer]],
    bins: Sequence[Sequence[Answer]],
    thumbnails: Mapping[str, Thumbnail | None],
    in_the_page: set[str],
) -> dict[str, Any]:
    """Return what the page's script reads; ``images`` leaves out the thumbnails that stand in the page already."""
    shown = Shown(tested, thumbnails)
    by_cell = {f"{true}-{said}": [len(images), shown.of(images)] for (true, said), images in sorted(cells.items())}
    by_bin = [[len(images), shown.of(images)] for images in bins]
    return {
        "classes": [printable(name) for name in tested.scores.classes],
        "cells": by_cell,
        "bins": by_bin,
        "records": shown.records,
        "images": {
            str(shown.numbers[record_id]): [made.address, made.width, made.height]
            for record_id, made in thumbnails.items()
            if made and record_id not in in_the_page
        },
        "answers": _answers(tested),
        "operating": _threshold(tested),
    }


def _threshold(tested: Tested) -> list[float] | None:
    """Return [class, threshold] of the operating point that is deployed; None where there is none, or no threshold."""
    rule = tested.measured.get("operating", {}).get("operating", {})
    if rule.get("rule") != "threshold" or rule["positive"] not in tested.scores.classes:
        return None
    return [tested.scores.classes.index(rule["positive"]), float(rule["threshold"])]


def _answers(tested: Tested) -> dict[str, str] | None:
    """Return labels (N,) and probabilities (N, C) as little-endian uint16 in base64; None where that is too much."""
    classes = tested.scores.classes
    names = {name: index for index, name in enumerate(classes)}
    known = [answer for answer in tested.answers if answer.shares and answer.label in names]
    if not known or len(known) < len(tested.answers) or len(known) * len(classes) > MOST_SHARES:
        return None
    labels = np.array([names[answer.label] for answer in known], "<u2")
    shares = np.rint(np.array([answer.shares for answer in known]) * STEPS).astype("<u2")  # (N, C)
    return {name: base64.b64encode(part.tobytes()).decode() for name, part in (("labels", labels), ("shares", shares))}
