"""The trail: what happened, in order, each row holding the hash of the row before it.

::

    row 1            row 2                 row 3
    previous 000…    previous = hash 1     previous = hash 2     hash = SHA-256 of all the rest of the row

A row that is changed no longer has its hash; one that is taken out or put in breaks the chain behind it. Who
rewrites every hash behind it as well, or cuts the end off, is found out by the signed heads (`heads`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select

from foveal.storage.heads import PublicKey, SignedHead, is_signed, public_key_of
from foveal.storage.ids import now_us
from foveal.storage.tables import trail

START = "0" * 64  # what the first row has for the hash of the row before it
BATCH = 2000  # rows read at once
APPEND_LOCK = 0x666F7665616C02  # of PostgreSQL's advisory locks: one transaction appends

_LAST = select(trail.c.seq, trail.c.hash).order_by(trail.c.seq.desc()).limit(1)
_LOCK = select(func.pg_advisory_xact_lock(bindparam("lock")))
_BATCH = select(trail).where(trail.c.seq > bindparam("after")).order_by(trail.c.seq).limit(bindparam("limit"))
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


@dataclass(frozen=True)
class Event:
    """What is to be remembered: of which kind, by whom, about what, with which facts."""

    kind: str  # received, predicted, reviewed, …
    actor: str  # user:ID, key:ID, guest, watch, service
    subject: str = ""  # the id that it is about
    body: Mapping[str, Any] = field(default_factory=dict)  # ids, hashes and figures; no name of a person or a file


def append(connection: Connection, events: Sequence[Event]) -> tuple[int, ...]:
    """Add `events` to the trail in the transaction of `connection`, and return their numbers.

    On PostgreSQL every other appending transaction waits from here until this one ends: append last.
    """
    if not events:
        return ()
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK, {"lock": APPEND_LOCK})
    last = connection.execute(_LAST).first()
    seq, previous = (last.seq, last.hash) if last else (0, START)
    made_at = now_us()
    rows = []
    for event in events:
        seq += 1
        body = _encode(event.body)
        digest = row_hash(seq, made_at, event.kind, event.actor, event.subject, body, previous)
        rows.append(
            {"seq": seq, "made_at": made_at, "kind": event.kind, "actor": event.actor, "subject": event.subject,
             "body": body, "previous": previous, "hash": digest}
        )  # fmt: skip
        previous = digest
    connection.execute(insert(trail), rows)
    return tuple(range(seq - len(rows) + 1, seq + 1))


def row_hash(seq: int, made_at: int, kind: str, actor: str, subject: str, body: str, previous: str) -> str:
    """Return the SHA-256 of a row: of a JSON array of its columns, `body` as the text it is stored as."""
    return hashlib.sha256(_encode([seq, made_at, kind, actor, subject, body, previous]).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A row of the trail as it is stored, its body read."""

    seq: int
    made_at: int  # microseconds since 1970, UTC
    kind: str
    actor: str
    subject: str
    body: dict[str, Any]
    previous: str
    hash: str


def entries(
    connection: Connection,
    *,
    subject: str | None = None,
    kind: str | None = None,
    actor: str | None = None,
    after_seq: int = 0,
    limit: int = 200,
    newest_first: bool = False,
) -> list[Entry]:
    """Return up to `limit` rows about, of and by what is given; in order, or from the end."""
    wanted = select(trail).where(trail.c.seq > after_seq).limit(limit)
    for column, value in ((trail.c.subject, subject), (trail.c.kind, kind), (trail.c.actor, actor)):
        if value is not None:
            wanted = wanted.where(column == value)
    wanted = wanted.order_by(trail.c.seq.desc() if newest_first else trail.c.seq)
    return [Entry(**{**row, "body": json.loads(row["body"])}) for row in connection.execute(wanted).mappings()]


@dataclass(frozen=True)
class Fault:
    """The first row that is not as it was written, and what shows it."""

    seq: int
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What was found of the whole trail."""

    rows: int
    heads: int  # signed heads that it was held against
    fault: Fault | None

    @property
    def holds(self) -> bool:
        """Whether every row is there as it was written, as far as hashes and signed heads can tell."""
        return self.fault is None


def verify(connection: Connection, heads: Sequence[SignedHead] = (), public_key: PublicKey | None = None) -> Verdict:
    """Hold the whole trail against its own hashes and against signed `heads`, and name the first row that is wrong.

    Without `public_key` each head is held against the key that it names itself.
    """
    for head in heads:
        if not is_signed(head, public_key or public_key_of(head.public_key)):
            return Verdict(0, len(heads), Fault(head.seq, "the signature of its head is not of this trail's key"))
    pinned = {head.seq: head for head in sorted(heads, key=lambda head: head.made_at, reverse=True)}
    clashing = next((head for head in heads if pinned[head.seq].hash != head.hash), None)
    if clashing:
        return Verdict(0, len(heads), Fault(clashing.seq, "it was signed with two different hashes"))
    read = _Reading(pinned)
    while batch := connection.execute(_BATCH, {"after": read.seq, "limit": BATCH}).all():
        for row in batch:
            if fault := read.fault_of(row):
                return Verdict(read.seq, len(heads), fault)
    last = max(pinned, default=0)
    fault = (
        Fault(read.seq + 1, f"it is missing: the trail ends before it, and the head of row {last} was signed")
        if last > read.seq
        else None
    )
    return Verdict(read.seq, len(heads), fault)


def _says_so(row: Row[Any]) -> bool:
    """Return whether the hash of a row is that of its other columns."""
    facts: tuple[Any, ...] = tuple(row)[:-1]
    try:
        return row_hash(*facts) == str(row.hash)
    except TypeError:  # SQLite keeps bytes in a column of texts, too
        return False


class _Reading:
    """The chain, followed row by row."""

    def __init__(self, pinned: Mapping[int, SignedHead]) -> None:
        self.pinned = pinned
        self.seq = 0  # of the last row that was right
        self.hash = START
        self.sure = 0  # the last row that a head bears out

    def fault_of(self, row: Row[Any]) -> Fault | None:
        """Return what is wrong with the next row, or nothing."""
        seq = self.seq + 1
        if row.seq != seq:
            return Fault(seq, f"it is missing: after row {self.seq} comes row {row.seq}")
        digest = row.hash
        if not _says_so(row):
            return Fault(seq, "its hash is not that of what it says: it was altered")
        if row.previous != self.hash:
            if seq == 1:
                return Fault(1, "it follows on a row that is not there: the beginning was cut off")
            return Fault(self.seq, f"row {seq} was written after another row {self.seq}: it was replaced")
        head = self.pinned.get(seq)
        if head is not None and head.hash != digest:
            return Fault(
                self.sure + 1,
                f"it, or one up to row {seq}, was rewritten with all hashes behind it: row {seq} has another hash "
                "than in its signed head",
            )
        self.seq, self.hash = seq, digest
        self.sure = seq if head else self.sure
        return None
