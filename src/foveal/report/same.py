"""Whether two pages tell the same, apart from their pictures."""

from __future__ import annotations

import json
import re

AROUND = 40  # characters shown of a difference
DATA = re.compile(r'(<script type="application/json" id="report-data">)(.*?)(</script>)', re.DOTALL)
ADDRESS = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
PICTURE = re.compile(r'<div class="picture">.*?</div>', re.DOTALL)
PICTURED = ("images", "records")  # of the data: what hangs on which pictures there was room for


def first_difference(stored: str, found: str, *, pictured: bool) -> str | None:
    """Return None where the page `stored` tells what `found` does, else where they first differ, in words.

    Thumbnails are not compared: another version of Pillow writes the same picture in other bytes. Where `found` was
    made without its images (not `pictured`), which of them are shown is not compared either.
    """
    one, other = _told(stored, pictured), _told(found, pictured)
    if one == other:
        return None
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, at - AROUND)
    return f"it reads “{one[start : at + AROUND]}”, and they give “{other[start : at + AROUND]}”"


def _told(html: str, pictured: bool) -> str:
    if not pictured:
        html = PICTURE.sub("", DATA.sub(_counts_alone, html))
    return ADDRESS.sub("data:", html)


def _counts_alone(match: re.Match[str]) -> str:
    """Return the data of the page with the number of images of each cell and bin, and not which are shown."""
    try:
        data = json.loads(match[2])
        data = {name: value for name, value in data.items() if name not in PICTURED}
        data["cells"] = {cell: number for cell, (number, _) in data["cells"].items()}
        data["bins"] = [number for number, _ in data["bins"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return match[0]
    return f"{match[1]}{json.dumps(data)}{match[3]}"
