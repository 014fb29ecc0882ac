"""The picture of the ten codes in the guide shows the codes of the network.

``python tests/docs/test_code_picture.py`` draws it anew.
"""

from __future__ import annotations

from pathlib import Path

from foveal.models.lenet_1998 import CODE_HEIGHT, CODE_WIDTH, make_codes

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "lenet5_1998_codes.svg"
CELL, MARGIN = 7, 2  # pixels a pixel of a code, cells around each code


def picture() -> str:
    """Return the SVG: one code beside the other, a dark square where it is +1, a light one where it is -1."""
    codes = make_codes("digits", 10).view(10, CODE_HEIGHT, CODE_WIDTH)
    width, height = (10 * (CODE_WIDTH + MARGIN) + MARGIN) * CELL, (CODE_HEIGHT + 2 * MARGIN) * CELL
    squares = dict.fromkeys((-1, 1), "")
    for digit, row, column in ((d, r, c) for d in range(10) for r in range(CODE_HEIGHT) for c in range(CODE_WIDTH)):
        x, y = (MARGIN + digit * (CODE_WIDTH + MARGIN) + column) * CELL, (MARGIN + row) * CELL
        squares[int(codes[digit, row, column])] += f"M{x} {y}h{CELL - 1}v{CELL - 1}h-{CELL - 1}z"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
        f"<title>The ten codes of lenet5_1998: the digits 0 to 9, {CODE_WIDTH} wide and {CODE_HEIGHT} high</title>\n"
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
        f'<path fill="#e8e8e8" d="{squares[-1]}"/>\n<path fill="#1f2933" d="{squares[1]}"/>\n</svg>\n'
    )


def test_the_picture_is_of_the_codes():
    assert PICTURE.read_text(encoding="utf-8") == picture(), "draw it anew: python tests/docs/test_code_picture.py"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
