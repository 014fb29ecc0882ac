"""Warnings of libraries that are told otherwise, or to nobody: kept quiet whatever the threads.

Python's warning filters belong to the whole process. A thread that puts them back as it found them undoes what
another has set meanwhile, so here the first to come keeps them, and the last to go puts them back.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_kept: list[ExitStack] = []  # of everybody who is inside: the first one's holds the filters as they were


@contextmanager
def without_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """Keep warnings of `category` quiet for as long as the block runs, in every thread.

    What anybody silences stays so until the last block has ended.
    """
    with _lock:
        own = _kept[0] if _kept else ExitStack()
        if not _kept:
            own.enter_context(warnings.catch_warnings())
        _kept.append(own)
        warnings.simplefilter("ignore", category)
    try:
        yield
    finally:
        with _lock:
            _kept.pop()
            if not _kept:
                own.close()
