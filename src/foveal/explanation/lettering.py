"""Words in pictures: broken into lines that fit, in letters that the font has."""

from __future__ import annotations

import functools
import unicodedata

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MOST_LINES = 7
# What stands for letters that Pillow's own font lacks, and that are not one with a mark on it.
INSTEAD = {
    "×": "x",
    "→": "->",
    "–": "-",
    "—": "-",
    "…": "...",
    "ß": "ss",
    "æ": "ae",
    "ø": "o",
    "œ": "oe",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
}
MISSING = "\uffff"  # no letter: drawn as the box that stands for all that are missing


@functools.cache
def font(size: int) -> Font:
    """Return Pillow's own font, the same on every machine."""
    return ImageFont.load_default(size)


def written(text: str) -> str:
    """Return `text` in letters that the font has: a plain letter for one with a mark, else a question mark."""
    return "".join(_letter(one) for one in text)


def lines(text: str, width: float, letters: Font) -> list[str]:
    """Return `text` in lines of at most `width` pixels, its own line breaks kept; after MOST_LINES it is cut."""
    found: list[str] = []
    for part in written(text).split("\n"):
        line = ""
        for word in (piece for whole in part.split(" ") for piece in _pieces(whole, width, letters)):
            longer = f"{line} {word}" if line else word
            if letters.getlength(longer) <= width:
                line = longer
            else:
                found.append(line)
                line = word
        found.append(line)
    found = [one for one in found if one]
    if len(found) > MOST_LINES:
        found = [*found[: MOST_LINES - 1], f"{found[MOST_LINES - 1][:-3]}..."]
    return found


def _pieces(word: str, width: float, letters: Font) -> list[str]:
    """Return `word` in pieces of at most `width` pixels, of one letter at least."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and letters.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


@functools.cache
def _letter(letter: str) -> str:
    if letter in " \n" or _has(letter):
        return letter
    plain = INSTEAD.get(letter) or "".join(
        one for one in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(one)
    )
    return plain if plain and all(_has(one) for one in plain) else "?"


def _has(letter: str) -> bool:
    """Whether the font has a shape of its own for `letter`."""
    if not letter.isprintable():
        return False
    masks = [font(12).getmask(one) for one in (letter, MISSING)]
    return (masks[0].size, bytes(masks[0])) != (masks[1].size, bytes(masks[1]))
