"""Cases signed in a browser: by keyboard alone, by two people at once, offline."""

from __future__ import annotations

import pytest

from chromium import needs_chromium
from foveal.storage.reviews import add_review
from service_stand_in import EVIL
from serving.pages.browsers import stored, until

pytestmark = [pytest.mark.slow, needs_chromium]


def test_a_case_is_signed_by_keyboard_alone_from_sign_in_to_the_next_case(service, opened, new_case):
    ids = [new_case() for _ in range(3)]
    page = opened("Tomás")
    page.wait_for_selector(".row")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_selector("#review")
    case_id = page.locator("#review").get_attribute("data-case")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert page.evaluate("document.activeElement.id") == "label"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("a mass, not an apple")  # letters are letters while one writes
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: case_id not in url.partition("?")[0])
    assert "Signed. Amended" in page.locator("main").inner_text()
    row, made = stored(service, case_id)
    assert [(one.verdict, one.reason) for one in made] == [("amend", "a mass, not an apple")]
    assert row["final_label"] == made[0].label != row["leading"]
    second = page.locator("#review").get_attribute("data-case")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    until(page, lambda: stored(service, second)[0]["review"] == "accept")
    page.wait_for_selector("#review")
    page.keyboard.press("u")
    page.wait_for_url("**/worklist")
    assert ids


def test_keys_can_be_turned_off(opened, new_case):
    page = opened("Tomás")
    page.goto(f"/cases/{new_case()}")
    page.keyboard.press("?")
    page.locator("#single-keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    assert page.locator("[name=verdict]:checked").count() == 0


def test_two_people_at_one_case_and_the_second_keeps_their_words(service, opened, new_case):
    case_id = new_case()
    first, second = opened("Tomás"), opened("Ines", expected=("409",))
    for page in (first, second):
        page.goto(f"/cases/{case_id}")
    second.keyboard.press("r")
    second.keyboard.type("not an image of a fruit")
    first.keyboard.press("a")
    first.keyboard.press("Enter")
    until(first, lambda: stored(service, case_id)[0]["version"] == 1)
    second.locator("#sign").click()
    second.wait_for_selector("#refused:not([hidden])")
    told = second.locator("#refused").inner_text()
    assert "Tomás accepted" in told
    assert second.locator("#reason").input_value() == "not an image of a fruit"
    assert stored(service, case_id)[0]["version"] == 1
    second.locator("#sign").click()
    until(second, lambda: stored(service, case_id)[0]["version"] == 2)
    assert [one.verdict for one in stored(service, case_id)[1]] == ["accept", "reject"]


def test_a_draft_is_back_after_the_page_was_left(opened, new_case):
    case_id = new_case()
    page = opened("Tomás")
    page.goto(f"/cases/{case_id}")
    page.keyboard.press("r")
    page.keyboard.type(f"half a sentence {EVIL}")
    page.goto("/quality")
    page.goto(f"/cases/{case_id}")
    assert page.locator("#reason").input_value() == f"half a sentence {EVIL}"
    assert page.locator("[value=reject]").is_checked()
    assert "is back" in page.locator("#draft").inner_text()
    page.get_by_role("button", name="Discard").click()
    page.reload()
    assert page.locator("#reason").input_value() == ""
    other = opened("Ines")
    other.goto(f"/cases/{case_id}")
    assert other.locator("#reason").input_value() == ""


def test_who_signs_out_is_asked_and_leaves_no_draft_behind(opened, new_case):
    page = opened("Tomás")
    page.goto(f"/cases/{new_case()}")
    page.keyboard.press("r")
    page.keyboard.type("half a sentence")
    drafts = "Object.keys(localStorage).filter((key) => key.startsWith('foveal:draft:')).length"
    asked = []

    def refuse(dialog):
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    page.get_by_role("button", name="Sign out").click()
    assert page.locator("#reason").input_value() == "half a sentence"
    assert page.evaluate(drafts) == 1
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    assert page.evaluate(drafts) == 0
    assert asked == ["A draft that you have not signed will be deleted from this browser. Sign out?"]


def test_a_signature_made_offline_is_sent_once_when_the_network_is_back(service, opened, new_case):
    case_id = new_case()
    page = opened("Tomás", expected=("ERR_INTERNET_DISCONNECTED",))
    page.goto(f"/cases/{case_id}")
    page.context.set_offline(True)
    page.keyboard.press("r")
    page.keyboard.type("upside down")
    page.locator("#sign").click()
    page.wait_for_selector("#banner-offline")
    assert "will be sent once" in page.locator("#banner-offline").inner_text()
    assert page.locator("#sign").is_disabled()
    assert stored(service, case_id)[0]["version"] == 0
    page.context.set_offline(False)
    page.wait_for_url(lambda url: case_id not in url.partition("?")[0] or "signed" in url)
    _, made = stored(service, case_id)
    assert [(one.verdict, one.reason) for one in made] == [("reject", "upside down")]


def test_a_signature_whose_answer_was_lost_is_not_signed_twice(service, opened, new_case):
    case_id = new_case()
    page = opened("Tomás", expected=("ERR_FAILED",))
    page.goto(f"/cases/{case_id}")
    turns = []

    def lose(route):
        turns.append(1)
        if len(turns) > 2:
            route.continue_()
            return
        route.fetch()  # the service takes it
        route.abort()  # and the browser never hears of it

    page.route("**/review*", lose)
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "signed" in url, timeout=30_000)
    row, made = stored(service, case_id)
    assert len(turns) == 3
    assert (row["version"], len(made)) == (1, 1)


def test_a_signature_that_waits_is_sent_from_another_page_and_met_by_another_review(service, opened, new_case):
    case_id, other_case = new_case(), new_case()
    page = opened("Tomás", expected=("ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "409"))
    for one in (case_id, other_case):
        page.goto(f"/cases/{one}")
        page.route("**/review*", lambda route: route.abort())
        page.keyboard.press("a")
        page.keyboard.press("Enter")
        page.wait_for_selector("#banner-offline")
    with service.service.database.write() as connection:
        add_review(connection, case_id=other_case, reviewer="user:x", verdict="reject", version=0, reason="faster")
    page.unroute("**/review*")
    page.goto("/quality")
    page.wait_for_selector(f"#banner-sent-{case_id}")
    page.wait_for_selector(f"#banner-sent-{other_case}")
    assert "was sent" in page.locator(f"#banner-sent-{case_id}").inner_text()
    assert "not taken" in page.locator(f"#banner-sent-{other_case}").inner_text()
    assert stored(service, case_id)[0]["review"] == "accept"
    assert stored(service, other_case)[0]["version"] == 1
    page.goto(f"/cases/{other_case}")
    assert page.locator("[value=accept]").is_checked()  # one's own words are still there
