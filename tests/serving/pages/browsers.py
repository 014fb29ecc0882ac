"""Browsers for tests of the pages: one for each person, and what goes wrong in any of them fails the test."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from chromium import ARGUMENTS, CHROMIUM
from foveal.storage.reviews import reviews_of
from foveal.storage.tables import cases
from service_stand_in import PASSWORD

WIDE = {"viewport": {"width": 1200, "height": 900}}
HARMLESS = ("verbose", "info", "log")


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, service):
    """Return a function that opens a browser of its own for a person; what goes wrong in any of them fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_for(name=None, *, expected=(), **options):
        context = chromium.new_context(base_url=service.address, **{**WIDE, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def told(message):
            if message.type not in HARMLESS and not any(one in message.text for one in expected):
                wrong.append(message.text)

        page.on("console", told)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: foreign(request.url))
        if name is not None:
            page.goto("/login")
            page.fill("#name", name)
            page.fill("#password", PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_url("**/worklist")
        return page

    def foreign(url):
        if not url.startswith((service.address, "data:", "blob:")):
            wrong.append(url)

    yield open_for
    for context in contexts:
        context.close()
    assert wrong == []


def stored(service, case_id):
    with service.service.database.read() as connection:
        row = connection.execute(select(cases).where(cases.c.id == case_id)).mappings().one()
        return row, reviews_of(connection, case_id)


def until(page, condition, seconds=15):
    for _ in range(seconds * 10):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come about")
