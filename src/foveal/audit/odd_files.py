"""Odd files: images that can be read, but that somebody should look at before they are learned from."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath

import numpy as np

from foveal.audit.finding import MOST_RECORDS, Finding
from foveal.audit.looks import FileFacts, Looks
from foveal.data.dataset import Dataset

ODD_FILES = "odd-files"
TINY = 16  # pixels on the short side
LONG = 4.0  # times as long as wide
EVEN = 2 / 255  # deviation of a picture that shows nothing
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "BMP": (".bmp", ".dib"), "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"), "WEBP": (".webp",), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
}  # fmt: skip
KNOWN = {one for suffixes in SUFFIXES.values() for one in suffixes}


def odd_files(dataset: Dataset, looks: Looks, facts: FileFacts | None) -> dict[str, list[int]]:
    """Return what is odd → the rows of the images that it is said of."""
    scan = dataset.scan
    short, long = np.minimum(scan.heights, scan.widths), np.maximum(scan.heights, scan.widths)
    odd: dict[str, list[int]] = defaultdict(list)
    for row in np.flatnonzero((short > 0) & (short < TINY) & (np.median(short) >= 2 * TINY)).tolist():
        odd[f"shorter than {TINY} pixels"].append(row)
    for row in np.flatnonzero((short > 0) & (long > LONG * short)).tolist():
        odd[f"more than {LONG:g} times as long as wide"].append(row)
    even = looks.thumbnails.std(axis=(1, 2)).max(axis=1) < EVEN
    for row in np.flatnonzero(even & (scan.heights > 0)).tolist():
        odd["of one colour throughout"].append(row)
    for row in range(len(dataset) if facts is not None else 0):
        suffix = PurePosixPath(str(dataset.record_ids[row])).suffix.lower()
        kind = "" if facts is None else str(facts.format[row])
        if kind and suffix in KNOWN - set(SUFFIXES.get(kind, KNOWN)):
            odd[f"called {suffix} but {kind}"].append(row)
    return dict(odd)


def odd_finding(dataset: Dataset, odd: dict[str, list[int]]) -> list[Finding]:
    """Return the finding of odd files, if any."""
    if not odd:
        return []
    rows = [(row, what) for what, found in odd.items() for row in found]
    parts = "; ".join(f"{len(found):,} {what}" for what, found in odd.items())
    lines = tuple(f"{dataset.record_ids[row]}: {what}" for row, what in rows[:MOST_RECORDS])
    return [Finding(ODD_FILES, "warn", f"Some files are odd: {parts}.", len(rows), lines)]
