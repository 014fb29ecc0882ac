"""The whole audit of a dataset: near duplicates, suspect labels, shortcuts. Kept by content, so it is made once.

A training makes it where features are computed anyway, `foveal data check` always.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.audit.finding import Finding
from foveal.audit.label_errors import Suspect, label_finding, suspects
from foveal.audit.looks import FileFacts, Looks, file_facts, look
from foveal.audit.near import Pair, clusters, near_duplicates, near_findings
from foveal.audit.shortcuts import Told, crossed, kinds_of, shortcut_finding, shortcuts
from foveal.data.dataset import Dataset, unknown
from foveal.data.splits import joined_units
from foveal.download import cache_folder
from foveal.errors import OutputError
from foveal.files import write_json
from foveal.progress import Progress

SCHEMA = 5
MOST_NUMBERS = 4_096  # of an embedding


@dataclass(frozen=True, eq=False)
class FullAudit:
    """What the whole audit found in N images."""

    pairs: tuple[Pair, ...]
    suspects: tuple[Suspect, ...]
    told: tuple[Told, ...]
    embedded_by: str  # the network whose activations were used; empty without

    def near(self, count: int) -> np.ndarray:
        """Return a text for each of `count` rows that near duplicates share; empty for those that have none."""
        numbers = clusters(list(self.pairs), count)
        sizes = np.bincount(numbers, minlength=count)
        return np.where(sizes[numbers] > 1, np.char.add("near ", numbers.astype(str)), "")

    def findings(self, dataset: Dataset, assigned: np.ndarray | None) -> list[Finding]:
        """Return what stands in the report, under the split `assigned` (N,) where there is one."""
        return [
            *near_findings(dataset, list(self.pairs), assigned),
            *label_finding(dataset, list(self.suspects)),
            *shortcut_finding(list(self.told)),
        ]


def full_audit(
    dataset: Dataset,
    embeddings: np.ndarray | None,
    embedded_by: str,
    progress: Progress,
    *,
    memory_gib: float,
    scratch: Path,
    seen: tuple[Looks, FileFacts | None] | None = None,
) -> FullAudit:
    """Return the whole audit of `dataset`, whose images can all be read, from the cache or made now.

    `embeddings` (N, D) are the activations of a pretrained network, called `embedded_by`: without them near
    duplicates are found by their pixels alone, and labels are not doubted. `seen` is how the images look and what their
    files say, where that is known already.
    """
    file = _place(dataset, embedded_by)
    kept = _read(file, dataset)
    if kept is not None:
        return kept
    if seen is None:
        looks = look(dataset, np.arange(len(dataset)), progress, memory_gib=memory_gib, scratch=scratch)
        seen = looks, file_facts(dataset, progress)
    looks, facts = seen
    with progress.stage("auditing", 3) as stage:
        pairs = _without_copies(dataset, near_duplicates(looks.thumbnails, _flat(embeddings)))
        stage.advance(1, "near duplicates found")
        near = FullAudit(tuple(pairs), (), (), "").near(len(dataset))
        units = joined_units(dataset.scan.digests, [near, dataset.groups])
        folds = crossed(dataset.labels, units)
        told = shortcuts(dataset, kinds_of(dataset, looks, facts), units, folds)
        stage.advance(1, "shortcuts measured")
        flat = _flat(embeddings)
        doubted = [] if flat is None else suspects(flat, dataset.labels, folds)
        stage.advance(1)
    made = FullAudit(tuple(pairs), tuple(doubted), tuple(told), embedded_by)
    _write(file, made, dataset, progress)
    return made


def _flat(embeddings: np.ndarray | None) -> np.ndarray | None:
    """Return activations (N, D): of maps (N, C, H, W) the means, of more than 4,096 numbers those of neighbours."""
    if embeddings is None:
        return None
    values = embeddings
    if values.ndim > 2:
        values = values.reshape(*values.shape[:2], -1).mean(axis=2)
    if values.shape[1] > MOST_NUMBERS:  # a flattened map: neighbours are of one channel
        together = -(-values.shape[1] // MOST_NUMBERS)
        whole = values.shape[1] // together * together
        values = values[:, :whole].reshape(len(values), -1, together).mean(axis=2)
    flat: np.ndarray = values
    return flat


def _without_copies(dataset: Dataset, pairs: list[Pair]) -> list[Pair]:
    """Return the pairs of different files, each once: of exact copies, which are found by their hash, the first."""
    first: dict[str, int] = {}
    digests = dataset.scan.digests.tolist()
    for row, digest in enumerate(digests):
        first.setdefault(digest, row)
    kept: dict[tuple[int, int], Pair] = {}
    for pair in pairs:
        row, other = sorted((first[digests[pair.row]], first[digests[pair.other]]))
        if row != other:
            kept.setdefault((row, other), Pair(row, other, pair.by, pair.distance))
    return list(kept.values())


def _place(dataset: Dataset, embedded_by: str) -> Path:
    undivided = dataset.with_splits(unknown(len(dataset)))  # the folds of one set are one set
    facts = [SCHEMA, undivided.content_hash, embedded_by, dataset.classes]  # labels are kept as places among these
    return cache_folder() / "audits" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}.json"


def _write(file: Path, made: FullAudit, dataset: Dataset, progress: Progress) -> None:
    """Keep an audit, with images named by the hash of their files: their order may be another next time."""
    digests = dataset.scan.digests

    def named(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {key: str(digests[value]) if key in ("row", "other") else value for key, value in entry.items()}

    value = {
        "schema_version": SCHEMA,
        "pairs": [named(asdict(pair)) for pair in made.pairs],
        "suspects": [named(asdict(one)) for one in made.suspects],
        "told": [asdict(one) for one in made.told],
        "embedded_by": made.embedded_by,
    }
    try:
        write_json(file, {**value, "sha256": _digest(value)})
    except OutputError as error:
        progress.line(f"note: the audit is not kept for the next time: {str(error).rstrip('.')}")


def _read(file: Path, dataset: Dataset) -> FullAudit | None:
    """Return the audit in `file`, or None where there is none, or one that is damaged."""
    first: dict[str, int] = {}
    filed: dict[tuple[str, int], list[int]] = {}  # copies under one label are all suspect, or none
    for row, (digest, label) in enumerate(zip(dataset.scan.digests.tolist(), dataset.labels.tolist(), strict=True)):
        first.setdefault(digest, row)
        filed.setdefault((digest, label), []).append(row)
    try:
        value = json.loads(file.read_text("utf-8"))
        if value.pop("sha256") != _digest(value):
            return None
        pairs = []
        for entry in value["pairs"]:
            row, other = sorted((first[entry["row"]], first[entry["other"]]))
            pairs.append(Pair(**{**entry, "row": row, "other": other}))
        doubted = [
            Suspect(**{**entry, "row": filed[entry["row"], entry["label"]].pop(0)}) for entry in value["suspects"]
        ]
        told = [Told(**entry) for entry in value["told"]]
        return FullAudit(tuple(pairs), tuple(doubted), tuple(told), value["embedded_by"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
