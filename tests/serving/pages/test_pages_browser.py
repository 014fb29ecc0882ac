"""The pages in a browser: images, lists and forms, by mouse, keys and touch, on a telephone, without scripts."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest

from chromium import contrasts, needs_chromium
from foveal.storage.tables import cases
from service_stand_in import EVIL, PASSWORD
from serving.pages.browsers import WIDE, stored, until
from serving.running import picture

pytestmark = [pytest.mark.slow, needs_chromium]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
NAME = "<img src=x onerror=alert(1)>\u202e😀.png"


def test_the_image_is_windowed_zoomed_and_moved_by_mouse_and_keys(opened, new_case):
    page = opened("Tomás")
    page.goto(f"/cases/{new_case()}")
    viewer, stage = page.locator("#viewer"), page.locator(".stage")
    viewer.focus()
    start = stage.evaluate("node => node.style.transform")
    for _ in range(4):
        page.keyboard.press("+")
    assert "244 %" in page.locator("#reading").inner_text()
    larger = stage.evaluate("node => node.style.transform")
    assert larger != start
    page.keyboard.press("ArrowRight")
    assert stage.evaluate("node => node.style.transform") != larger
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Shift+ArrowRight")
    assert "level 136 · window 263" in page.locator("#reading").inner_text()
    slope = page.locator("#levels feFuncR").get_attribute("slope")
    assert float(slope) == pytest.approx(255 / 263)
    page.keyboard.press("i")
    assert "inverted" in page.locator("#reading").inner_text()
    page.keyboard.press("x")
    assert page.locator("#reading").inner_text() == "100 % · level 128 · window 255"
    box = viewer.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.locator("#do-window").click()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 40, steps=4)
    page.mouse.up()
    assert "level 148 · window 195" in page.locator("#reading").inner_text()
    viewer.click()
    page.mouse.wheel(0, -600)
    until(page, lambda: not page.locator("#reading").inner_text().startswith("100 %"))


def test_levels_are_exact_on_the_screen(opened, new_case):
    """A grey g is shown as (g - low) / window: read from the screen, pixel by pixel."""
    page = opened("Tomás")
    page.goto(f"/cases/{new_case()}")
    page.locator("#window").evaluate("node => { node.value = 100; node.dispatchEvent(new Event('input')); }")
    page.locator("#level").evaluate("node => { node.value = 100; node.dispatchEvent(new Event('input')); }")
    shown = page.evaluate(
        """async () => {
          const picture = document.getElementById('picture');
          await picture.decode();
          const canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
          const context = canvas.getContext('2d', { willReadFrequently: true });
          context.drawImage(picture, 0, 0);
          const before = [...context.getImageData(0, 0, 8, 1).data];
          context.filter = 'url(#levels)';
          context.drawImage(picture, 0, 0);
          return [before, [...context.getImageData(0, 0, 8, 1).data]];
        }"""
    )
    for before, after in zip(*shown, strict=True):
        if before == 255 and after == 255:
            continue
        assert after == pytest.approx(min(255, max(0, 255 * (before - 50) / 100)), abs=2)


def test_a_heat_map_is_made_when_it_is_asked_for_and_hidden_again(opened, new_case):
    page = opened("Tomás")
    page.goto(f"/cases/{new_case()}")
    assert page.locator("#heat").is_hidden()
    page.keyboard.press("h")
    page.wait_for_selector("#heat:not([hidden])", timeout=90_000)
    assert "Grad-CAM" in page.locator("#heat-words").inner_text()
    page.locator("#opacity").focus()
    page.keyboard.press("Home")
    assert page.locator("#heat").evaluate("node => node.style.opacity") == "0"
    page.keyboard.press("h")
    assert page.locator("#heat").is_hidden()


def test_a_map_that_cannot_be_made_is_said_in_words(opened, new_case):
    page = opened("Tomás", expected=("422",))
    page.goto(f"/cases/{new_case()}")
    told = '{"error": {"code": "unexplained", "message": "This method needs gradients."}}'
    page.route("**/v1/explain/**", lambda route: route.fulfill(status=422, body=told, content_type="application/json"))
    page.keyboard.press("h")
    until(page, lambda: "needs gradients" in page.locator("#heat-words").inner_text())


def test_the_list_changes_by_itself_and_never_under_a_focus(opened, new_case):
    new_case()
    page = opened("Tomás")
    first = page.locator(".row").first
    first.focus()
    focused = page.evaluate("document.activeElement.id")
    later = new_case()
    page.wait_for_selector("#changed:not([hidden])")
    assert page.evaluate("document.activeElement.id") == focused
    assert page.locator(f"#case-{later}").count() == 0
    page.locator("#show-changed").click()
    page.wait_for_selector(f"#case-{later}")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    again = new_case()
    page.wait_for_selector(f"#case-{again}")


def test_who_does_nothing_is_warned_and_then_out_and_work_keeps_one_in(chromium, opened, new_case):
    case_id = new_case()
    page = opened("Tomás")
    page.clock.install()
    page.goto(f"/cases/{case_id}")
    page.keyboard.press("r")
    page.keyboard.type("unfinished")
    page.clock.run_for(14 * 60_000 + 5_000)
    page.wait_for_selector("#idle[open]")
    page.locator("#idle-stay").click()
    assert page.locator("#idle").is_hidden()
    page.clock.run_for(15 * 60_000 + 5_000)
    page.wait_for_url("**/login?why=idle")
    assert "nothing happened" in page.locator("main").inner_text()
    page.clock.resume()
    page.goto(f"/cases/{case_id}")
    assert "guest" in page.locator(".who").inner_text()
    page.goto("/login")
    page.fill("#name", "Tomás")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/worklist")
    page.goto(f"/cases/{case_id}")
    assert page.locator("#reason").input_value() == "unfinished"


@pytest.mark.parametrize("options", [PHONE, {**PHONE, "color_scheme": "dark"}, {"color_scheme": "dark"}, {}])
def test_no_page_is_wider_than_its_screen_and_all_can_be_read(opened, new_case, options):
    case_id = new_case(EVIL)
    page = opened("Rosa", **options)
    for path in (
        "/try", "/worklist", "/worklist?view=all", f"/cases/{case_id}", "/quality", "/problems", "/admin/users",
        "/admin/keys", "/admin/models", "/admin/quarantine", "/admin/trail",
    ):  # fmt: skip
        page.goto(path)
        wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= screen, path
        assert page.locator("h1").count() == 1, path
        assert page.locator("img:not([alt]), input:not([type=hidden]):not([id]):not(label input)").count() == 0, path
    assert min(page.evaluate(contrasts("button.primary"))) >= 4.5


def test_on_a_telephone_a_case_is_signed_by_touch(service, opened, new_case):
    case_id = new_case()
    page = opened("Tomás", **PHONE)
    page.goto(f"/cases/{case_id}")
    page.locator("#larger").tap()
    assert "125 %" in page.locator("#reading").inner_text()
    page.get_by_text("Reject", exact=True).tap()
    page.locator("#reason").fill("cut off")
    page.locator("#sign").tap()
    until(page, lambda: stored(service, case_id)[0]["review"] == "reject")


def test_a_case_that_waits_shows_its_answer_when_it_has_one(service, opened, new_case):
    case_id = new_case()
    database = service.service.database
    change = cases.update().where(cases.c.id == case_id)
    prediction = stored(service, case_id)[0]["prediction_id"]
    with database.write() as connection:
        connection.execute(change.values(state="waiting", prediction_id=None))
    page = opened("Tomás")
    page.goto(f"/cases/{case_id}")
    assert "Waits for its answer" in page.locator("main").inner_text()
    with database.write() as connection:
        connection.execute(change.values(state="answered", prediction_id=prediction))
    page.wait_for_selector(".bars")


@contextmanager
def without_scripts(chromium, service):
    context = chromium.new_context(base_url=service.address, java_script_enabled=False, **WIDE)
    yield context.new_page()
    context.close()


def test_without_scripts_a_case_is_read_and_signed(service, chromium, new_case):
    case_id = new_case()
    with without_scripts(chromium, service) as page:
        page.goto("/login")
        page.fill("#name", "Ines")
        page.fill("#password", PASSWORD)
        page.locator("main button").click()
        page.goto(f"/cases/{case_id}")
        assert page.locator(".bars tbody tr").count() == 3
        page.get_by_text("Reject", exact=True).click()
        page.fill("#reason", "without a script")
        page.locator("#sign").click()
        assert "Signed. Rejected" in page.locator("main").inner_text()
    assert stored(service, case_id)[0]["review"] == "reject"


def test_a_guest_drops_images_and_sees_answers_bars_and_a_map(opened):
    page = opened(expected=("422",))
    page.goto("/")
    files = [
        {"name": NAME, "mimeType": "image/png", "buffer": picture(20_001)},
        {"name": "b.png", "mimeType": "image/png", "buffer": picture(20_002)},
        {"name": "c.png", "mimeType": "image/png", "buffer": b"no image at all"},
    ]
    page.locator("#images").set_input_files(files)
    until(page, lambda: page.locator(".try .bars").count() == 2)
    until(page, lambda: "cannot be used" in page.locator("#answers").inner_text())
    assert page.locator(".try .bars").first.locator("tr").count() == 3
    assert "<img src=x onerror=alert(1)>" in page.locator("#answers").inner_text()
    assert "Investigational; not for diagnosis." in page.locator("#answers").inner_text()
    page.get_by_role("button", name="Where it looked").first.click()
    page.wait_for_selector(".small-stage canvas:not([hidden])", timeout=90_000)
    page.get_by_role("link", name="Open the case").first.click()
    page.wait_for_selector("#review")


def test_images_are_dropped_on_the_page(opened):
    page = opened()
    page.goto("/try")
    page.evaluate(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' }));
          const drop = new DragEvent('drop', { dataTransfer: transfer, bubbles: true });
          document.getElementById('drop').dispatchEvent(drop);
        }""",
        list(picture(20_003)),
    )
    until(page, lambda: page.locator(".try .bars").count() == 1)
    assert "dropped.png" in page.locator("#answers").inner_text()


def test_an_admin_makes_a_user_and_a_key_and_looks_at_the_trail(opened):
    page = opened("Rosa")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator(".menu summary").click()
    page.get_by_role("link", name="Users").click()
    page.fill("section #name", "Noor")
    page.fill("section #password", PASSWORD)
    page.get_by_role("button", name="Add").click()
    assert "Noor" in page.locator(".plain").inner_text()
    page.goto("/admin/keys")
    page.fill("#name", "scanner")
    page.get_by_role("button", name="Make").click()
    assert re.match(r"fv_[0-9a-z]{26}_\w+$", page.locator("#token").inner_text())
    page.get_by_role("button", name="Revoke").first.click()
    assert "revoked" in page.locator(".plain").inner_text()
    page.goto("/admin/trail?actor=Rosa")
    assert "key-made" in page.locator("table").inner_text()
    page.get_by_role("button", name="Verify").click()
    assert "as they were written" in page.locator("main").inner_text()
