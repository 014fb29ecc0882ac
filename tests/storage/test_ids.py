"""Ids: unique, sorted by time, unguessable."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from foveal.storage import ids


def test_ids_sort_by_the_time_they_were_made_and_are_what_they_were():
    with mock.patch.object(ids.time, "time_ns", return_value=1_700_000_000_123 * 1_000_000):
        early = ids.new_id()
    with mock.patch.object(ids.time, "time_ns", return_value=1_700_000_000_124 * 1_000_000):
        late = ids.new_id()
    assert early < late
    assert re.fullmatch("[0-9a-hjkmnp-tv-z]{26}", early)
    number = 0
    for letter in early:
        number = number << 5 | ids._ALPHABET.index(letter)
    assert number >> 80 == 1_700_000_000_123


def test_threads_never_make_the_same_id():
    with ThreadPoolExecutor(8) as pool:
        made = [one for part in pool.map(lambda _: [ids.new_id() for _ in range(2000)], range(8)) for one in part]
    assert len(set(made)) == len(made)


def test_a_forked_process_makes_ids_of_its_own():
    ids.new_id()  # the stock is filled
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, ids.new_id().encode())
        os._exit(0)
    os.wait()
    theirs = os.read(read, 26).decode()
    os.close(read), os.close(write)
    assert theirs[10:] != ids.new_id()[10:]
