"""Near duplicates: the same picture, scaled, compressed anew, brightened, mirrored, or cut a little.

Two images are called so by either of two distances, each judged by how far apart the images of *this* set usually are:

* **pixels**: one minus the correlation of their grey thumbnails, 32×32, which brightness, contrast, scale and
  compression leave as it is. At most 0.02, and at most 5 % of the median distance of an image to its nearest other.
* **embedding**: one minus the cosine of their activations in a pretrained network, which a small crop, a turn or a
  mirror leaves nearly as it is. At most 25 % of that median, where the pixels agree to 0.4 as they are or mirrored.

A fixed threshold will not do: MNIST's handwritten ones are closer to one another than copies of a photo are, so
that a plain difference hash calls over a thousand pairs across its official splits copies. This rule calls none
there (10,000 × 60,000 pairs), and finds all of 200 photos (flowers5) compressed to JPEG quality 30, halved or with less
contrast, 98 % with a fifth more brightness; with an embedding 99 % of those cut by 2 % a side, turned 2° or mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.audit.finding import MOST_RECORDS, Finding
from foveal.data.dataset import Dataset

NEAR_DUPLICATES = "near-duplicates"
NEAR_DUPLICATES_ACROSS_SPLITS = "near-duplicates-across-splits"
NEAR_DUPLICATES_TWO_LABELS = "near-duplicates-two-labels"

LARGEST_PIXELS = 0.02
PIXELS_SHARE, EMBEDDING_SHARE = 0.05, 0.25  # of the median distance to the nearest other image
CONFIRMED = 0.4  # the most that pixels of embedding's pairs may differ: two lawns are alike, but not one picture
LOW = 8  # DCT coefficients a side, by which candidates are found
CANDIDATES = 3.0  # times the threshold, in those
COPY = 1e-3  # distance below which two vectors are of one picture in any set
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # as grey pictures are made of colour (ITU-R BT.601)
CHUNK = 2_000
MOST_SIMILARITIES = 30_000_000  # numbers at once: 120 MB
SAMPLE = 1_000  # images whose nearest other is looked up for the median
EVEN = 1e-3  # deviation of grey below which a picture shows nothing and is compared with none


@dataclass(frozen=True)
class Pair:
    """Two rows that show the same picture."""

    row: int
    other: int
    by: str  # "pixels", "mirrored" or "embedding"
    distance: float


def near_duplicates(thumbnails: np.ndarray, embeddings: np.ndarray | None, seed: int = 0) -> list[Pair]:
    """Return the pairs of near duplicates among thumbnails (N, 32, 32, 3), by `embeddings` (N, D) too where given.

    Exact copies are among them. The closest first.
    """
    found: dict[tuple[int, int], Pair] = {}

    def add(pairs: list[Pair]) -> None:
        for pair in pairs:
            place = (pair.row, pair.other)
            if place not in found or (found[place].by == "embedding" and pair.by != "embedding"):
                found[place] = pair

    if embeddings is not None:
        add(_by_embedding(embeddings, thumbnails, seed))
    add(_by_pixels(thumbnails, seed))
    return sorted(found.values(), key=lambda pair: (pair.by == "embedding", pair.distance, pair.row, pair.other))


def _by_embedding(embeddings: np.ndarray, thumbnails: np.ndarray, seed: int) -> list[Pair]:
    vectors = _unit(embeddings.reshape(len(embeddings), -1).astype(np.float32))
    most = EMBEDDING_SHARE * _median_nearest(vectors, seed)

    def agree(row: int, other: int) -> bool:
        one, two = (thumbnails[at] @ LUMINANCE for at in (row, other))
        pictures = (two, two[:, ::-1])
        return any(1 - float(_vector(one) @ _vector(picture)) <= CONFIRMED for picture in pictures)

    return [
        Pair(row, other, "embedding", max(0.0, distance))
        for row, other, distance in _close(vectors, vectors, most)
        if agree(row, other)
    ]


def _vector(grey: np.ndarray) -> np.ndarray:
    """Return the unit vector of one grey thumbnail (32, 32), its mean taken off."""
    vector: np.ndarray = _unit(_centred(grey[None]))[0]
    return vector


def _by_pixels(thumbnails: np.ndarray, seed: int) -> list[Pair]:
    grey = thumbnails @ LUMINANCE  # (N, 32, 32)
    telling = np.flatnonzero(grey.std(axis=(1, 2)) > EVEN)
    grey = grey[telling]
    if len(grey) < 2:
        return []
    vectors = _unit(_centred(grey))
    most = min(LARGEST_PIXELS, PIXELS_SHARE * _median_nearest(vectors, seed))
    low = _low(grey)
    pairs = []
    for by, others, low_others in (
        ("pixels", vectors, low),
        ("mirrored", _unit(_centred(grey[:, :, ::-1])), _low(grey[:, :, ::-1])),
    ):
        candidates = _close(low, low_others, CANDIDATES * most)
        for start in range(0, len(candidates), CHUNK):
            part = candidates[start : start + CHUNK]
            rows, partners = np.array([one[0] for one in part]), np.array([one[1] for one in part])
            distances = 1 - (vectors[rows] * others[partners]).sum(axis=1)
            for row, other, distance in zip(rows.tolist(), partners.tolist(), distances.tolist(), strict=True):
                if distance <= most:
                    pairs.append(Pair(int(telling[row]), int(telling[other]), by, max(0.0, distance)))
    return pairs


def _centred(grey: np.ndarray) -> np.ndarray:
    flat = grey.reshape(len(grey), -1)
    centred: np.ndarray = flat - flat.mean(axis=1, keepdims=True)
    return centred


def _low(grey: np.ndarray) -> np.ndarray:
    """Return the lowest frequencies of `grey` (N, 32, 32), without the mean, as unit vectors (N, 63)."""
    from scipy.fft import dctn

    return _unit(dctn(grey, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(grey), -1)[:, 1:].astype(np.float32))


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def _median_nearest(vectors: np.ndarray, seed: int) -> float:
    """Return the median distance of unit vectors (N, D) to their nearest other one, over a sample; copies left out."""
    count = len(vectors)
    if count < 2:
        return 0.0
    rows = np.random.default_rng(seed).permutation(count)[:SAMPLE]
    nearest = []
    for start in range(0, len(rows), 250):
        part = rows[start : start + 250]
        similar = vectors[part] @ vectors.T
        similar[similar > 1 - COPY] = -1  # itself, and its copies: a set may hold every image twice
        nearest.append(1 - similar.max(axis=1))
    return max(0.0, float(np.median(np.concatenate(nearest))))


def _close(vectors: np.ndarray, others: np.ndarray, most: float) -> list[tuple[int, int, float]]:
    """Return (row, other, distance) of all pairs row < other whose unit vectors are at most so far apart."""
    found: list[tuple[int, int, float]] = []
    step = max(1, min(CHUNK, MOST_SIMILARITIES // max(len(vectors), 1)))
    for start in range(0, len(vectors), step):
        similar = vectors[start : start + step] @ others[start:].T  # (step, rest)
        rows, columns = np.nonzero(similar >= 1 - most - 1e-6)
        kept = columns > rows
        rows, columns = rows[kept], columns[kept]
        distances = (1 - similar[rows, columns]).tolist()
        found += zip((rows + start).tolist(), (columns + start).tolist(), distances, strict=True)
    return found


def clusters(pairs: list[Pair], count: int) -> np.ndarray:
    """Return the number of the cluster (N,) that pairs join each of `count` rows to; a row alone has its own."""
    return connected([(pair.row, pair.other) for pair in pairs], count)


def connected(links: Sequence[tuple[int, int]], count: int) -> np.ndarray:
    """Return the number of the component (N,) that `links` join each of `count` rows to; a row alone has its own."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, others = [row for row, _ in links], [other for _, other in links]
    joints = coo_array((np.ones(len(links), np.int8), (rows, others)), shape=(count, count))
    joined: np.ndarray = connected_components(joints, directed=False)[1]
    return joined


def near_findings(dataset: Dataset, pairs: list[Pair], assigned: np.ndarray | None) -> list[Finding]:
    """Return the findings of near duplicates that are no exact copies, under the split `assigned` (N,), if any."""
    digests, labels = dataset.scan.digests, dataset.labels
    near = [pair for pair in pairs if digests[pair.row] != digests[pair.other]]
    two = [pair for pair in near if labels[pair.row] != labels[pair.other]]
    across = [pair for pair in near if assigned is not None and assigned[pair.row] != assigned[pair.other]]
    kept = "; they were kept in the same split" if assigned is not None and not across else ""
    said = (
        (NEAR_DUPLICATES, near, f"{_pairs(near)} of images shows the same picture, but for scale, compression, "
            f"brightness, a mirror or a small cut{kept}."),
        (NEAR_DUPLICATES_ACROSS_SPLITS, across, f"{_pairs(across)} of near duplicates lies in different splits, so "
            f"that part of the test may be answered from memory."),
        (NEAR_DUPLICATES_TWO_LABELS, two, f"{_pairs(two)} of near duplicates has two labels; at most one of the "
            f"two can be right."),
    )  # fmt: skip
    return [
        Finding(name, "warn", sentence, len(found), tuple(_line(dataset, pair) for pair in found[:MOST_RECORDS]))
        for name, found, sentence in said
        if found
    ]


def _pairs(found: list[Pair]) -> str:
    return "1 pair" if len(found) == 1 else f"Each of {len(found):,} pairs"


def _line(dataset: Dataset, pair: Pair) -> str:
    rows = (pair.row, pair.other)
    one, other = (f"{dataset.record_ids[row]} ({dataset.classes[dataset.labels[row]]})" for row in rows)
    return f"{one} ≈ {other}, by {pair.by} {pair.distance:.4f}"
