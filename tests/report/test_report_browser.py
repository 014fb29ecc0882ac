"""The page in a browser."""

from __future__ import annotations

import json

import pytest

import foveal
from chromium import ARGUMENTS, CHROMIUM, needs_chromium
from foveal.report import write_report

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, picture):
    """Open a report; at the end no page may have said anything on its console."""
    said: list[str] = []
    contexts = []

    def shown(stored, **options):
        path = write_report(stored.write(), picture)
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(path.as_uri())
        return page

    yield shown
    for context in contexts:
        context.close()
    assert said == []


def test_a_cell_shows_its_images_and_arrow_keys_move(stored, show) -> None:
    page = show(stored)
    cell = page.locator('[data-cell="4-4"]')
    cell.click()
    assert cell.get_attribute("aria-pressed") == "true"
    number = int(cell.inner_text())
    assert page.locator("#cell-pictures li").count() == number
    assert page.locator("#cell-pictures img").first.evaluate("image => image.naturalWidth") == 28
    assert page.locator("#cell-title").inner_text() == f"“4” recognised: {number} images"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.cell") == "5-5"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.cell") == "5-9"
    page.keyboard.press("Enter")
    assert page.locator("#cell-title").inner_text().startswith("“5” classified as “9”")
    assert page.locator('.matrix [tabindex="0"]').count() == 1


def test_every_cell_can_be_chosen(stored, show, hostile) -> None:
    stored.classes = hostile
    page = show(stored)
    page.evaluate("document.querySelectorAll('[data-cell]').forEach(button => button.click())")
    assert page.locator("#cell-images script, #cell-images b").count() == 0


def test_headings_sort_with_what_is_undefined_last(stored, show) -> None:
    stored.n, stored.classes = 11, [*"abcdefghijkl"]
    page = show(stored)
    recall = page.get_by_role("button", name="Recall")
    column = page.locator("#classes tbody tr td:nth-child(3)")
    recall.focus()
    page.keyboard.press("Enter")
    keys = column.evaluate_all("cells => cells.map(cell => cell.dataset.key)")
    assert keys[-1] == ""
    assert keys[:-1] == sorted(keys[:-1], key=float)
    assert page.locator("#classes th[aria-sort]").get_attribute("aria-sort") == "ascending"
    recall.click()
    keys = column.evaluate_all("cells => cells.map(cell => cell.dataset.key)")
    assert keys[-1] == ""
    assert keys[:-1] == sorted(keys[:-1], key=float, reverse=True)


def test_the_slider_reads_an_epoch(stored, show) -> None:
    page = show(stored)
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    assert page.locator("#reading").inner_text().startswith("Epoch 1: loss")
    page.locator(".panel").first.hover()
    assert not page.locator("#reading").inner_text().startswith("Epoch 1:")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_never_scrolls_sideways(stored, show, hostile, width) -> None:
    stored.classes = [*hostile, "x" * 200]
    stored.record_id = ("y" * 150 + "{}").format
    page = show(stored, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_without_scripts_everything_else_is_there(stored, show) -> None:
    page = show(stored, java_script_enabled=False)
    assert page.locator("noscript .note").is_visible()
    assert page.locator("#mistakes img").count() > 0
    assert page.locator(".panel").count() == 2
    assert not page.locator("#epoch").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_number_of_the_matrix_is_readable(stored, show, scheme) -> None:
    page = show(stored, color_scheme=scheme)
    page.evaluate(
        """() => { const cells = [...document.querySelectorAll('.cell')];
        cells.forEach((cell, i) => { cell.className = `cell ${i % 2 ? 'right' : 'wrong'} s${(i >> 1) % 7}`; }); }"""
    )
    pairs = page.evaluate(
        """() => [...document.querySelectorAll('.cell')].slice(0, 14)
        .map(cell => getComputedStyle(cell)).map(style => [style.color, style.backgroundColor])"""
    )
    assert len(set(map(tuple, pairs))) == 13  # an empty cell looks the same on and off the diagonal
    for text, background in pairs:
        assert contrast(text, background) >= 4.5, (text, background)


def contrast(first: str, second: str) -> float:
    """WCAG 2.2 contrast ratio of two ``rgb(…)``."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("decided") / "run"
    options = {"epochs": 2, "calibration": 0.15, "operating_point": "8: sensitivity 0.9"}
    return foveal.train("digits", model="lenet5", out=out, progress=False, **options)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_what_is_decided_can_be_looked_into(browser, trained, width, scheme):
    said: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(trained.report_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width

    numbers = "[...document.querySelectorAll('[data-cell]')].map(cell => Number(cell.textContent))"
    before = page.evaluate(numbers)
    assert page.locator("#positive").input_value() == "8"
    page.locator("#at").focus()
    page.keyboard.press("Home")  # a threshold of 0: everything is an 8
    after = page.evaluate(numbers)
    assert sum(after) == sum(before) == 270
    assert all(number == 0 for at, number in enumerate(after) if at % 10 != 8)
    assert "sensitivity 100.0 %" in page.locator("#rates").inner_text()
    page.locator("#deployed").click()  # a threshold between two steps of the slider: the figures are the stored ones
    binary = json.loads((trained.path / "metrics.json").read_text())["test"]["operating"]["binary"]
    assert page.evaluate(numbers)[88] == binary["tp"]
    assert f"{binary['tp']} of {binary['tp'] + binary['fn']}" in page.locator("#rates").inner_text()
    page.locator("#back").click()
    assert page.evaluate(numbers) == before and page.locator("#rates").inner_text() == ""

    shown = page.locator("[data-bin]").last
    shown.focus()
    page.keyboard.press("Enter")
    assert shown.get_attribute("aria-pressed") == "true"
    stored = json.loads((trained.path / "metrics.json").read_text())["test"]["calibration"]["after"]["equal_width"]
    assert page.locator("#bin-pictures li").count() == min(24, stored[-1]["n"])
    first = page.locator("#mistakes .record").first.inner_text()
    page.locator("#turn").click()
    assert page.locator("#mistakes .record").last.inner_text() == first
    context.close()
    assert not said


def test_no_table_is_cut_off_on_paper(browser, trained):
    page = browser.new_page(viewport={"width": 718, "height": 1000})  # A4 less its margins
    page.emulate_media(media="print")
    page.goto(trained.report_file.as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    wide = page.evaluate(
        "[...document.querySelectorAll('table')].filter(one => one.scrollWidth > 718).map(one => one.innerText)"
    )
    assert wide == []
    page.close()
