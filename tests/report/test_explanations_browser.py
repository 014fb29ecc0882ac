"""explain.html in a browser, from a file: maps, classes, stages and receptive fields by mouse and by keyboard."""

from __future__ import annotations

import numpy as np
import pytest

import foveal
from chromium import ARGUMENTS, CHROMIUM, contrasts, needs_chromium
from foveal.workflows.explain import see_stages, write_explanations
from small_classifiers import make_classifier

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, needs_chromium]

PIXELS = """id => { const canvas = document.getElementById(id);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data]; }"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    classifier = make_classifier(channels=3)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 36, 3), np.uint8)
    found = foveal.explain(classifier, images, method=["gradcam", "occlusion", "guided-backprop"], target="all")
    folder = tmp_path_factory.mktemp("explained") / "out"
    return write_explanations(found, folder, see_stages(classifier, found))[0]


@pytest.fixture
def opened(page_file):
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(page_file.as_uri())
        page.wait_for_selector("html.js")
        yield page
        browser.close()
    assert said == []


def test_walking_through_methods_classes_and_images(opened):
    first = opened.evaluate(PIXELS, "overlay")
    opened.get_by_role("button", name="Occlusion").click()
    assert opened.evaluate(PIXELS, "overlay") != first
    assert "spoke against" in opened.locator(".legend").inner_text()
    assert opened.get_by_role("button", name="Occlusion").get_attribute("aria-pressed") == "true"
    opened.get_by_role("button", name="plum", exact=True).click()
    assert "Why plum" in opened.locator("#said").inner_text()
    opened.locator("[data-image='1']").focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#map-title").inner_text() == "#1"
    assert "Why plum" in opened.locator("#said").inner_text()  # the choice stays from image to image
    label = opened.locator("#overlay").get_attribute("aria-label")
    assert label.startswith("Occlusion over #1: why plum")


def test_the_map_fades_to_the_image(opened):
    opened.locator("#opacity").focus()
    for _ in range(20):
        opened.keyboard.press("ArrowLeft")
    assert opened.locator("#opacity").input_value() == "0"
    faded = opened.evaluate(PIXELS, "overlay")
    opened.get_by_role("button", name="Guided backpropagation").click()
    assert opened.evaluate(PIXELS, "overlay") == faded


def test_stages_and_what_their_cells_see(opened):
    slider = opened.locator("#stage")
    assert slider.get_attribute("aria-valuetext").startswith("block1: ")
    slider.focus()
    opened.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext").startswith("block3: ")
    mean = opened.locator("#units canvas").first
    mean.focus()
    before = opened.locator("#sight-words").inner_text()
    opened.keyboard.press("ArrowUp")
    after = opened.locator("#sight-words").inner_text()
    assert before != after
    assert "of block3 can see 18×18 pixels" in after
    mean.hover(position={"x": 2, "y": 2})
    assert "row 0, column 0 of block3" in opened.locator("#sight-words").inner_text()


def test_doubt_stands_beside_the_map_in_words(opened, page_file):
    import json

    stored = json.loads((page_file.parent / "explanations.json").read_text())["explanations"]
    doubted = next(one for one in stored if one["warnings"] and one["input"] == "#0")
    opened.get_by_role("button", name={"gradcam": "Grad-CAM"}.get(doubted["method"], doubted["method"].title())).click()
    opened.get_by_role("button", name=doubted["class"], exact=True).click()
    words = opened.locator("#doubt").inner_text()
    assert words.startswith("Do not trust this map.")
    assert doubted["warnings"][0] in words


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_is_wider_than_the_screen_and_all_can_be_read(page_file, width, scheme):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.goto(page_file.as_uri())
        page.wait_for_selector("html.js")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert min(page.evaluate(contrasts(".why button"))) >= 4.5
        browser.close()
