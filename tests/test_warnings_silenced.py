"""Warnings are silenced for all threads together: none undoes what another has set, and nothing stays."""

from __future__ import annotations

import threading
import warnings

import pytest

from foveal.silence import without_warnings


def test_nothing_is_left_and_other_warnings_are_heard() -> None:
    before = list(warnings.filters)
    with without_warnings(ResourceWarning):
        warnings.warn("quiet", ResourceWarning, stacklevel=1)
        with pytest.warns(DeprecationWarning):
            warnings.warn("loud", DeprecationWarning, stacklevel=1)
    assert warnings.filters == before
    with pytest.warns(ResourceWarning):
        warnings.warn("loud again", ResourceWarning, stacklevel=1)


@pytest.mark.parametrize("first_to_leave", ["the one who came first", "the one who came last"])
def test_a_thread_that_leaves_undoes_nothing_of_another(first_to_leave: str) -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def decoding() -> None:
        with without_warnings(ResourceWarning):
            inside.set()
            assert leave.wait(10)

    thread = threading.Thread(target=decoding)
    if first_to_leave == "the one who came first":
        thread.start()
        assert inside.wait(10)
    with without_warnings(DeprecationWarning):
        if first_to_leave == "the one who came last":
            thread.start()
            assert inside.wait(10)
        leave.set()
        thread.join()
        warnings.warn("quiet", DeprecationWarning, stacklevel=1)
    assert warnings.filters == before


def test_an_error_puts_the_filters_back() -> None:
    before = list(warnings.filters)
    with pytest.raises(KeyError), without_warnings(), without_warnings(UserWarning):
        raise KeyError("in the block")
    assert warnings.filters == before
