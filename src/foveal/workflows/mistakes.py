"""Why the worst mistakes were made: what spoke for the class that they were given, for the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.classifier import Classifier
from foveal.data.dataset import Dataset
from foveal.errors import FovealError
from foveal.explanation.colours import overlay
from foveal.explanation.mapping import Wanted, maps_of
from foveal.explanation.methods import find_method
from foveal.explanation.sheets import as_rgb
from foveal.preprocess import UnreadableImageError, array_picture
from foveal.report.mistakes import MistakeMap
from foveal.report.sections import MOST_MISTAKES
from foveal.web.thumbnails import thumbnail

METHOD = "gradcam"
AT_ONCE = 8


def mistake_maps(
    classifier: Classifier, dataset: Dataset, records: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
) -> list[MistakeMap]:
    """Return the maps of the wrong answers that were given with the highest probability.

    `labels` (N,) were answered for the images at `records` (N,) of `dataset`, with `probabilities` (N, C). Grad-CAM at
    the last map before pooling, of the class that was answered; nothing where the network has no such map, or an
    engine answers that has none to give.
    """
    if classifier.runner is not None:
        return []
    wrong = np.flatnonzero(labels != dataset.labels[records])
    given = probabilities[wrong, labels[wrong]]
    worst = wrong[np.lexsort((dataset.record_ids[records[wrong]], -given))][:MOST_MISTAKES]
    found: list[MistakeMap] = []
    for start in range(0, len(worst), AT_ONCE):
        found += _explained(classifier, dataset, records[worst[start : start + AT_ONCE]], labels[worst][start:])
    return found


def _explained(
    classifier: Classifier, dataset: Dataset, rows: np.ndarray, labels: Sequence[int] | np.ndarray
) -> list[MistakeMap]:
    read = []
    for row, label in zip(rows.tolist(), labels, strict=False):
        try:
            read.append((row, int(label), classifier.preprocess.geometry(dataset.images.picture(row))))
        except (UnreadableImageError, OSError):  # it is gone since
            continue
    if not read:
        return []
    method = find_method(METHOD)
    try:
        mapped = maps_of(
            classifier, np.stack([one[2] for one in read]), [one[1] for one in read], Wanted((method,)), method
        )
    except (FovealError, RuntimeError):  # it has no map, or cannot be differentiated: no reason to lose a training
        return []
    place = mapped.found.place
    title = f"{method.title}{f' at {place.name}' if place else ''}"
    maps = []
    for (row, label, pixels), values in zip(read, mapped.maps, strict=True):
        if np.ptp(values) == 0:  # it points at nothing
            continue
        small = thumbnail(array_picture(overlay(as_rgb(pixels), values)))
        name = str(dataset.record_ids[row])
        maps.append(MistakeMap(name, classifier.classes[label], title, small.address, small.width, small.height))
    return maps
