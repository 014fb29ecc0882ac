"""The checks that cost next to nothing and that training therefore always makes."""

from __future__ import annotations

import unicodedata
from collections import defaultdict

import numpy as np

from foveal.audit.finding import MOST_RECORDS, Finding
from foveal.data.dataset import SPLITS, Dataset
from foveal.data.splits import absent_classes

LABEL_WRITTEN_TWO_WAYS = "label-written-two-ways"
GROUP_WRITTEN_TWO_WAYS = "group-written-two-ways"
GROUP_ACROSS_SPLITS = "group-across-splits"
DUPLICATES_ACROSS_SPLITS = "duplicates-across-splits"
DUPLICATES = "duplicates"
SAME_IMAGE_TWO_LABELS = "same-image-two-labels"
CLASS_IN_ONE_SOURCE = "class-in-one-source"
CLASS_ABSENT = "class-absent-from-split"
GROUPS_MISSING = "groups-missing"
SOURCES_MISSING = "sources-missing"
IMBALANCE = "imbalance"
NAMES = (
    LABEL_WRITTEN_TWO_WAYS,
    GROUP_WRITTEN_TWO_WAYS,
    GROUP_ACROSS_SPLITS,
    DUPLICATES_ACROSS_SPLITS,
    DUPLICATES,
    SAME_IMAGE_TWO_LABELS,
    CLASS_IN_ONE_SOURCE,
    CLASS_ABSENT,
    GROUPS_MISSING,
    SOURCES_MISSING,
    IMBALANCE,
)
IMBALANCE_RATIO = 5


def check_names(dataset: Dataset) -> list[Finding]:
    """Return the findings of classes, and of groups, whose names differ only in how they are written.

    That is in case, accents' encoding, spaces, ``-`` or ``_``. Needs no image read.
    """
    findings = []
    for name, what, values in (
        (LABEL_WRITTEN_TWO_WAYS, "label", dataset.classes),
        (GROUP_WRITTEN_TWO_WAYS, "group (patient)", sorted(set(dataset.groups.tolist()) - {""})),
    ):
        alike: dict[str, list[str]] = defaultdict(list)
        for value in values:
            alike[plain_writing(value)].append(value)
        twins = [written for written in alike.values() if len(written) > 1]
        if twins:
            shown = "; ".join(" and ".join(f'"{one}"' for one in written) for written in twins[:3])
            more = f" and {len(twins) - 3:,} more" if len(twins) > 3 else ""
            sentence = f"One {what} seems to be written in different ways: {shown}{more}."
            findings.append(_finding(name, "block", sentence, [one for written in twins for one in written]))
    return findings


def plain_writing(name: str) -> str:
    """Return what names have in common that differ in case, accents' encoding, spaces, ``-`` or ``_`` only."""
    plain = unicodedata.normalize("NFKC", name).casefold().replace("-", " ").replace("_", " ")
    return "".join(plain.split())


def check_sources(dataset: Dataset) -> list[Finding]:
    """Return the finding of classes that one source alone has while others have other classes.

    The source may then be all that is learned.
    """
    known = dataset.sources != ""
    found = {
        name: sorted(set(dataset.sources[known & (dataset.labels == label)].tolist()))
        for label, name in enumerate(dataset.classes)
    }
    everywhere = {source for sources in found.values() for source in sources}
    telling = [
        f"{name}: {sources[0]}"
        for name, sources in found.items()
        if len(sources) == 1 and any(other and other != sources for other in found.values())
    ]
    if len(everywhere) < 2 or not telling:
        return []
    sentence = (
        f"Some classes come from one source only ({'; '.join(telling[:3])}{', …' if len(telling) > 3 else ''}): a "
        "classifier can tell them by the source, so their figures prove nothing about the subject."
    )
    return [_finding(CLASS_IN_ONE_SOURCE, "warn", sentence, telling)]


def check_absent(dataset: Dataset, assigned: np.ndarray) -> list[Finding]:
    """Return the finding of classes without an image in one of the splits `assigned` (N,), if any."""
    absent = absent_classes(dataset, assigned, [split for split in SPLITS if (assigned == split).any()])
    shown = "; ".join(absent[:3]) + ("; …" if len(absent) > 3 else "")
    sentence = f"Some classes are absent from a given split ({shown})."
    return [_finding(CLASS_ABSENT, "block", sentence, absent)] if absent else []


def check_missing(dataset: Dataset) -> list[Finding]:
    """Return the findings of images without a group, or without a source, where others have one."""
    findings = []
    for name, column, what, so in (
        (GROUPS_MISSING, dataset.groups, "group (patient)", "each counts as its own, and a leak cannot be excluded"),
        (SOURCES_MISSING, dataset.sources, "source", "whether their class is told by it cannot be checked"),
    ):
        missing = column == ""
        if not missing.any() or missing.all():
            continue
        counts = np.bincount(dataset.labels[missing], minlength=len(dataset.classes))
        counted = zip(counts.tolist(), dataset.class_counts().items(), strict=True)
        by_class = [f"{count:,} of {of:,} {label}" for count, (label, of) in counted if count]
        shown = ", ".join(by_class[:4]) + (", …" if len(by_class) > 4 else "")
        sentence = f"{int(missing.sum()):,} images have no {what} ({shown}): {so}."
        findings.append(_finding(name, "warn", sentence, by_class, count=int(missing.sum())))
    return findings


def check(
    dataset: Dataset, assigned: np.ndarray | None, *, torn_on_purpose: bool = False, copies: np.ndarray | None = None
) -> list[Finding]:
    """Return the findings about `dataset` under the split `assigned` (N,), or under none.

    A group or the same content on two sides of a split blocks; ``torn_on_purpose`` (split by image
    although groups are known) turns the former into a warning, since it was asked for. Images are the
    same where their files are, or where `copies` (N,), a hash of what the network sees, are.
    """
    findings = check_names(dataset)
    is_split = assigned is not None
    assigned = np.full(len(dataset), "") if assigned is None else assigned
    torn = _torn(_same(dataset.groups), assigned)
    if torn:
        sentence = (
            f"{len(torn):,} groups (patients) lie in more than one split, so the test would be answered from memory."
        )
        rows = [f"{group}: {', '.join(sorted({str(assigned[row]) for row in rows}))}" for group, rows in torn.items()]
        findings.append(_finding(GROUP_ACROSS_SPLITS, "warn" if torn_on_purpose else "block", sentence, rows))
    same = _same(dataset.scan.digests if copies is None else copies)
    leaks = _torn(same, assigned)
    if leaks:
        sentence = f"{len(leaks):,} images appear in more than one split, with the same pixels."
        findings.append(_finding(DUPLICATES_ACROSS_SPLITS, "block", sentence, _pairs(dataset, leaks, assigned)))
    if same:
        extra = sum(len(rows) - 1 for rows in same.values())
        kept = "; copies were kept in the same split" if is_split and not leaks else ""
        copied = "image is an exact copy" if extra == 1 else "images are exact copies"
        sentence = f"{extra:,} {copied} of another image{kept}."
        findings.append(_finding(DUPLICATES, "warn", sentence, _pairs(dataset, same, assigned), count=extra))
    two = {digest: rows for digest, rows in same.items() if len({int(dataset.labels[row]) for row in rows}) > 1}
    if two:
        appear = "1 image appears" if len(two) == 1 else f"{len(two):,} images appear"
        sentence = f"{appear} under more than one label; at most one of the labels can be right."
        pairs = [
            ", ".join(f"{dataset.record_ids[row]} ({dataset.classes[dataset.labels[row]]})" for row in rows)
            for rows in two.values()
        ]
        findings.append(_finding(SAME_IMAGE_TWO_LABELS, "warn", sentence, pairs))
    findings += check_sources(dataset)
    findings += check_missing(dataset)
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
    texts = values.tolist()
    if len(set(texts)) == len(texts):
        return {}
    rows: dict[str, list[int]] = defaultdict(list)
    for row, value in enumerate(texts):
        if value:
            rows[value].append(row)
    return {value: found for value, found in rows.items() if len(found) > 1}


def _torn(same: dict[str, list[int]], assigned: np.ndarray) -> dict[str, list[int]]:
    """Return those of `same`, value → rows, whose rows lie in more than one split."""
    return {value: rows for value, rows in same.items() if len({str(assigned[row]) for row in rows}) > 1}


def _pairs(dataset: Dataset, same: dict[str, list[int]], assigned: np.ndarray) -> list[str]:
    def said(row: int) -> str:
        return f"{dataset.record_ids[row]}" + (f" ({assigned[row]})" if assigned[row] else "")

    return [" = ".join(map(said, rows)) for rows in same.values()]
