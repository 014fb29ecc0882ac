"""The catalog of architectures: one line each. To add one, write its file and its line.

A builder is a function with keyword-only arguments: ``classes``, ``channels``, ``height``, ``width``
and its own options, each with a default. It returns a `Network`: a module that takes normalised
images (B, C, H, W), returns logits (B, classes), and names its stages.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.errors import UsageError, nearest

if TYPE_CHECKING:
    from foveal.models.network import Network

COMMON = ("classes", "channels", "height", "width")


@dataclass(frozen=True)
class Architecture:
    """One entry of the catalog. `builder` is imported when it is used, so that listing loads no torch."""

    name: str
    builder: str  # "module:function"
    title: str
    year: int
    paper: str
    native_size: tuple[int, int] | None = None  # (height, width); None: takes the images as they are
    parameters: int = 0  # at the native input with `native_classes`
    native_input: tuple[int, int, int] = (1, 28, 28)  # (C, H, W) of the published count
    preset: tuple[tuple[str, str], ...] = ()  # options that make this entry out of its family
    native_classes: int = 10
    loss: str = "cross_entropy"  # what it is trained with where nothing is said; rbf: it answers with penalties

    def build(self) -> Callable[..., Network]:
        """Import the builder and return it."""
        module, function = self.builder.split(":")
        builder: Callable[..., Network] = getattr(importlib.import_module(module), function)
        return builder

    def options(self) -> dict[str, Any]:
        """Return option → default, read off the builder's signature, presets applied."""
        parameters = inspect.signature(self.build()).parameters.values()
        defaults = {one.name: one.default for one in parameters if one.name not in COMMON}
        return {**defaults, **dict(self.preset)}


def _small(name: str, spec: str, parameters: int, title: str) -> Architecture:
    """Return one of the founding documents' small networks: `simple_cnn` with a fixed specification."""
    return Architecture(
        name, "foveal.models.simple_cnn:simple_cnn", title, 2015, "textbook practical", (28, 28), parameters,
        preset=(("spec", spec),),
    )  # fmt: skip


# fmt: off
_ENTRIES = (
    Architecture("lenet5", "foveal.models.lenet:lenet5", "LeNet-5", 1998,
                 "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition",
                 (32, 32), 61_706, (1, 32, 32)),
    Architecture("lenet5_1998", "foveal.models.lenet_1998:lenet5_1998", "LeNet-5 as published", 1998,
                 "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition",
                 (32, 32), 60_000, (1, 32, 32), loss="rbf"),
    Architecture("mlp", "foveal.models.mlp:mlp", "Multilayer perceptron", 1986,
                 "Rumelhart, Hinton, Williams: Learning representations by back-propagating errors",
                 None, 235_146),
    Architecture("simple_cnn", "foveal.models.simple_cnn:simple_cnn", "Simple CNN", 2015,
                 "a plain stack of 3×3 convolutions with batch normalisation (Ioffe, Szegedy 2015)",
                 None, 94_186),
    _small("simple_cnn_p4", "conv6 relu flatten", 40_630, "P4: one convolution"),
    _small("simple_cnn_p5", "conv8p1 relu pool flatten", 15_770, "P5: convolution and pooling"),
    _small("simple_cnn_p6", "conv8 relu pool flatten dense32 relu", 43_706, "P6: with a hidden layer"),
    _small("simple_cnn_p7", "conv16 relu pool flatten dense64 relu", 173_930, "P7: wider"),
    _small("simple_cnn_p8", "conv32 relu bn pool conv64 relu bn pool flatten dense128 relu bn", 225_482,
           "P8: with batch normalisation"),
    _small("simple_cnn_p9", "conv32 relu pool dropout.25 conv64 relu pool dropout.25 flatten dense128 relu dropout.5",
           225_034, "P9: with dropout"),
    _small("simple_cnn_p11", "conv32 relu pool flatten dense64 relu", 347_146, "P11: thirty-two filters"),
    _small("simple_cnn_p13", "conv32 relu pool flatten dense64 relu", 347_146, "P13: the same network as P11"),
)
# fmt: on


def _unique(entries: tuple[Architecture, ...]) -> Mapping[str, Architecture]:
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise ValueError(f"two catalog lines share a name: {sorted({name for name in names if names.count(name) > 1})}")
    return {entry.name: entry for entry in entries}


CATALOG = _unique(_ENTRIES)


def find(name: str) -> Architecture:
    """Return the entry called `name`; ``-`` equals ``_``, case does not matter. UsageError names the nearest."""
    entry = CATALOG.get(name.lower().replace("-", "_"))
    if entry is None:
        raise UsageError(f'There is no model "{name}".{nearest(name, CATALOG)} `foveal models` lists them all.')
    return entry


def create_model(
    name: str,
    *,
    classes: int = 10,
    channels: int = 1,
    size: tuple[int, int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Network:
    """Return a new network, its weights drawn from torch's current random state.

    Args:
        name: a name from the catalog.
        classes: number of classes.
        channels: 1 for grey, 3 for colour.
        size: (height, width) of the input; the architecture's native size by default.
        options: the architecture's own options, e.g. ``{"activation": "relu"}``.

    Raises:
        UsageError: for an unknown name or option, an option of a wrong type, or an input too small.
    """
    entry = find(name)
    height, width = size or entry.native_size or entry.native_input[1:]
    if classes < 1:
        raise UsageError(f"A network answers with at least one class, not {classes}.")
    if min(channels, height, width) < 1:
        raise UsageError(f"{entry.name} cannot take images of {channels} channels and {height}×{width} pixels.")
    chosen = {**entry.options(), **checked_options(entry, options or {})}
    return entry.build()(classes=classes, channels=channels, height=height, width=width, **chosen)


def checked_options(entry: Architecture, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with text turned into the type of each default; UsageError for unknown names or bad values."""
    known = entry.options()
    checked: dict[str, Any] = {}
    for name, value in options.items():
        key = name.replace("-", "_")
        if key not in known:
            raise UsageError(
                f'{entry.name} has no option "{name}" ({", ".join(known) or "it has none"}).{nearest(key, known)}'
            )
        if key in dict(entry.preset) and value != known[key]:
            raise UsageError(f'{entry.name} fixes "{key}"; use {entry.name.rsplit("_p", 1)[0]} to choose it.')
        kind = type(known[key])
        try:
            checked[key] = _as_kind(value, kind)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f'{entry.name}: option {key} is {KINDS[kind]}, not "{value}".') from error
    return checked


KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "yes or no"}
YES_OR_NO = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def _as_kind(value: Any, kind: type) -> Any:
    """Return `value` as `kind`, read from text where it is text; TypeError or ValueError when it is none."""
    if kind is bool and isinstance(value, str) and value.lower() in YES_OR_NO:
        return YES_OR_NO[value.lower()]
    if isinstance(value, bool) or kind is bool:
        if kind is not bool or not isinstance(value, bool):
            raise TypeError
        return value
    if not isinstance(value, str | int | float) or (kind is int and value != int(value) and not isinstance(value, str)):
        raise TypeError
    return kind(value)
