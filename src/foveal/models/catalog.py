"""The catalog of architectures, and networks made by it. To add one, write its file and its line in `gallery`.

A builder is a function with keyword-only arguments: ``classes``, ``channels``, ``height``, ``width``
and its own options, each with a default. It returns a `Network`: a module that takes normalised
images (B, C, H, W), returns logits (B, classes), and names its stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foveal.errors import UsageError, nearest
from foveal.models.architecture import HEAD, HEADS, Architecture
from foveal.models.foreign.entry import Foreign, foreign, is_foreign, plain
from foveal.models.gallery import ENTRIES

if TYPE_CHECKING:
    from foveal.models.network import Network


def _unique(entries: tuple[Architecture, ...]) -> Mapping[str, Architecture]:
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise ValueError(f"two catalog lines share a name: {sorted({name for name in names if names.count(name) > 1})}")
    return {entry.name: entry for entry in entries}


CATALOG = _unique(ENTRIES)


def find(name: str) -> Architecture:
    """Return the entry called `name`; ``-`` equals ``_``, case does not matter. UsageError names the nearest.

    A name with a colon is of somebody else's network, see `foreign.entry`.
    """
    if is_foreign(name):
        return foreign(name)
    entry = CATALOG.get(name.lower().replace("-", "_"))
    if entry is None:
        raise UsageError(f'There is no model "{name}".{nearest(name, CATALOG)} `foveal models` lists them all.')
    return entry


def create_model(
    name: str,
    *,
    classes: int | None = None,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    options: Mapping[str, Any] | None = None,
    pretrained: bool | str = False,
) -> Network:
    """Return a new network, its weights drawn from torch's current random state, or published ones.

    Args:
        name: a name from the catalog, ``timm:NAME``, or ``package.module:builder``, a function that is then run.
        classes: number of classes; as published by default (1000 of ImageNet, 10 digits).
        channels: 1 for grey, 3 for colour, or any other number; as published by default.
        size: (height, width) of the input; the architecture's native size by default.
        options: the architecture's own options, e.g. ``{"activation": "relu"}``; and, of each of the catalog,
            ``head``, one of `heads` to stand in the place of its own last layers.
        pretrained: True, or a tag of `foveal weights list`: published weights, fetched where they are not here.
            Options that they need are set; the layers that answer with another number of classes than theirs are
            new; for one grey channel the first convolution's kernels are summed over the colours.

    Raises:
        UsageError: for an unknown name, option or tag, an option of a wrong type, or an input too small.
        MissingPartError: for weights that are not here and cannot be fetched.
    """
    refuse_mistyped(name, classes, channels, size, options, pretrained)
    entry = find(name)
    if pretrained:
        from foveal.models.weights.adapting import create_pretrained

        tag = None if pretrained is True else pretrained
        return create_pretrained(entry.name, tag, classes=classes, channels=channels, size=size, options=options or {})
    classes = entry.native_classes if classes is None else classes
    channels = entry.native_input[0] if channels is None else channels
    height, width = size or entry.native_input[1:]
    if classes < 1:
        raise UsageError(f"A network answers with at least one class, not {classes}.")
    if min(channels, height, width) < 1:
        raise UsageError(f"{entry.name} cannot take images of {channels} channels and {height}×{width} pixels.")
    if min(height, width) < entry.smallest:
        least = entry.smallest
        raise UsageError(f"{entry.name} needs at least {least}×{least} pixels, not {height}×{width}.")
    chosen = {**entry.options(), **checked_options(entry, options or {})}
    head = None if isinstance(entry, Foreign) else chosen.pop(HEAD, None)
    network = entry.build()(classes=classes, channels=channels, height=height, width=width, **chosen)
    if head is None:
        return network
    from foveal.models.heads import with_head

    return with_head(network, head, classes=classes, shape=(channels, height, width))


def refuse_mistyped(
    name: object, classes: object, channels: object, size: object, options: object, pretrained: object
) -> None:
    """Raise UsageError for an argument of `create_model` that is of another type than it says."""

    def whole(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    pair = isinstance(size, tuple | list) and len(size) == 2 and all(map(whole, size))
    for fits, what in (
        (isinstance(name, str), f"name is a text, not {name!r}"),
        (classes is None or whole(classes), f"classes is a whole number, not {classes!r}"),
        (channels is None or whole(channels), f"channels is a whole number, not {channels!r}"),
        (size is None or pair, f"size is (height, width) in whole pixels, not {size!r}"),
        (options is None or isinstance(options, Mapping), f"options is a table of names and values, not {options!r}"),
        (isinstance(pretrained, bool | str), f"pretrained is True or a tag, not {pretrained!r}"),
    ):
        if not fits:
            raise UsageError(f"{what[:200]}.")


def checked_options(entry: Architecture, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with text turned into the type of each default; UsageError for unknown names or bad values."""
    known = entry.options()
    checked: dict[str, Any] = {}
    for name, value in options.items():
        key = name.replace("-", "_")
        if key not in known and isinstance(entry, Foreign) and entry.takes(key):
            checked[key] = plain(value)
            continue
        if key == HEAD and not isinstance(entry, Foreign):
            if entry.loss != "cross_entropy":
                raise UsageError(f"{entry.name} answers with penalties, not with logits; it takes no head by name.")
            if value not in HEADS:
                raise UsageError(f'There is no head "{value}"; choose {", ".join(HEADS)}.{nearest(str(value), HEADS)}')
            checked[key] = value
            continue
        if key not in known:
            raise UsageError(
                f'{entry.name} has no option "{name}" ({", ".join(known) or "it has none"}).{nearest(key, known)}'
            )
        if key in entry.preset and value != known[key]:
            raise UsageError(f'{entry.name} fixes "{key}" to {known[key]}; choose another network of `foveal models`.')
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
