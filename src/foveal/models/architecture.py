"""What the catalog says of one architecture."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.models.network import Network

COMMON = ("classes", "channels", "height", "width")  # what every builder is told; anything else is an option
HEAD = "head"  # an option of every network: one of these in the place of its own last layers, see `heads`
HEADS = ("linear", "dense128", "dense256", "flatten256")


@dataclass(frozen=True)
class Published:
    """Error rates in percent as somebody published them, and the protocol; None where none was given."""

    top1_error: float | None
    top5_error: float | None
    protocol: str


@dataclass(frozen=True)
class Architecture:
    """One entry of the catalog. `builder` is imported when it is used, so that listing loads no torch.

    `parameters` and `macs` are those at `native_input` with `native_classes`, without auxiliary heads, which
    serve training only. `receptive_field` (pixels) and `stride` are those of a cell of the last map; 0 where
    there is none. `preset` holds the options that make this entry out of its family and cannot be changed.
    """

    name: str
    builder: str  # "file of foveal.models:function"
    family: str
    title: str
    year: int
    paper: str
    native_input: tuple[int, int, int]  # (C, H, W)
    native_classes: int
    parameters: int
    macs: int
    receptive_field: int
    stride: int
    scales: bool = False  # images are brought to the native size; else they are taken as they are, if small
    smallest: int = 1  # side in pixels from which on it can be asked
    published: tuple[Published, ...] = ()
    auxiliary_parameters: int = 0
    preset: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 1.0  # share of the usual learning rate: networks without batch normalisation diverge at all of it
    loss: str = "cross_entropy"  # what it is trained with where nothing is said; rbf: it answers with penalties

    @property
    def native_size(self) -> tuple[int, int] | None:
        """(height, width) to which images are brought; None: the network takes them as they are."""
        return self.native_input[1:] if self.scales else None

    def build(self) -> Callable[..., Network]:
        """Import the builder and return it."""
        module, function = self.builder.split(":")
        builder: Callable[..., Network] = getattr(importlib.import_module(f"foveal.models.{module}"), function)
        return builder

    def options(self) -> dict[str, Any]:
        """Return option → default, read off the builder's signature, presets applied."""
        parameters = inspect.signature(self.build()).parameters.values()
        defaults = {one.name: one.default for one in parameters if one.name not in COMMON}
        return {**defaults, **self.preset}
