"""``package.module:builder``: a function of the user's that returns a torch.nn.Module.

Importing it and calling it runs the user's code; nobody else's file may choose it (`entry.refuse_untrusted`).
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import UsageError, nearest
from foveal.models.foreign.entry import USUAL_CLASSES, USUAL_INPUT, Foreign, shown

if TYPE_CHECKING:
    from foveal.models.network import Network

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
TOLD = {  # what a builder may be told, by the names that people give it
    "classes": ("classes", "num_classes"),
    "channels": ("channels", "in_channels"),
    "height": ("height",),
    "width": ("width",),
}
TOLD_NAMES = [name for names in TOLD.values() for name in names]
PLAIN = (str, int, float, bool)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def builder_entry(name: str) -> Builder:
    """Return the entry of the function called `name`; UsageError when that is no name of one. Nothing is imported."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f'There is no model "{shown(name)}": a network of timm is timm:NAME, one of yours package.module:builder.'
        )
    return Builder(name, "", "own", name, 0, "", USUAL_INPUT, USUAL_CLASSES, 0, 0, 0, 0)


@dataclass(frozen=True)
class Builder(Foreign):
    """A function of the user's, told what it takes of classes, channels, height, width, and its own options."""

    def build(self) -> Callable[..., Network]:
        """Return a function that calls the user's, and checks what comes of it."""
        return self._built

    def options(self) -> dict[str, Any]:
        """Return option → default, those whose default is a text, a number, or yes or no."""
        return {one.name: one.default for one in self._own() if isinstance(one.default, PLAIN)}

    def takes(self, option: str) -> bool:
        """Whether the function has `option` among its parameters, or takes any."""
        parameters = inspect.signature(self._function()).parameters.values()
        return option in [one.name for one in self._own()] or (
            option not in TOLD_NAMES and any(one.kind is one.VAR_KEYWORD for one in parameters)
        )

    def _own(self) -> list[inspect.Parameter]:
        """Return the parameters that are the function's own."""
        parameters = inspect.signature(self._function()).parameters.values()
        return [one for one in parameters if one.kind in NAMED and one.name not in TOLD_NAMES]

    def _function(self) -> Callable[..., object]:
        """Import the module and return its function; UsageError says what is not there, or what went wrong in it."""
        from foveal.models.foreign.guest import reason

        module_name, _, path = self.name.partition(":")
        try:
            with importable_here(), kept_in_bounds():
                module = importlib.import_module(module_name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
                raise UsageError(
                    f"There is no module {error.name} for the network {self.name}, neither in {Path.cwd()} nor among "
                    f"the installed packages."
                ) from error
            raise UsageError(f"{module_name} cannot be imported: {reason(error)}.") from error
        try:
            function: object = reduce(getattr, path.split("."), module)
        except AttributeError as error:
            known = [name for name, value in vars(module).items() if callable(value)]
            raise UsageError(f'{module_name} has no function "{path}".{nearest(path, known)}') from error
        try:
            if callable(function) and inspect.signature(function):
                return function
        except ValueError:
            pass
        raise UsageError(f"{self.name} is no function that returns a network.")

    def _built(self, *, classes: int, channels: int, height: int, width: int, **options: Any) -> Network:
        import torch

        from foveal.models.foreign.guest import adopt, reason

        function = self._function()
        arguments = self._arguments(
            inspect.signature(function).parameters,
            {"classes": classes, "channels": channels, "height": height, "width": width},
            options,
        )
        with importable_here(), torch.device("cpu"):  # also where only a shape is asked for: it may compute
            try:
                with seeded_by_torch(), kept_in_bounds():
                    module = function(**arguments)
            except (KeyboardInterrupt, MemoryError):
                raise
            except BaseException as error:
                raise UsageError(f"{self.name} raised {reason(error)}.") from error
            return adopt(module, self.name, classes=classes, shape=(channels, height, width))

    def _arguments(
        self, parameters: Mapping[str, inspect.Parameter], told: Mapping[str, int], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what the function is called with; UsageError when it needs something that nobody said."""
        known = {name: told[what] for what, names in TOLD.items() for name in names}
        arguments = {**{name: value for name, value in known.items() if name in parameters}, **options}
        for one in parameters.values():
            if one.kind is one.POSITIONAL_ONLY:
                raise UsageError(f"{self.name} must take {one.name} by its name.")
            if one.kind in NAMED and one.default is one.empty and one.name not in arguments:
                raise UsageError(f"{self.name} needs {one.name}: say it with --model-option {one.name}=VALUE.")
        return arguments


@contextmanager
def seeded_by_torch() -> Iterator[None]:
    """Let Python's and NumPy's random numbers (Keras draws by them) follow torch's meanwhile; all are given back."""
    import random

    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        seed = int(torch.randint(2**31, (1,)))
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def kept_in_bounds() -> Iterator[None]:
    """Send what the user's code prints to standard error, where it spoils no table, and keep torch's default type."""
    import torch

    kind = torch.get_default_dtype()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        torch.set_default_dtype(kind)


@contextmanager
def importable_here() -> Iterator[None]:
    """Let the modules of the current folder be imported meanwhile, first of all, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
