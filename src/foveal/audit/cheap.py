"""The checks that cost next to nothing and that training therefore always makes."""

from __future__ import annotations

import unicodedata
from collections import defaultdict

import numpy as np

from foveal.audit.finding import MOST_RECORDS, Finding
from foveal.data.dataset import Dataset

LABEL_WRITTEN_TWO_WAYS = "label-written-two-ways"
GROUP_ACROSS_SPLITS = "group-across-splits"
DUPLICATES_ACROSS_SPLITS = "duplicates-across-splits"
DUPLICATES = "duplicates"
SAME_IMAGE_TWO_LABELS = "same-image-two-labels"
IMBALANCE = "imbalance"
NAMES = (
    LABEL_WRITTEN_TWO_WAYS,
    GROUP_ACROSS_SPLITS,
    DUPLICATES_ACROSS_SPLITS,
    DUPLICATES,
    SAME_IMAGE_TWO_LABELS,
    IMBALANCE,
)
IMBALANCE_RATIO = 5


def check_labels(dataset: Dataset) -> list[Finding]:
    """Return the finding of class names that differ only in case, accents' encoding, spaces, ``-`` or ``_``.

    Needs no image read.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dataset.classes:
        plain = unicodedata.normalize("NFKC", name).casefold().replace("-", " ").replace("_", " ")
        alike["".join(plain.split())].append(name)
    twins = [names for names in alike.values() if len(names) > 1]
    if not twins:
        return []
    written = "; ".join(" and ".join(f'"{name}"' for name in names) for names in twins)
    sentence = f"One label seems to be written in different ways: {written}."
    return [_finding(LABEL_WRITTEN_TWO_WAYS, "block", sentence, [name for names in twins for name in names])]


def check(dataset: Dataset, assigned: np.ndarray, *, torn_on_purpose: bool = False) -> list[Finding]:
    """Return the findings about `dataset` under the split `assigned` (N,).

    A group or the same content on two sides of a split blocks; ``torn_on_purpose`` (split by image
    although groups are known) turns the former into a warning, since it was asked for.
    """
    findings = check_labels(dataset)
    torn = _across(dataset.groups, assigned)
    if torn:
        sentence = (
            f"{len(torn):,} groups (patients) lie in more than one split, so the test would be answered from memory."
        )
        rows = [f"{group}: {', '.join(sorted({str(assigned[row]) for row in rows}))}" for group, rows in torn.items()]
        findings.append(_finding(GROUP_ACROSS_SPLITS, "warn" if torn_on_purpose else "block", sentence, rows))
    same = _same(dataset.scan.digests)
    leaks = {digest: rows for digest, rows in same.items() if len({str(assigned[row]) for row in rows}) > 1}
    if leaks:
        sentence = f"{len(leaks):,} images appear, byte for byte, in more than one split."
        findings.append(_finding(DUPLICATES_ACROSS_SPLITS, "block", sentence, _pairs(dataset, leaks, assigned)))
    if same:
        extra = sum(len(rows) - 1 for rows in same.values())
        sentence = f"{extra:,} images are exact copies of another image" + (
            "." if leaks else "; copies were kept in the same split."
        )
        findings.append(_finding(DUPLICATES, "warn", sentence, _pairs(dataset, same, assigned), count=extra))
    two = {digest: rows for digest, rows in same.items() if len({int(dataset.labels[row]) for row in rows}) > 1}
    if two:
        sentence = f"{len(two):,} images appear under more than one label; at most one of the labels can be right."
        pairs = [
            ", ".join(f"{dataset.record_ids[row]} ({dataset.classes[dataset.labels[row]]})" for row in rows)
            for rows in two.values()
        ]
        findings.append(_finding(SAME_IMAGE_TWO_LABELS, "warn", sentence, pairs))
    counts = dataset.class_counts()
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= IMBALANCE_RATIO * counts[least]:
        sentence = (
            f"The classes are unequal: {counts[most]:,} × {most} but {counts[least]:,} × {least}. "
            "Read the per-class figures, not accuracy alone; --class-weights balanced may help."
        )
        findings.append(_finding(IMBALANCE, "warn", sentence, [least]))
    return findings


def _finding(name: str, severity: str, sentence: str, records: list[str], count: int | None = None) -> Finding:
    shown = tuple(str(record) for record in records[:MOST_RECORDS])
    return Finding(name, "block" if severity == "block" else "warn", sentence, count or len(records), shown)


def _same(values: np.ndarray) -> dict[str, list[int]]:
    """Return value → rows, for the values that stand in more than one row (empty ones are unknown)."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, value in enumerate(values.tolist()):
        if value:
            rows[value].append(row)
    return {value: found for value, found in rows.items() if len(found) > 1}


def _across(values: np.ndarray, assigned: np.ndarray) -> dict[str, list[int]]:
    return {value: rows for value, rows in _same(values).items() if len({str(assigned[row]) for row in rows}) > 1}


def _pairs(dataset: Dataset, same: dict[str, list[int]], assigned: np.ndarray) -> list[str]:
    return [" = ".join(f"{dataset.record_ids[row]} ({assigned[row]})" for row in rows) for rows in same.values()]
