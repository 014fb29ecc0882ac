"""Users and their sessions: who people are, what their role lets them do, and when they are signed out.

A user is one person. A session belongs to one user and one browser; it ends when it is signed out, after a while
without a sign of life, after a working day, and when the user is disabled or gets another password or role.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Connection, RowMapping, func, select

from foveal.errors import StorageError, UsageError, nearest
from foveal.storage import trail
from foveal.storage.database import Database
from foveal.storage.ids import new_id, now_us
from foveal.storage.passwords import check_password, hashed, is_right
from foveal.storage.tables import keys, sessions, users

SCOPES = ("predict", "explain", "read", "review", "admin")
ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "reader": frozenset({"read", "explain"}),
        "reviewer": frozenset({"read", "explain", "review", "predict"}),
        "admin": frozenset(SCOPES),
    }
)
LONGEST_NAME = 64


@dataclass(frozen=True)
class User:
    """One person who may sign in."""

    id: str
    name: str
    role: str
    made_at: int
    disabled_at: int | None

    @property
    def actor(self) -> str:
        """How the trail and the reviews call this person; a name can change, this cannot."""
        return f"user:{self.id}"

    @property
    def scopes(self) -> frozenset[str]:
        """What the role lets this person do."""
        return ROLES[self.role]


@dataclass(frozen=True)
class Session:
    """A user signed in at one browser."""

    id: str
    user: User
    made_at: int
    seen_at: int


def add_user(database: Database, name: str, password: str, role: str, *, actor: str) -> User:
    """Add a person and return them; UsageError for a name that is taken, a weak password or an unknown role."""
    name = _named(name)
    _check_role(role)
    check_password(password, name)
    password_hash = hashed(password)
    user = User(new_id(), name, role, now_us(), None)
    with database.write() as connection:
        if connection.execute(select(users.c.id).where(func.lower(users.c.name) == name.lower())).first():
            raise UsageError(f'There is a user "{name}" already; each person has a login of their own.')
        connection.execute(
            users.insert().values(
                id=user.id, name=name, password_hash=password_hash, role=role, made_at=user.made_at, disabled_at=None
            )
        )
        trail.append(connection, [trail.Event("user-added", actor, user.id, {"role": role})])
    return user


def set_role(database: Database, user_id: str, role: str, *, actor: str) -> None:
    """Give a user another role, and end their sessions, which had the old one."""
    _check_role(role)
    with database.write() as connection:
        before = user_of(connection, user_id)
        if before.role == role:
            return
        _keep_an_admin(connection, before, "has another role")
        connection.execute(users.update().where(users.c.id == user_id).values(role=role))
        _end_sessions(connection, user_id)
        body = {"role": role, "before": before.role}
        trail.append(connection, [trail.Event("user-role-set", actor, user_id, body)])


def disable_user(database: Database, user_id: str, *, actor: str) -> None:
    """Let a user in no more, and end their sessions at once."""
    with database.write() as connection:
        user = user_of(connection, user_id)
        if user.disabled_at is not None:
            return
        _keep_an_admin(connection, user, "is disabled")
        connection.execute(users.update().where(users.c.id == user_id).values(disabled_at=now_us()))
        _end_sessions(connection, user_id)
        trail.append(connection, [trail.Event("user-disabled", actor, user_id, {})])


def enable_user(database: Database, user_id: str, *, actor: str) -> None:
    """Let a disabled user in again."""
    with database.write() as connection:
        if user_of(connection, user_id).disabled_at is None:
            return
        connection.execute(users.update().where(users.c.id == user_id).values(disabled_at=None))
        trail.append(connection, [trail.Event("user-enabled", actor, user_id, {})])


def set_password(database: Database, user_id: str, password: str, *, actor: str) -> None:
    """Give a user another password, and end their sessions."""
    with database.read() as connection:
        name = user_of(connection, user_id).name
    check_password(password, name)
    password_hash = hashed(password)
    with database.write() as connection:
        user_of(connection, user_id)
        connection.execute(users.update().where(users.c.id == user_id).values(password_hash=password_hash))
        _end_sessions(connection, user_id)
        trail.append(connection, [trail.Event("password-set", actor, user_id, {})])


def user_of(connection: Connection, user_id: str) -> User:
    """Return the user of an id; UsageError where there is none."""
    row = connection.execute(select(users).where(users.c.id == user_id)).mappings().first()
    if row is None:
        raise UsageError("There is no such user.")
    return _user(row)


def user_named(connection: Connection, name: str) -> User:
    """Return the user of a name; UsageError where there is none."""
    row = connection.execute(select(users).where(users.c.name == unicodedata.normalize("NFC", name.strip())))
    found = row.mappings().first()
    if found is None:
        known = connection.execute(select(users.c.name)).scalars()
        raise UsageError(f'There is no user "{name}".{nearest(name, known)}')
    return _user(found)


def all_users(connection: Connection) -> list[User]:
    """Return every user, by name."""
    rows = connection.execute(select(users).order_by(func.lower(users.c.name), users.c.id)).mappings()
    return [_user(row) for row in rows]


def actor_names(connection: Connection, actors: Iterable[str]) -> dict[str, str]:
    """Return what to call each actor on a page: the user's or key's name; others are called what they are."""
    names = {actor: actor for actor in actors}
    for prefix, table in (("user:", users), ("key:", keys)):
        ids = [actor.removeprefix(prefix) for actor in names if actor.startswith(prefix)]
        if ids:
            for row in connection.execute(select(table.c.id, table.c.name).where(table.c.id.in_(ids))):
                names[prefix + row.id] = row.name if prefix == "user:" else f"key {row.name}"
    return names


def sign_in(database: Database, name: str, password: str) -> tuple[User, str] | None:
    """Return the user and the secret of a new session; None for a wrong name or password or a disabled user.

    It takes as long for a name that is not known. Both outcomes are written to the trail, without the name.
    """
    typed = unicodedata.normalize("NFC", name.strip())
    with database.read() as connection:
        row = connection.execute(select(users).where(users.c.name == typed)).mappings().first()
    right = is_right(row["password_hash"] if row is not None else None, password)
    secret = secrets.token_urlsafe(32)
    with database.write() as connection:
        now = connection.execute(select(users).where(users.c.name == typed)).mappings().first()
        if row is None or now is None or not right:
            subject = row["id"] if row is not None else "unknown"
            trail.append(connection, [trail.Event("sign-in-failed", "service", subject, {})])
            return None
        user = _user(now)
        if user.disabled_at is not None or now["password_hash"] != row["password_hash"]:
            trail.append(connection, [trail.Event("sign-in-failed", "service", user.id, {"disabled": True})])
            return None
        at = now_us()
        connection.execute(
            sessions.insert().values(id=_digest(secret), user_id=user.id, made_at=at, seen_at=at, ended_at=None)
        )
        trail.append(connection, [trail.Event("signed-in", user.actor, user.id, {})])
    return user, secret


def session_of(connection: Connection, secret: str, *, idle_s: float, longest_s: float) -> Session | None:
    """Return the session of a cookie's secret; None where it has ended, idled too long or lasted too long."""
    query = (
        select(users, sessions.c.id.label("session"), sessions.c.made_at.label("began"), sessions.c.seen_at)
        .join(users, users.c.id == sessions.c.user_id)
        .where(sessions.c.id == _digest(secret), sessions.c.ended_at.is_(None), users.c.disabled_at.is_(None))
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    at = now_us()  # a clock that stepped back gives negative ages: those sessions are young, not old
    if at - row["seen_at"] > idle_s * 1e6 or at - row["began"] > longest_s * 1e6:
        return None
    return Session(row["session"], _user(row), row["began"], row["seen_at"])


def touch(database: Database, session: Session) -> None:
    """Write down that the user gave a sign of life."""
    with database.write() as connection:
        connection.execute(sessions.update().where(sessions.c.id == session.id).values(seen_at=now_us()))


def sign_out(database: Database, session: Session, *, idle: bool = False) -> None:
    """End a session; signing out twice is no error."""
    with database.write() as connection:
        ended = connection.execute(
            sessions.update()
            .where(sessions.c.id == session.id, sessions.c.ended_at.is_(None))
            .values(ended_at=now_us())
        )
        if ended.rowcount:
            body = {"idle": idle}
            trail.append(connection, [trail.Event("signed-out", session.user.actor, session.user.id, body)])


def _end_sessions(connection: Connection, user_id: str) -> None:
    connection.execute(
        sessions.update().where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None)).values(ended_at=now_us())
    )


def _keep_an_admin(connection: Connection, user: User, what: str) -> None:
    if user.role != "admin" or user.disabled_at is not None:
        return
    query = select(func.count()).where(users.c.role == "admin", users.c.disabled_at.is_(None), users.c.id != user.id)
    if not connection.execute(query).scalar_one():
        raise UsageError(f"{user.name} is the only admin: make another one before this one {what}.")


def _named(name: str) -> str:
    name = unicodedata.normalize("NFC", name.strip())
    if not 1 <= len(name) <= LONGEST_NAME or any(unicodedata.category(letter)[0] == "C" for letter in name):
        raise UsageError(f"A user's name has 1 to {LONGEST_NAME} visible characters.")
    return name


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise UsageError(f'There is no role "{role}"; there are {", ".join(ROLES)}.{nearest(role, ROLES)}')


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()  # 256 random bits need no slow hash


def _user(row: RowMapping) -> User:
    if row["role"] not in ROLES:
        raise StorageError(f"The user {row['id']} has the unknown role {row['role']!r}: the database was altered.")
    return User(row["id"], row["name"], row["role"], row["made_at"], row["disabled_at"])
