"""A card as a notebook receives it, read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"img"}
MAY_APPEAR = {
    "style", "div", "p", "strong", "span", "code", "dl", "dt", "dd", "ul", "li", "bdi", "img", "a", "figure", "details",
    "summary", "svg", "g", "text", "line", "path", "circle",
}  # fmt: skip


@dataclass
class Card(HTMLParser):
    """The elements of one card. What is not closed, could act, or reaches outside fails at once."""

    html: str
    text: str = ""
    images: list[dict[str, str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    drawings: list[str] = field(default_factory=list)  # what is said of each SVG to those who cannot see it

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.html)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert tag in MAY_APPEAR, f"<{tag}> has no place in a card"
        assert not [name for name in values if name.startswith("on")], f"<{tag}> acts: {values}"
        if tag == "img":
            assert values["alt"], "a picture without words"
            assert values["src"].startswith("data:image/"), values["src"][:40]
            self.images.append(values)
        if tag == "svg":
            assert values["role"] == "img"
            self.drawings.append(values["aria-label"])
        if tag == "a":
            self.links.append(values["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            assert "url(" not in data and "@import" not in data
        else:
            self.text += data
