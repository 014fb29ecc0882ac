"""Python 2's pickles of lists, dictionaries, bytes, numbers and arrays of bytes, read without the module `pickle`.

A pickle is a program for a small stack machine, and Python's own machine can be told to call anything.
This one knows only the instructions that the files of CIFAR's python version consist of. It can name
three things of numpy, by which an array is written down, and calls none of them: what it builds is
bytes, text, numbers, None, lists, tuples, dictionaries and uint8 arrays. Whatever else a file
contains is refused before anything is made of it.

Format: the comments of Python's Lib/pickletools.py, whose table reads the instructions' arguments here.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from foveal.errors import DataError

RECONSTRUCT, ARRAY, DTYPE = "_reconstruct", "ndarray", "dtype"
GLOBALS = {
    "numpy.core.multiarray _reconstruct": RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": RECONSTRUCT,
    "numpy ndarray": ARRAY,
    "numpy dtype": DTYPE,
}
HIGHEST_PROTOCOL = 2
MOST_DIMENSIONS = 4
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
BYTES = {"BINSTRING", "SHORT_BINSTRING"}  # Python 2's str: the table hands them over as latin-1
TEXT = {"BINUNICODE"}
PUT, GET = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
BUILDING = {"EMPTY_DICT", "EMPTY_LIST", "MARK", "TUPLE", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "REDUCE", "BUILD"}
KNOWN = {*CONSTANTS, *NUMBERS, *BYTES, *TEXT, *PUT, *GET, *TUPLES, *BUILDING, "GLOBAL", "PROTO", "STOP"}

OPERATIONS = {operation.code: operation for operation in pickletools.opcodes}


class _Named:
    """One of the three names of numpy, as a thing on the stack."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Array:
    """An array that is being built; `value` is set by its state."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None


class _Mark:
    """Where a list of arguments begins on the stack."""


def read_pickle(content: bytes, *, most_steps: int, most_values: int) -> object:
    """Return what the pickle `content` holds; text of Python 2 comes as bytes.

    Args:
        content: the file's bytes.
        most_steps: how many instructions there may be.
        most_values: how many values an array may have.

    Raises:
        DataError: what in it is not plain data, or is damaged, as the end of a sentence.
    """
    machine = _Machine(most_values)
    try:
        for step, (name, argument) in enumerate(_instructions(content)):
            if step == most_steps:
                raise DataError(f"holds more than {most_steps:,} instructions")
            machine.run(name, argument)
        return machine.result()
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError("is damaged: its instructions do not fit together") from error


def _instructions(content: bytes) -> Iterator[tuple[str, Any]]:
    """Yield (name, argument) up to STOP; the argument of an instruction that is refused is not even read."""
    stream = io.BytesIO(content)
    while True:
        code = stream.read(1).decode("latin-1")
        if not code:
            raise ValueError("it ends before its STOP")
        operation = OPERATIONS[code]
        if operation.name not in KNOWN:
            raise DataError(f"holds the pickle instruction {operation.name}, which plain data do not need")
        if operation.name == "GLOBAL":  # the table's reader would undo escapes, and warn of strange ones
            yield "GLOBAL", " ".join(stream.readline().decode("ascii").removesuffix("\n") for _ in range(2))
        else:
            yield operation.name, operation.arg.reader(stream) if operation.arg else None
        if operation.name == "STOP":
            return


class _Machine:
    """The stack and the memory of the instructions."""

    def __init__(self, most_values: int) -> None:
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}
        self._most_values = most_values
        self._actions: dict[str, Callable[[], None]] = {
            "EMPTY_DICT": lambda: self._stack.append({}),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "MARK": lambda: self._stack.append(_Mark()),
            "TUPLE": lambda: self._stack.append(tuple(self._to_mark())),
            "APPEND": lambda: self._append([self._stack.pop()]),
            "APPENDS": lambda: self._append(self._to_mark()),
            "SETITEM": lambda: self._set_items([self._stack.pop(-2), self._stack.pop()]),
            "SETITEMS": lambda: self._set_items(self._to_mark()),
            "REDUCE": self._reduce,
            "BUILD": self._build,
        }

    def run(self, name: str, argument: Any) -> None:
        """Run one instruction of `KNOWN`."""
        stack = self._stack
        if name in NUMBERS:
            stack.append(argument)
        elif name in BYTES:
            stack.append(argument.encode("latin-1"))
        elif name in PUT:
            self._memory[argument] = stack[-1]
        elif name in GET:
            stack.append(self._memory[argument])
        elif name in self._actions:
            self._actions[name]()
        elif name in TUPLES:
            count = TUPLES[name]
            taken = [stack.pop() for _ in range(count)]
            stack.append(tuple(reversed(taken)))
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in TEXT:
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(_Named(_known(argument)))
        elif name == "PROTO" and argument > HIGHEST_PROTOCOL:
            raise DataError(f"is a pickle of protocol {argument}; the published files are of protocol 2")

    def result(self) -> object:
        """Return the one thing left on the stack, its arrays as numpy arrays."""
        (root,) = self._stack
        return {key: _finished(value) for key, value in root.items()} if isinstance(root, dict) else _finished(root)

    def _to_mark(self) -> list[Any]:
        """Take everything above the last mark off the stack, and the mark."""
        taken = []
        while not isinstance(one := self._stack.pop(), _Mark):
            taken.append(one)
        return taken[::-1]

    def _append(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("not a list")
        self._stack[-1].extend(values)

    def _set_items(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or not all(isinstance(key, bytes | str) for key in flat[::2]):
            raise ValueError("not a dictionary with names")
        target.update(zip(flat[::2], flat[1::2], strict=True))

    def _reduce(self) -> None:
        """``_reconstruct(ndarray, (0,), 'b')`` begins an array; ``dtype('u1', 0, 1)`` names its type."""
        arguments, called = self._stack.pop(), self._stack.pop()
        name = called.name if isinstance(called, _Named) else ""
        if name == RECONSTRUCT and isinstance(arguments[0], _Named) and arguments[0].name == ARRAY:
            self._stack.append(_Array())
        elif name == DTYPE and arguments[0] in (b"u1", b"|u1", "u1", "|u1"):
            self._stack.append(np.dtype(np.uint8))
        elif name == DTYPE and isinstance(arguments[0], bytes):
            raise DataError(f"holds an array of the type {arguments[0][:8]!r}; images are bytes (u1)")
        else:
            raise ValueError("nothing that is called so")

    def _build(self) -> None:
        """Give an array its shape and bytes; the state of a type of single bytes says nothing."""
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, np.dtype):
            return
        version, shape, dtype, fortran, content = state
        if not isinstance(target, _Array) or version != 1 or dtype != np.uint8 or not isinstance(content, bytes):
            raise ValueError("no state of an array")
        if len(shape) > MOST_DIMENSIONS or not all(type(one) is int and one >= 0 for one in shape):
            raise ValueError("no shape")
        if math.prod(shape) > self._most_values:
            raise DataError(f"holds an array of the shape {shape}, more than the published file has")
        target.value = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


def _known(name: str) -> str:
    if name not in GLOBALS:
        raise DataError(f"names {name.replace(' ', '.')[:80]!r}, which plain data do not need")
    return GLOBALS[name]


def _finished(value: object) -> object:
    """Return a value of the outermost dictionary, an array that was built as numpy's."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without its state")
        return value.value
    if isinstance(value, _Named | _Mark):
        raise ValueError("no value")
    return value
