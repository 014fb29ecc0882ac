"""``object:CLASS``: a module that somebody hands over from Python, for the time of one call.

The module itself is never trained or changed: every network made of it is a deep copy, with the weights that
it has. A recipe keeps the name of its class only, so that the recipe alone cannot repeat the run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.errors import ClassifierError, UsageError
from foveal.models.foreign.entry import OBJECT, USUAL_CLASSES, USUAL_INPUT, Foreign

if TYPE_CHECKING:
    from torch import nn

    from foveal.models.network import Network

_LENT: ContextVar[nn.Module | None] = ContextVar("lent", default=None)


@contextmanager
def lending(model: object) -> Iterator[str | None]:
    """Let `model`, when it is a module, stand for the name that is yielded, for as long as the block runs.

    A name, or None for none, is yielded as it is. UsageError for anything else.
    """
    if model is None or isinstance(model, str):
        yield model
        return
    name = name_of(model)
    token = _LENT.set(model)  # type: ignore[arg-type]  # name_of has refused what is no module
    try:
        yield name
    finally:
        _LENT.reset(token)


def name_of(model: object) -> str:
    """Return the name under which recipes and classifiers know the module `model`; UsageError when it is none."""
    from torch import nn

    from foveal.models.foreign.keras_network import refuse_other_backend

    refuse_other_backend(model)
    if isinstance(model, nn.Module):
        return f"{OBJECT}{type(model).__module__}.{type(model).__qualname__}"
    what = f"the class {model.__name__}; give a network made of it" if isinstance(model, type) else f"{model!r}"
    raise UsageError(f"model is a name of `foveal models` or a network (a torch.nn.Module), not {what}.")


def refuse_absent(name: str, where: object, again: str) -> None:
    """Raise ClassifierError when `where` is of a module that is not lent now, or one is lent and it is of none.

    `again` is how to hand one over.
    """
    lent = _LENT.get()
    if name.startswith(OBJECT) and lent is None:
        raise ClassifierError(
            f"The network of {where} is {name.removeprefix(OBJECT)}, an object that was handed over from Python; hand "
            f"over one like it again, from Python: {again}."
        )
    if lent is not None and not name.startswith(OBJECT):
        raise ClassifierError(f"The network of {where} is {name}, which is made by its name; hand over none.")


def given_entry(name: str) -> GivenNetwork:
    """Return the entry of a module that is lent now, or was once; a Keras model says how large its images are."""
    from foveal.models.foreign.keras_network import is_keras, native_input

    lent = _LENT.get()
    known = native_input(lent) if lent is not None and is_keras(lent) else None
    title = name.rpartition(".")[2] or name
    return GivenNetwork(
        name, "", "own", title, 0, "", known or USUAL_INPUT, USUAL_CLASSES, 0, 0, 0, 0, scales=known is not None
    )  # fmt: skip


@dataclass(frozen=True)
class GivenNetwork(Foreign):
    """A module handed over from Python. It has no options: it is what it is."""

    def build(self) -> Callable[..., Network]:
        """Return a function that copies the module."""
        return self._built

    def options(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def takes(self, option: str) -> bool:  # noqa: ARG002
        """Return False: a module that exists has no choices left."""
        return False

    def _built(self, *, classes: int, channels: int, height: int, width: int) -> Network:
        import torch

        from foveal.models.foreign.guest import adopt, reason
        from foveal.models.foreign.keras_network import is_keras

        lent = _LENT.get()
        if lent is None:
            raise UsageError(f"{self.name} is an object in Python, which is not here; hand it over: model=network.")
        try:
            own = lent if is_keras(lent) else copy.deepcopy(lent).cpu()  # KerasNetwork copies it in Keras's way
        except Exception as error:
            raise UsageError(f"{self.title} cannot be copied: {reason(error)}.") from error
        with torch.device("cpu"):
            return adopt(own, self.title, classes=classes, shape=(channels, height, width))
