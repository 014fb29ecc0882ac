"""The trail: appended to by many at once, and every way of altering it named."""

from __future__ import annotations

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from stored_rows import append_many

from foveal.errors import StorageError
from foveal.storage import trail
from foveal.storage.database import open_database
from foveal.storage.heads import read_heads, sign, sign_last, signing_key
from foveal.storage.tables import trail as rows
from foveal.storage.trail import Event, entries, row_hash


@pytest.fixture
def key(tmp_path):
    return signing_key(tmp_path / "keys")


@pytest.fixture
def written(database):
    """A trail of ten rows, in two transactions."""
    for part in range(2):
        with database.write() as connection:
            trail.append(
                connection, [Event("predicted", "key:a", f"case{part}", {"p": 0.25, "n": n}) for n in range(5)]
            )
    return database


def verdict(database, heads=(), key=None):
    with database.read() as connection:
        return trail.verify(connection, heads, key.public_key() if key else None)


def head_of(database, key, seq):
    with database.read() as connection:
        return sign(key, seq, connection.execute(text(f"SELECT hash FROM trail WHERE seq = {seq}")).scalar_one())


def test_rows_are_numbered_from_one_without_a_gap(written):
    with written.write() as connection:
        assert trail.append(connection, [Event("signed-in", "user:b"), Event("signed-out", "user:b")]) == (11, 12)
    with pytest.raises(ZeroDivisionError), written.write() as connection:
        assert trail.append(connection, [Event("signed-in", "user:c")]) == (13,)
        raise ZeroDivisionError
    with written.write() as connection:
        assert trail.append(connection, []) == ()
        assert trail.append(connection, [Event("signed-in", "user:d")]) == (13,)
    assert verdict(written) == trail.Verdict(13, 0, None)


def test_rows_are_found_by_what_they_are_about(written):
    with written.read() as connection:
        assert [one.seq for one in entries(connection, subject="case1", after_seq=7)] == [8, 9, 10]
        assert [one.seq for one in entries(connection, actor="key:a", newest_first=True, limit=2)] == [10, 9]
        assert entries(connection, kind="erased") == []
        assert entries(connection, limit=1)[0].body == {"n": 0, "p": 0.25}


TAMPERED = {  # what is done → the row that is named, and words of the sentence
    "a row edited": ("UPDATE trail SET actor = 'guest' WHERE seq = 4", 4, "altered"),
    "a figure edited": ("UPDATE trail SET body = replace(body, '0.25', '0.75') WHERE seq = 6", 6, "altered"),
    "a time edited": ("UPDATE trail SET made_at = made_at - 1 WHERE seq = 10", 10, "altered"),
    "a hash edited": ("UPDATE trail SET hash = previous WHERE seq = 2", 2, "altered"),
    "a row taken out": ("DELETE FROM trail WHERE seq = 5", 5, "missing"),
    "the first row taken out": ("DELETE FROM trail WHERE seq = 1", 1, "missing"),
    "a row taken out and the rest moved up": (
        "DELETE FROM trail WHERE seq = 5; UPDATE trail SET seq = seq - 1 WHERE seq > 5", 5, "altered",
    ),
    "two rows exchanged": (
        "UPDATE trail SET seq = 99 WHERE seq = 3; UPDATE trail SET seq = 3 WHERE seq = 7;"
        "UPDATE trail SET seq = 7 WHERE seq = 99", 3, "altered",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_done_to_the_rows_is_named(written, place, what):
    statements, seq, words = TAMPERED[what]
    for one in statements.split(";"):
        place.tamper(one)
    fault = verdict(written).fault
    assert fault is not None
    assert fault.seq == seq
    assert words in fault.sentence


def rewrite(database, place, seq, through, **changes):
    """Change row `seq` and give it, and every row behind it up to `through`, hashes that fit."""
    with database.read() as connection:
        rows = entries(connection, after_seq=seq - 1, limit=through - seq + 1)
        bodies = {row.seq: row.body for row in connection.execute(text("SELECT seq, body FROM trail"))}
    previous = rows[0].previous
    for row in rows:
        facts = {**dataclasses.asdict(row), "body": bodies[row.seq], "previous": previous}
        facts |= changes if row.seq == seq else {}
        del facts["hash"]
        digest = row_hash(**facts)
        sets = ", ".join(f"{name} = '{value}'" for name, value in {**facts, "hash": digest}.items() if name != "seq")
        place.tamper(f"UPDATE trail SET {sets} WHERE seq = {row.seq}")
        previous = digest


def test_a_row_that_was_replaced_is_named(written, place):
    rewrite(written, place, 6, 6, actor="guest")
    assert verdict(written).fault == trail.Fault(6, "row 7 was written after another row 6: it was replaced")


def test_a_cut_tail_shows_against_a_head(written, place, key):
    heads = [head_of(written, key, 10)]
    assert verdict(written, heads, key).holds
    place.tamper("DELETE FROM trail WHERE seq > 7")
    assert verdict(written).holds, "the chain alone cannot tell"
    fault = verdict(written, heads, key).fault
    assert fault.seq == 8
    assert "missing" in fault.sentence
    place.tamper("DELETE FROM trail")
    assert verdict(written, heads, key).fault.seq == 1


def test_a_trail_written_anew_shows_against_a_head(written, place, key):
    heads = [head_of(written, key, 3), head_of(written, key, 8)]
    rewrite(written, place, 5, 10, actor="guest")
    assert verdict(written).holds, "the chain alone cannot tell"
    fault = verdict(written, heads, key).fault
    assert fault.seq == 4, "the first row after the last head that is right"
    assert "up to row 8" in fault.sentence


def test_a_head_signed_by_another_key_is_named(written, place, key, tmp_path):
    forger = signing_key(tmp_path / "forger")
    rewrite(written, place, 5, 10, actor="guest")
    heads = [head_of(written, forger, 10)]
    assert "signature" in verdict(written, heads, key).fault.sentence
    altered = dataclasses.replace(head_of(written, key, 10), seq=9)
    assert "signature" in verdict(written, [altered], key).fault.sentence
    assert "signature" in verdict(written, [altered]).fault.sentence


def test_one_row_signed_with_two_hashes_is_named(written, place, key):
    before = head_of(written, key, 10)
    rewrite(written, place, 5, 10, actor="guest")
    fault = verdict(written, [before, head_of(written, key, 10)], key).fault
    assert "two different hashes" in fault.sentence


def test_the_rows_are_read_in_batches(written, monkeypatch, place):
    monkeypatch.setattr(trail, "BATCH", 3)
    assert verdict(written).rows == 10
    place.tamper("UPDATE trail SET kind = 'erased' WHERE seq = 7")
    assert verdict(written).fault.seq == 7


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=1, max_size=4),
    body=st.dictionaries(
        st.text(max_size=4), st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3), max_leaves=5,
        ), max_size=4,
    ),
)  # fmt: skip
def test_whatever_is_written_verifies(any_database, kinds, body):
    with any_database.write() as connection:
        trail.append(connection, [Event(kind, kind, kind, body) for kind in kinds])
    assert verdict(any_database).holds
    with any_database.read() as connection:
        assert entries(connection, newest_first=True, limit=1)[0].body == body


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def any_database(request, tmp_path_factory):
    """One database for many examples."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        file = tmp_path_factory.mktemp("any") / "foveal.db"
        file.write_bytes(template.read_bytes())
        database = open_database(f"sqlite:///{file}")
    else:
        server = request.getfixturevalue("postgres")
        name = server.new_database(request.getfixturevalue("postgres_template"))
        database = open_database(server.url(name, "clerk"))
    yield database
    database.close()


def test_not_a_number_is_refused(database):
    with pytest.raises(ValueError, match="JSON"), database.write() as connection:
        trail.append(connection, [Event("predicted", "service", "", {"p": float("nan")})])
    assert verdict(database).rows == 0


def test_processes_append_to_one_chain(place, database):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(append_many, [place.url] * 3, ["key:a", "key:b", "key:c"], [15] * 3))
    found = verdict(database)
    assert found.holds
    assert found.rows == 3 * 15 * 3
    with database.read() as connection:
        rows = entries(connection, limit=1000)
    assert all(len({row.subject + row.actor for row in rows[at : at + 3]}) == 1 for at in range(0, len(rows), 3))


def test_heads_are_added_to_their_file(written, key, tmp_path):
    file = tmp_path / "heads.jsonl"
    with written.read() as connection:
        first = sign_last(connection, key, file)
        assert sign_last(connection, key, file) == first, "nothing was appended since"
    file.write_bytes(file.read_bytes() + b'{"seq": 11, "ha')  # as a power cut leaves it
    assert read_heads(file) == [first]
    with written.write() as connection:
        trail.append(connection, [Event("signed-in", "user:a")])
    with written.read() as connection:
        second = sign_last(connection, key, file)
    assert read_heads(file) == [first, second]
    assert verdict(written, read_heads(file), key).holds


def test_no_row_has_no_head(database, key, tmp_path):
    with database.read() as connection:
        assert sign_last(connection, key, tmp_path / "heads.jsonl") is None


def test_the_key_is_its_owners_only(tmp_path):
    key = signing_key(tmp_path)
    file = tmp_path / "trail.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert signing_key(tmp_path).private_bytes_raw() == key.private_bytes_raw()
    assert not list(tmp_path.glob(".*"))
    file.chmod(0o644)
    with pytest.raises(StorageError, match="read by others"):
        signing_key(tmp_path)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(StorageError, match="holds no key"):
        signing_key(tmp_path)


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"seq": 1}', "null", '{"seq": "1", "hash": 1, "made_at": 1, '
                                  '"signature": "", "public_key": ""}'])  # fmt: skip
def test_a_file_without_heads_is_refused(tmp_path, line):
    (tmp_path / "heads").write_text(line + "\n")
    with pytest.raises(StorageError, match="is no signed head"):
        read_heads(tmp_path / "heads")


@pytest.mark.parametrize("seq", [0, 1, 5, 100_000])
def test_a_row_out_of_order_is_not_taken(database, seq):
    with database.write() as connection:
        trail.append(connection, [Event("received", "guest", "a"), Event("predicted", "service", "a")])
    said = {"kind": "x", "actor": "x", "subject": "", "body": "{}"}
    row = {"seq": seq, "made_at": 1, **said, "previous": trail.START, "hash": trail.START}
    with pytest.raises(StorageError), database.write() as connection:
        connection.execute(insert(rows), [row])
    with database.read() as connection:
        assert trail.verify(connection).holds
