"""The reader of plain pickles: equal to Python's on plain data, and deaf to everything else."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess

import numpy as np
import pytest
from cifar_files import python2_pickle
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.sources.pickles import read_pickle
from foveal.errors import DataError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)
BATCH = python2_pickle(
    {
        b"batch_label": b"a batch",
        b"labels": [3, 300, 70_000, -1],
        b"data": np.arange(24, dtype=np.uint8).reshape(4, 6),
        b"filenames": [b"a.png", b"b" * 300],
    }
)


def read(content: bytes) -> object:
    return read_pickle(content, most_steps=1_000, most_values=24)


@settings(deadline=None, max_examples=200)
@given(value=PLAIN)
def test_plain_data_are_read_as_python_reads_them(value: object) -> None:
    assert read(pickle.dumps(value, protocol=2)) == value


def test_a_batch_is_read_as_python_reads_it() -> None:
    ours, theirs = read(BATCH), pickle.loads(BATCH, encoding="bytes")
    assert isinstance(ours, dict)
    assert np.array_equal(ours.pop(b"data"), theirs.pop(b"data"))
    assert ours == theirs


class Calls:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [Calls(os.system, "exit 7"), Calls(eval, "1"), Calls(subprocess.Popen, ["true"]), {1, 2}, bytearray(3), np.ones(3)],
    ids=["os.system", "eval", "Popen", "set", "bytearray", "float array"],
)
def test_what_is_not_plain_is_refused(value: object, protocol: int) -> None:
    with pytest.raises(DataError, match=r"which plain data do not need|is a pickle of protocol|is damaged"):
        read(pickle.dumps({"data": value}, protocol=protocol))


GLOBAL_NAMES = [
    b"os\nsystem\n",
    b"builtins\neval\n",
    b"numpy\nload\n",
    b"numpy.core.multiarray\nfromfile\n",
    b"numpy.core.multiarray\n_reconstruct.__globals__\n",
    b"_codecs\nencode\n",
]


@pytest.mark.parametrize("name", GLOBAL_NAMES)
def test_only_three_names_of_numpy_are_known(name: bytes) -> None:
    with pytest.raises(DataError, match="which plain data do not need"):
        read(b"\x80\x02c" + name + b".")


@pytest.mark.parametrize(
    ("instructions", "words"),
    [
        (b"\x96" + struct.pack("<Q", 1 << 40), "the pickle instruction BYTEARRAY8, which"),  # bytearray of a terabyte
        (b"}r" + struct.pack("<I", 2**31) + b".", ""),  # a memory of 2**31 places, which is a dictionary here
        (b"T" + struct.pack("<i", 2**31 - 1) + b"x.", "is damaged"),
        (b"K\x01" * 1_000 + b".", "more than 1,000 instructions"),
        (b"(K\x01l.", "the pickle instruction LIST, which"),
        (b"Pwhere\n.", "the pickle instruction PERSID, which"),
        (b"}}b.", "is damaged"),
        (b"cnumpy\nndarray\n)R.", "is damaged"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR.", "is damaged"),
        (b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR.", r"an array of the type b'O'"),
        (b"cnumpy\ndtype\n.", "is damaged"),
        (b"]}b.", "is damaged"),
        (b"h\x05.", "is damaged"),
        (b"", "is damaged"),
        (b"K\x01K\x02.", "is damaged"),
        (b"}K\x01K\x02s.", "is damaged"),
    ],
)
def test_instructions_that_do_not_fit(instructions: bytes, words: str) -> None:
    if not words:
        assert read(b"\x80\x02" + instructions) == {}
        return
    with pytest.raises(DataError, match=words):
        read(b"\x80\x02" + instructions)


def test_an_array_is_as_large_as_its_bytes() -> None:
    for shape in ((4, 7), (4, 5), (2**31 - 1, 2**31 - 1), (-4, -6)):
        old = b"K\x04K\x06\x86"
        new = b"".join(b"J" + struct.pack("<i", side) for side in shape) + b"\x86"
        assert BATCH.count(old) == 1
        with pytest.raises(DataError, match=r"is damaged|more than the published file has"):
            read(BATCH.replace(old, new))


@settings(deadline=None, max_examples=400)
@given(position=st.integers(0, len(BATCH) - 1), new=st.binary(max_size=6), cut=st.integers(0, 6))
def test_any_change_gives_plain_data_or_a_refusal(position: int, new: bytes, cut: int) -> None:
    try:
        value = read(BATCH[:position] + new + BATCH[position + cut :])
    except DataError:
        return
    assert isinstance(value, dict | list | tuple | bytes | str | int | float | np.ndarray | None)
