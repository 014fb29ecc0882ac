"""Drawing: one SVG or HTML element at a time, everything escaped."""

from __future__ import annotations

import math
import unicodedata

from markupsafe import Markup, escape


def element(name: str, *children: str, **attributes: object) -> Markup:
    """Return ``<name attribute="…">children</name>``; plain strings are escaped, Markup is not.

    A trailing underscore of an attribute's name is dropped (``class_``), others become hyphens.
    """
    pairs = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), written(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(child if isinstance(child, Markup) else escape(printable(child)) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), pairs, inner)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers that enclose `low` to `high`, about `wanted` of them."""
    span = high - low
    if not span > 0:
        span = abs(high) or 1.0
        high = low + span
    rough = span / max(wanted - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def printable(text: str) -> str:
    """Return `text` with control characters, which XML forbids or which turn the reading order, made visible."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _OVERRIDES
        else character
        for character in text
    )


_OVERRIDES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def written(value: object) -> str:
    """Return an attribute's value as text: numbers with at most two decimals."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return printable(str(value))
