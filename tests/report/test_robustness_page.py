"""The page of robustness: it says what the figures say, the names in it are text, and it works in a browser."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from chromium import ARGUMENTS, CHROMIUM, contrasts, needs_chromium
from foveal.data.corruptions import CORRUPTIONS
from foveal.evaluation.interval import wilson
from foveal.evaluation.robustness import (
    Case,
    MapShifted,
    Robustness,
    Shifted,
    make_curve,
    measure_condition,
    share,
)
from foveal.report.robustness import conclusion, endured, known, points, robustness_figure, robustness_page, shade
from foveal.web.thumbnails import thumbnail


def made_up(names: list[str] | None = None, label: str = "seven", *, sure: float = 0.9) -> Robustness:
    """Curves of 200 images of which every strength of every corruption loses more than the one before."""
    rng = np.random.default_rng(0)
    labels, units = np.zeros(200, int), np.arange(200)

    def said(right: float) -> np.ndarray:
        hit = rng.permutation(200) < round(200 * right)
        return np.where(hit[:, None], [[sure, 1 - sure]], [[1 - sure, sure]])

    clean, curves, cases = said(0.98), [], []
    picture = thumbnail(Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8))).address
    for number, corruption in enumerate(CORRUPTIONS.values()):
        if names is None or corruption.name in names:
            falls = [0.975, 0.94, 0.9, 0.8, 0.3] if number else [0.98] * 5
            conditions = [
                measure_condition(labels, clean, said(right), units, strength, np.arange(200) < 50)
                for strength, right in zip(corruption.strengths, falls, strict=True)
            ]
            curves.append(make_curve(corruption, conditions, 30))
            cases += [
                Case(corruption.name, corruption.strengths[4], f"{label}/{i}", label, "one", 0.9, 0.8, picture, picture)
                for i in range(12)
            ]
    right = np.mean([one.mean_accuracy for one in curves])
    return Robustness(
        run="run",
        model="LeNet-5",
        dataset=label,
        classifier="ab" * 32,
        engine={"engine": "torch"},
        n=200,
        test_images=300,
        units=200,
        seed=0,
        clean=share(clean.argmax(axis=1) == labels, units),
        clean_confidence=sure,
        clean_abstained=0.01,
        mean=wilson(200 * right, 200),
        mean_confidence=sure,
        curves=tuple(curves),
        cases=tuple(cases),
        shift_images=200,
        shifts=(Shifted(1, wilson(190, 200), 0.95, 0.2), Shifted(2, wilson(150, 200), 0.9, None)),
        maps=(MapShifted("c3", 2, "16×10×10", 1, 0.1, 0.9),),
        asked=10_200,
        images_per_s=1234.5,
    )


def test_the_sentences():
    result = made_up()
    said = conclusion(result).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("Of 200 test images 98.0 % are answered rightly as they are, and 80.3 % on average")
    assert said.endswith("worst by shot noise (78.3 %), least by Gaussian noise (98.0 %).")
    assert "mostly does not know" in known(made_up(sure=0.99)) and "confidence by" in known(made_up(sure=0.85))
    assert "about as far" in known(replace(made_up(sure=0.81), clean_confidence=0.98))
    sure_of_clean = replace(made_up(sure=0.99), clean=wilson(150, 200))
    assert "too sure, as it is of clean images" in known(sure_of_clean)
    assert (
        known(result)
        .replace("\N{NO-BREAK SPACE}", " ")
        .endswith(
            "It abstains on 1.0 % of the clean images and on 25.0 % of the damaged ones, which count here as answered "
            "all the same."
        )
    )
    assert "abstains" not in known(replace(result, clean_abstained=None))
    only = made_up(["jpeg"])
    assert endured(only.curves[0]) == f"at {only.curves[0].written(only.curves[0].endures)}"
    assert "by JPEG: 5 points are lost at" in conclusion(only)
    assert endured(result.curves[0]) == "not at 30 %"
    assert endured(result.curves[0], whole=True) == "less than 5 points lost at 30 %"
    assert [points(one) for one in (0.0123, -0.0123, -0.0004)] == ["1.2", "−1.2", "0.0"]
    assert [shade(one) for one in result.curves[1].conditions] == [0, 1, 2, 3, 6]


def test_the_page_holds_every_figure_and_nothing_from_outside():
    result = made_up()
    html = robustness_page(result)
    assert html.count('class="shade ') == 50 and html.count('class="multiple" role="img"') == 10
    assert html.count('<img src="data:image/') == 240 and html.count("drawn by lot from the 300") == 1
    assert "30 images turned, 12 shown" in html and "<code>c3</code> (16×10×10, a cell every 2 pixels)" in html
    assert "Content-Security-Policy" in html and "<script" not in html
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")
    bare = replace(result, cases=(), shifts=(), maps=(), clean_abstained=None)
    html = robustness_page(bare)
    assert "No image that is answered rightly turned" in html and "A few pixels aside" not in html
    assert "Abstains" not in html


def test_names_are_text(hostile):
    for name in hostile:
        html = robustness_page(made_up(["jpeg"], name))
        assert "<script>alert" not in html and "<img src=x" not in html and "\u202e" not in html
        ET.fromstring(robustness_figure(made_up(["jpeg"], name)))


def test_the_figure_is_svg_in_which_curves_go_by_strength():
    root = ET.fromstring(robustness_figure(made_up()))
    kind = "{http://www.w3.org/2000/svg}"
    panels = [one for one in root if one.tag == f"{kind}g"]
    assert len(panels) == 10
    for panel in panels:
        (course,) = [one.get("d") for one in panel if one.get("class") == "accuracy"]
        places = [tuple(map(float, point.split())) for point in re.split("[ML]", course)[1:]]
        across, down = zip(*places, strict=True)
        assert len(places) == 6 and list(across) == sorted(across)  # clean, then mild to severe, also where it falls
        assert list(down) == sorted(down)  # the less accurate, the lower


@pytest.mark.slow
@needs_chromium
def test_the_page_in_light_and_dark_on_desk_and_phone(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "robustness.html"
    path.write_text(robustness_page(made_up(label="a-very-long-name-of-a-class-" * 4)), encoding="utf-8")
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        for width, scheme in ((1280, "light"), (390, "dark"), (1280, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert min(page.evaluate(contrasts("td.shade"))) >= 4.5
            pictures = page.locator(".turned img").evaluate_all("all => all.map(one => one.naturalWidth)")
            assert len(pictures) == 240 and min(pictures) == 28
            summary = page.locator("summary").nth(2)
            summary.focus()
            page.keyboard.press("Enter")
            assert page.locator("details").nth(2).evaluate("one => one.open")
            context.close()
        browser.close()
    assert said == []
