"""Users, sessions and keys: who is let in, for how long, and that nothing readable is stored of a secret."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from foveal.errors import UsageError
from foveal.storage import accounts, keys, passwords
from foveal.storage.tables import keys as key_rows
from foveal.storage.tables import sessions, trail, users

PASSWORD = "a horse that corrects staples"
LIMITS = {"idle_s": 900.0, "longest_s": 36_000.0}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(passwords, "hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture
def clock(monkeypatch):
    at = [1_800_000_000_000_000]
    for module in (accounts, keys):
        monkeypatch.setattr(module, "now_us", lambda: at[0])
    return at


def kinds(database):
    with database.read() as connection:
        return list(connection.execute(select(trail.c.kind).order_by(trail.c.seq)).scalars())


def signed_in(database, name="Rosa", role="reviewer"):
    accounts.add_user(database, name, PASSWORD, role, actor="service")
    entered = accounts.sign_in(database, name, PASSWORD)
    assert entered is not None
    return entered


def session(database, secret):
    with database.read() as connection:
        return accounts.session_of(connection, secret, **LIMITS)


def test_a_user_signs_in_and_out_and_only_hashes_are_stored(database):
    user, secret = signed_in(database)
    assert session(database, secret).user == user
    with database.read() as connection:
        row = connection.execute(select(users)).mappings().one()
        assert row["password_hash"].startswith("$argon2id$")
        assert connection.execute(select(sessions.c.id)).scalar_one() != secret
    accounts.sign_out(database, session(database, secret))
    assert session(database, secret) is None
    assert kinds(database) == ["user-added", "signed-in", "signed-out"]


@pytest.mark.parametrize("name, password", [("Rosa", PASSWORD + "!"), ("Nobody", PASSWORD), ("rosa ", "x"), ("", "")])
def test_a_wrong_name_or_password_gives_nothing_but_a_row_of_the_trail_without_the_name(database, name, password):
    accounts.add_user(database, "Rosa", PASSWORD, "reader", actor="service")
    assert accounts.sign_in(database, name, password) is None
    with database.read() as connection:
        row = connection.execute(select(trail).order_by(trail.c.seq.desc())).mappings().first()
    assert row["kind"] == "sign-in-failed"
    assert "osa" not in row["subject"] + row["body"]


def test_a_session_ends_when_idle_and_after_a_day_whatever_it_does(database, clock):
    _, secret = signed_in(database)
    for _ in range(3):
        clock[0] += 800 * 1_000_000
        accounts.touch(database, session(database, secret))
    assert session(database, secret) is not None
    clock[0] += 901 * 1_000_000
    assert session(database, secret) is None  # idle
    _, secret = accounts.sign_in(database, "Rosa", PASSWORD)
    for _ in range(46):
        clock[0] += 800 * 1_000_000
        if (one := session(database, secret)) is None:
            break
        accounts.touch(database, one)
    assert session(database, secret) is None  # too long


def test_a_clock_that_steps_back_signs_nobody_out(database, clock):
    _, secret = signed_in(database)
    clock[0] -= 3 * 86_400 * 1_000_000
    assert session(database, secret) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda database, user: accounts.disable_user(database, user.id, actor="service"),
        lambda database, user: accounts.set_role(database, user.id, "reader", actor="service"),
        lambda database, user: accounts.set_password(database, user.id, PASSWORD + " too", actor="service"),
    ],
)
def test_what_changes_a_user_ends_their_sessions(database, change):
    user, secret = signed_in(database)
    _, second = accounts.sign_in(database, "Rosa", PASSWORD)
    change(database, user)
    assert session(database, secret) is None
    assert session(database, second) is None


def test_a_disabled_user_stays_out_until_enabled(database):
    user, _ = signed_in(database)
    accounts.disable_user(database, user.id, actor="service")
    assert accounts.sign_in(database, "Rosa", PASSWORD) is None
    accounts.enable_user(database, user.id, actor="service")
    assert accounts.sign_in(database, "Rosa", PASSWORD) is not None


def test_the_last_admin_stays(database):
    admin = accounts.add_user(database, "Chief", PASSWORD, "admin", actor="service")
    for change in (
        lambda: accounts.disable_user(database, admin.id, actor="service"),
        lambda: accounts.set_role(database, admin.id, "reader", actor="service"),
    ):
        with pytest.raises(UsageError, match="only admin"):
            change()
    accounts.add_user(database, "Deputy", PASSWORD, "admin", actor="service")
    accounts.disable_user(database, admin.id, actor="service")


@pytest.mark.parametrize(
    "name, password, role, says",
    [
        ("Rosa", "short", "reader", "12 to"),
        ("Rosa", "aaaaaaaaaaaaaaaa", "reader", "different"),
        ("Rosamunde", "rosamunde1234", "reader", "name"),
        ("ROSA L", PASSWORD, "reader", "already"),
        ("Zoe", PASSWORD, "reeder", 'Did you mean "reader"'),
        ("a\u202eb", PASSWORD, "reader", "visible"),
        (" ", PASSWORD, "reader", "visible"),
    ],
)
def test_users_that_are_refused(database, name, password, role, says):
    accounts.add_user(database, "Rosa L", PASSWORD, "reader", actor="service")
    with pytest.raises(UsageError, match=says):
        accounts.add_user(database, name, password, role, actor="service")


def test_names_of_actors(database):
    user, _ = signed_in(database)
    key, _ = keys.make_key(database, "scanner 2", {"predict"}, actor=user.actor)
    with database.read() as connection:
        named = accounts.actor_names(connection, [user.actor, key.actor, "guest", "user:gone"])
    assert named == {user.actor: "Rosa", key.actor: "key scanner 2", "guest": "guest", "user:gone": "user:gone"}


def test_a_key_is_verified_until_it_expires_or_is_revoked(database, clock):
    key, token = keys.make_key(database, "scanner", {"read", "predict"}, actor="user:1", expires_days=2)
    assert token.startswith(f"fv_{key.id}_")
    assert keys.verify_key(database, token) == key
    with database.read() as connection:
        stored = str(connection.execute(select(key_rows)).mappings().one())
    assert token.rpartition("_")[2] not in stored
    clock[0] += keys.DAY_US * 2
    assert keys.verify_key(database, token) is None
    key, token = keys.make_key(database, "scanner", {"read"}, actor="user:1")
    keys.revoke_key(database, key.id, actor="user:1")
    assert keys.verify_key(database, token) is None
    assert kinds(database) == ["key-made", "key-made", "key-revoked"]


def test_tokens_that_are_no_keys(database):
    key, token = keys.make_key(database, "scanner", {"read"}, actor="user:1")
    for wrong in ("", "fv", "fv__", token[:-1], token + "0", token.upper(), f"fv_{key.id}_", "x" + token, "fv_a_\x00é"):
        assert keys.verify_key(database, wrong) is None


@pytest.mark.parametrize("scopes, days", [([], None), (["reed"], None), (["read"], 0), (["read"], -1), (["read"], 1e9)])
def test_keys_that_are_refused(database, scopes, days):
    with pytest.raises(UsageError):
        keys.make_key(database, "scanner", scopes, actor="user:1", expires_days=days)
