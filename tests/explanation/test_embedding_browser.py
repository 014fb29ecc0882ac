"""The page of an embedding in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.explanation.embedding import Embedding
from foveal.explanation.embedding_page import Member, embedding_page

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")]


def test_pointing_and_arrow_keys_show_the_image_from_a_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    shown = [
        Member(f"{name}.png", name, "lime", one) for name, one in zip(("fig", "lime", "plum"), pixels, strict=True)
    ]
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    file = tmp_path / "embedding.html"
    file.write_text(embedding_page(Embedding(points, "pca", "Two axes."), shown, title="fruit"))
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 380, "height": 700})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        words, picture = page.locator("#words"), page.locator("#picture")
        assert not picture.is_visible()
        page.locator(".point").nth(1).hover()
        assert words.inner_text() == "lime.png: lime, predicted lime"
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 24
        page.locator(".point").first.focus()
        page.keyboard.press("End")
        assert words.inner_text() == "plum.png: plum, predicted lime"
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "lime.png: lime, predicted lime"
        assert page.locator(".point[tabindex='0']").count() == 1
        assert page.locator("#ring").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        browser.close()
    assert said == []
