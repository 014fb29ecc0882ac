"""What a cleaned manifest keeps of a dataset, and why it leaves the rest out. No label is ever guessed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveal.audit.cheap import plain_writing
from foveal.audit.near import Pair, connected
from foveal.data.dataset import Dataset


@dataclass(frozen=True)
class Cleaned:
    """The rows of a cleaned manifest, and how many images were left out or changed, by reason."""

    rows: tuple[Mapping[str, str], ...]
    done: tuple[str, ...]


def clean(dataset: Dataset, pairs: Sequence[Pair]) -> Cleaned:
    """Return what can be learned from of `dataset`, whose images can all be read.

    Left out are all but the first of exact copies, and all copies and near duplicates that
    have two labels. Near duplicates that stay share a group, so that no split tears them; where they
    were of two groups, these become one. Labels that differ only in how they are written become the
    one that most images have.
    """
    digests, count = dataset.scan.digests.tolist(), len(dataset)
    written = _one_writing(dataset)
    labels = [written[dataset.classes[label]] for label in dataset.labels.tolist()]
    out: dict[int, str] = {}
    same: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        same[digest].append(row)
    for rows in same.values():
        two = len({labels[row] for row in rows}) > 1
        for row in rows if two else rows[1:]:
            out[row] = "are copies of one another under two labels" if two else "are copies of an image that stays"
    for pair in pairs:
        copies = [*same.get(digests[pair.row], ()), *same.get(digests[pair.other], ())]
        if len({labels[row] for row in copies}) > 1:
            out |= {row: "are near duplicates under two labels" for row in copies if row not in out}
    kept = [row for row in range(count) if row not in out]
    groups = _joined_groups(dataset, pairs)
    done = [f"{number:,} images {why}: left out" for why, number in Counter(out.values()).most_common()]
    given = sum(not dataset.groups[row] and bool(groups[row]) for row in kept)
    moved = sum(bool(dataset.groups[row]) and groups[row] != dataset.groups[row] for row in kept)
    renamed = sum(labels[row] != dataset.classes[dataset.labels[row]] for row in kept)
    done += [f"{given:,} images were given a group, as near duplicates of others"] if given else []
    done += [f"{moved:,} images were put into another group, which near duplicates join to theirs"] if moved else []
    done += [f"{renamed:,} images have a label that was written another way"] if renamed else []
    return Cleaned(
        tuple(
            {
                "record_id": str(dataset.record_ids[row]),
                "label": labels[row],
                "group": groups[row],
                "source": str(dataset.sources[row]),
                "split": str(dataset.given_splits[row]),
                "sha256": digests[row],
            }
            for row in kept
        ),
        tuple(done),
    )


def _one_writing(dataset: Dataset) -> dict[str, str]:
    """Return label → the writing that most images have of those which differ in case, spaces, ``-`` or ``_`` only."""
    counts = dataset.class_counts()
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dataset.classes:
        alike[plain_writing(name)].append(name)
    return {name: max(names, key=lambda one: counts[one]) for names in alike.values() for name in names}


def _joined_groups(dataset: Dataset, pairs: Sequence[Pair]) -> list[str]:
    """Return each image's group: near duplicates share one, and with them all the images of their groups.

    It is that of the first which has one, or a new one.
    """
    groups: list[str] = dataset.groups.tolist()
    links = [(pair.row, pair.other) for pair in pairs]
    first: dict[str, int] = {}
    links += [(first.setdefault(group, row), row) for row, group in enumerate(groups) if group]
    members: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(connected(links, len(dataset)).tolist()):
        members[number].append(row)
    for number, rows in members.items():
        if len(rows) > 1:
            name = next((groups[row] for row in rows if groups[row]), f"near-duplicates-{number}")
            for row in rows:
                groups[row] = name
    return groups
