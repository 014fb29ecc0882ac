"""Whoever asks first writes first, however busy another thread is."""

from __future__ import annotations

import threading
import time

import pytest

from foveal.storage.database import BusyError
from foveal.storage.turns import Turns


def test_a_thread_that_never_pauses_keeps_nobody_out():
    turns, stop, got = Turns(5.0), threading.Event(), []

    def greedy():
        while not stop.is_set():
            with turns.turn():
                time.sleep(0.002)

    thread = threading.Thread(target=greedy)
    thread.start()
    for number in range(20):
        with turns.turn():
            got.append(number)
    stop.set()
    thread.join()
    assert got == list(range(20))


def test_they_come_in_the_order_of_asking():
    turns, order, threads = Turns(10.0), [], []
    with turns.turn():
        for number in range(6):

            def ask(number=number):
                with turns.turn():
                    order.append(number)

            threads.append(threading.Thread(target=ask))
            threads[-1].start()
            while len(turns._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(6))


def test_a_turn_that_does_not_come_is_told_and_given_up():
    turns = Turns(0.02)
    with turns.turn():
        with pytest.raises(BusyError):
            turns._take()
        assert not turns._waiting
    with turns.turn():
        pass
