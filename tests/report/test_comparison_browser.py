"""The page of a comparison in a browser: nothing is said on the console, and nothing is wider than a phone."""

from __future__ import annotations

import pytest
from test_comparison_page import comparison, run

from chromium import ARGUMENTS, CHROMIUM, contrasts, needs_chromium
from foveal.report.comparison_page import write_comparison

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, needs_chromium]


def test_the_page_in_light_and_dark_on_desk_and_phone(tmp_path, picture):
    long = "a-very-long-name-of-a-run-" * 3
    runs = [run(one, long if one == "B" else "") for one in "ABCDEFGH"]
    pages = {
        "two.html": comparison(*runs[:2], disagreements=30),
        "many.html": comparison(*runs, disagreements=30),
    }
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        for name, compared in pages.items():
            path = write_comparison(compared, tmp_path / name, picture)
            for width, scheme in ((1280, "light"), (390, "dark")):
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page = context.new_page()
                page.on("console", lambda message: said.append(message.text))
                page.on("pageerror", lambda error: said.append(str(error)))
                page.goto(path.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") == width
                assert min(page.evaluate(contrasts(".mark"))) >= 4.5  # the letter on the colour of its run
                rows = page.locator(".forest").first.locator(".forest-row")
                places = rows.evaluate_all("rows => rows.map(row => Math.round(row.getBoundingClientRect().left))")
                assert len(set(places)) == 1  # all intervals lie on one scale
                context.close()
        browser.close()
    assert said == []
