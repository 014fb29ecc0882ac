"""API keys: what a program shows instead of a password.

A key reads ``fv_<id>_<secret>``. The secret is shown once, when the key is made; its argon2id hash is kept.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select

from foveal.errors import UsageError, nearest
from foveal.storage import trail
from foveal.storage.accounts import LONGEST_NAME, SCOPES
from foveal.storage.database import Database
from foveal.storage.ids import new_id, now_us
from foveal.storage.passwords import hashed, is_right
from foveal.storage.tables import keys

PREFIX = "fv"
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Key:
    """A key without its secret."""

    id: str
    name: str
    scopes: frozenset[str]
    made_by: str
    made_at: int
    expires_at: int | None
    revoked_at: int | None

    @property
    def actor(self) -> str:
        """How the trail calls this key."""
        return f"key:{self.id}"

    def state(self, at: int) -> str:
        """Return valid, expired or revoked, at the time `at`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and at >= self.expires_at else "valid"


def make_key(
    database: Database, name: str, scopes: Collection[str], *, actor: str, expires_days: float | None = None
) -> tuple[Key, str]:
    """Make a key and return it with its token, which cannot be shown again."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise UsageError(f"A key's name has 1 to {LONGEST_NAME} visible characters and says what uses it.")
    if not scopes:
        raise UsageError(f"A key needs a scope: {', '.join(SCOPES)}.")
    for scope in scopes:
        if scope not in SCOPES:
            raise UsageError(f'There is no scope "{scope}"; there are {", ".join(SCOPES)}.{nearest(scope, SCOPES)}')
    if expires_days is not None and not 0 < expires_days <= 3650:
        raise UsageError("A key expires after more than 0 and at most 3650 days.")
    at = now_us()
    expires_at = None if expires_days is None else at + round(expires_days * DAY_US)
    secret = secrets.token_hex(24)
    secret_hash = hashed(secret)
    key = Key(new_id(), name, frozenset(scopes), actor, at, expires_at, None)
    listed = [scope for scope in SCOPES if scope in key.scopes]
    with database.write() as connection:
        connection.execute(
            keys.insert().values(
                id=key.id,
                name=name,
                secret_hash=secret_hash,
                scopes=json.dumps(listed),
                made_by=actor,
                made_at=at,
                expires_at=expires_at,
                revoked_at=None,
            )
        )
        body = {"scopes": listed, "expires_at": expires_at}
        trail.append(connection, [trail.Event("key-made", actor, key.id, body)])
    return key, f"{PREFIX}_{key.id}_{secret}"


def all_keys(connection: Connection) -> list[Key]:
    """Return every key, the newest first."""
    rows = connection.execute(select(keys).order_by(keys.c.made_at.desc(), keys.c.id)).mappings()
    return [_key(row) for row in rows]


def revoke_key(database: Database, key_id: str, *, actor: str) -> None:
    """Let a key in no more; UsageError where there is none. A key revoked already stays so."""
    with database.write() as connection:
        row = connection.execute(select(keys).where(keys.c.id == key_id)).mappings().first()
        if row is None:
            raise UsageError("There is no such key.")
        if row["revoked_at"] is None:
            connection.execute(keys.update().where(keys.c.id == key_id).values(revoked_at=now_us()))
            trail.append(connection, [trail.Event("key-revoked", actor, key_id, {})])


def verify_key(database: Database, token: str) -> Key | None:
    """Return the key of a token; None where it is malformed, unknown, wrong, expired or revoked.

    An id is no secret, so an unknown one is refused without the work of a hash.
    """
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != PREFIX or not key_id or not secret or len(token) > 200:
        return None
    with database.read() as connection:
        row = connection.execute(select(keys).where(keys.c.id == key_id)).mappings().first()
    if row is None:
        return None
    key = _key(row)
    if key.state(now_us()) != "valid" or not is_right(row["secret_hash"], secret):
        return None
    return key


def _key(row: RowMapping) -> Key:
    return Key(
        row["id"],
        row["name"],
        frozenset(json.loads(row["scopes"])),
        row["made_by"],
        row["made_at"],
        row["expires_at"],
        row["revoked_at"],
    )
