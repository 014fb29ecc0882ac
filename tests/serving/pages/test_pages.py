"""The pages without a browser: forms, roles, conflicts, and that nothing sent is ever markup."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import select

from cases_made import make_case
from foveal.evaluation.interval import wilson
from foveal.serving.pages import words
from foveal.serving.pages.case_page import METHODS
from foveal.serving.pages.quality_page import quality_of
from foveal.storage.agreement import WEEK_US, Count
from foveal.storage.ids import now_us
from foveal.storage.reviews import reviews_of
from foveal.storage.tables import predictions, problems, users
from service_stand_in import EVIL, PASSWORD
from serving.pages.browsers import stored
from serving.running import picture, running

PAGES = ["/", "/try", "/worklist", "/worklist?view=all&leading=x&abstained=yes&subject=%25", "/quality", "/problems"]
ADMIN = ["/admin/users", "/admin/keys", "/admin/models", "/admin/quarantine", "/admin/trail"]
SCRIPT = {"Accept": "application/json"}


@pytest.mark.parametrize("path", [*PAGES, *ADMIN])
def test_every_page_is_whole_strict_and_fetches_nothing_from_elsewhere(visitor, new_case, path):
    new_case(EVIL)
    answer = visitor("Rosa").client.get(path, follow_redirects=True)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    text = answer.text
    assert "Investigational; not for diagnosis." in text
    assert not re.search(r"(?:src|href|action)=[\"']?(?:https?:)?//", text)
    assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", text)
    assert not re.search(r"\son\w+=|\sstyle=", text)
    for name in re.findall(r"/static/[\w.]+", text):
        file = visitor().get(name)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]


@pytest.mark.parametrize(
    "who, path, status",
    [
        (None, "/worklist", 200), (None, "/admin/users", 403), ("Una", "/admin/trail", 403), ("Una", "/worklist", 200),
        ("Tomás", "/admin/keys", 403), ("Una", "/try", 403), ("Rosa", "/admin/users", 200), (None, "/nowhere", 404),
    ],
)  # fmt: skip
def test_who_may_look_at_what(visitor, who, path, status):
    assert visitor(who).get(path).status_code == status


@pytest.mark.parametrize(
    "path", ["/admin/users", "/admin/keys", "/admin/models", "/admin/trail/verify", "/admin/quarantine/x/retry"]
)
def test_nobody_but_an_admin_changes_what_admins_change(service, visitor, path):
    for who in (None, "Una", "Tomás"):
        assert visitor(who).post(path, name="x", role="admin", password=PASSWORD).status_code == 403
    with service.service.database.read() as connection:
        assert connection.execute(select(users).where(users.c.name == "x")).first() is None


def test_a_form_without_the_token_of_its_browser_changes_nothing(service, visitor, new_case):
    case_id = new_case()
    one, other = visitor("Tomás"), visitor("Ines")
    for token in ("", "0" * 64, other.token()):
        fields = {"csrf": token, "verdict": "accept", "version": "0"}
        assert one.client.post(f"/cases/{case_id}/review", data=fields).status_code == 403
    guest = visitor()
    assert guest.client.post(f"/cases/{case_id}/review", data={"verdict": "accept", "version": "0"}).status_code == 403
    ours = {"csrf": one.token(), "verdict": "accept", "version": "0"}
    assert (
        one.client.post(f"/cases/{case_id}/review", data=ours, headers={"Origin": "http://evil.example"}).status_code
        == 403
    )
    assert stored(service, case_id)[0]["version"] == 0


def test_signing_in_and_out(visitor):
    one = visitor()
    assert "wrong" in one.sign_in("Tomás", "not the password").text
    answer = one.sign_in("Tomás")
    cookie = next(value for value in answer.headers.get_list("set-cookie") if "visitor" not in value)
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Tomás" in one.get("/worklist").text
    kept = dict(one.client.cookies)
    assert one.post("/logout").headers["location"] == "/login"
    one.client.cookies.update(kept)  # a cookie that was stolen is of no use either
    assert "Tomás" not in one.get("/worklist").text


@pytest.mark.parametrize(
    "after", ["//evil.example", "/\\evil.example", "https://evil.example", "/login", "javascript:x"]
)
def test_signing_in_leads_to_our_own_pages_only(visitor, after):
    one = visitor()
    fields = {"csrf": one.token("/login"), "name": "Una", "password": PASSWORD, "next": after}
    assert one.client.post("/login", data=fields).headers["location"] == "/"


def test_guessing_a_password_is_slowed_down_for_that_name_here(visitor):
    one = visitor()
    said = [one.sign_in("Nobody", f"guess {number}").status_code for number in range(7)]
    assert 429 in said
    assert visitor("Ines").get("/worklist").status_code == 200


def test_signing_leads_to_the_next_case_and_says_what_was_signed(service, visitor, new_case):
    new_case()
    case_id = new_case()
    one = visitor("Tomás")
    answer = one.review(case_id)
    assert answer.status_code == 303
    after = answer.headers["location"]
    assert case_id not in after.partition("?")[0]
    page = one.get(after).text
    assert "Signed. Accepted" in page
    assert f"/cases/{case_id}" in page
    assert stored(service, case_id)[0]["review"] == "accept"


def test_what_cannot_be_signed_comes_back_with_what_was_written(service, visitor, new_case):
    case_id = new_case()
    answer = visitor("Tomás").review(case_id, "reject", reason="")
    assert answer.status_code == 422
    assert "needs a reason" in answer.text
    answer = visitor("Tomás").review(case_id, "amend", label="no class", reason=EVIL)
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text  # the draft is there
    assert stored(service, case_id)[0]["version"] == 0


def test_two_reviewers_at_once_by_form_and_by_script(service, visitor, new_case):
    case_id = new_case()
    first, second = visitor("Tomás"), visitor("Ines")
    leading = stored(service, case_id)[0]["leading"]
    other = next(name for name in service.service.served.classes if name != leading)
    assert first.review(case_id, "reject", reason=f"blurred {EVIL}").status_code == 303
    answer = second.review(case_id, "amend", label=other, reason="my own words")
    assert answer.status_code == 409
    assert "my own words" in answer.text
    assert "Tomás" in answer.text
    assert "<script>alert" not in answer.text
    answer = second.review(case_id, "amend", label=other, reason="my own words", headers=SCRIPT)
    assert answer.status_code == 409
    told = answer.json()["difference"]
    assert told["version"] == 1
    assert [(one["who"], one["said"]) for one in told["newer"]] == [("Tomás", "rejected")]
    answer = second.review(case_id, "amend", "1", label=other, reason="my own words", headers=SCRIPT)
    assert answer.status_code == 200
    assert (stored(service, case_id)[0]["leading"], stored(service, case_id)[0]["final_label"]) == (leading, other)


def test_a_signature_that_is_sent_again_signs_once(service, visitor, new_case):
    case_id = new_case()
    one = visitor("Tomás")
    said = [one.review(case_id, headers=SCRIPT, request_key="k1").json()["review"] for _ in range(3)]
    assert len(set(said)) == 1
    assert stored(service, case_id)[0]["version"] == 1


def test_a_second_opinion_is_asked_of_another_person(service, visitor, new_case):
    case_id = new_case()
    one = visitor("Tomás")
    assert one.review(case_id, "second-opinion", reason="hilus?").status_code == 303
    page = one.get(f"/cases/{case_id}").text
    assert 'id="review"' not in page
    assert "from another person" in page
    assert "second opinion" in visitor("Ines").get("/worklist").text
    assert one.review(case_id, "accept", "1").status_code == 422
    assert visitor("Ines").review(case_id, "accept", "1").status_code == 303
    with service.service.database.read() as connection:
        assert [made.verdict for made in reviews_of(connection, case_id)] == ["second-opinion", "accept"]


def test_a_reader_looks_and_signs_nothing(service, visitor, new_case):
    case_id = new_case()
    one = visitor("Una")
    assert 'id="review"' not in one.get(f"/cases/{case_id}").text
    assert one.review(case_id).status_code == 403
    assert stored(service, case_id)[0]["version"] == 0


def test_what_others_write_is_shown_and_never_markup(visitor, new_case):
    case_id = new_case(EVIL)
    one = visitor("Tomás")
    one.review(case_id, "reject", reason=EVIL)
    one.post(f"/cases/{case_id}/problem", description=EVIL)
    for path in (
        f"/cases/{case_id}",
        "/worklist?view=all",
        "/problems",
        f"/worklist?subject={EVIL}",
        f"/login?next=/{EVIL}",
    ):
        text = one.get(path).text
        assert "<script>alert" not in text, path
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", text), path  # one's own words in one's own field apart
    assert "😀" in one.get(f"/cases/{case_id}").text


def test_a_problem_is_reported_and_answered(service, visitor, new_case):
    case_id = new_case()
    answer = visitor("Una").post(f"/cases/{case_id}/problem", description="the map is mirrored")
    assert answer.status_code == 303
    with service.service.database.read() as connection:
        problem = connection.execute(select(problems).where(problems.c.case_id == case_id)).mappings().one()
    assert problem["prediction_id"] == stored(service, case_id)[0]["prediction_id"]
    admin = visitor("Rosa")
    assert "the map is mirrored" in admin.get("/problems").text
    admin.post(f"/problems/{problem['id']}/close", answer="it was turned")
    assert "it was turned" in visitor("Una").get(f"/cases/{case_id}").text


def test_the_list_keeps_itself_current_without_keeping_anybody_signed_in(service, visitor, new_case):
    one = visitor("Tomás")
    seen = one.get("/worklist/rows", **{"X-Foveal-Poll": "1"})
    revision = re.search(r'id="revision"[^>]*value="(\w+)"', seen.text)[1]
    assert one.get(f"/worklist/rows?revision={revision}").status_code == 204
    new_case()
    assert one.get(f"/worklist/rows?revision={revision}").status_code == 200


def test_an_image_is_answered_without_scripts(visitor):
    one = visitor()
    answer = one.client.post(
        "/try",
        data={"csrf": one.token("/try"), "subject": "P-9"},
        files={"images": (EVIL, picture(9_999), "image/png")},
    )
    assert answer.status_code == 200
    assert "Open the case" in answer.text
    assert "<script>alert" not in answer.text
    answer = one.client.post("/try", data={"csrf": one.token("/try")}, files={"images": ("a.png", b"no image")})
    assert "cannot be used" in answer.text
    assert one.client.post("/try", files={"images": ("a.png", picture(1), "image/png")}).status_code == 403


def test_an_erased_case_says_so_and_takes_no_verdict(service, visitor, new_case):
    case_id = new_case("P-44")
    admin = visitor("Rosa")
    answer = admin.client.delete(f"/v1/cases/{case_id}", headers={"X-CSRF-Token": admin.token()})
    assert answer.status_code == 200, answer.text
    page = admin.get(f"/cases/{case_id}").text
    assert "no longer kept" in page
    assert 'id="review"' not in page
    assert "P-44" not in page
    assert admin.review(case_id, "reject", reason="x").status_code == 422


def test_quality_tells_agreement_with_its_number_of_cases(visitor, new_case):
    one = visitor("Tomás")
    for _ in range(2):
        one.review(new_case())
    page = one.get("/quality").text
    assert re.search(r"\d+ of \d+ cases?", page)
    assert "agreement and not accuracy" in page
    assert one.get("/quality?period=30&classifier=none").status_code == 200


def test_a_threshold_is_marked_at_the_class_that_it_decides(service, visitor, new_case):
    case_id = new_case()
    said = "lime from a probability of 0.31 (sensitivity >= 0.95)"
    with service.service.database.write() as connection:
        connection.execute(predictions.update().where(predictions.c.case_id == case_id).values(threshold=said))
    page = visitor().get(f"/cases/{case_id}").text
    (mark,) = re.findall(r'<line class="mark" x1="([\d.]+)"', page)
    assert float(mark) == 31.0
    assert "from 31.0 %" in page
    assert f"Decided at {said.replace('>', '&gt;')}." in page


def test_where_guests_are_not_let_in_everything_leads_to_the_door(classifier_folder, tmp_path):
    with running(classifier_folder, tmp_path / "store", guests=False) as one:
        for path in ("/", "/worklist", "/cases/00000000000000000000000000", "/quality", "/admin/users"):
            assert one.client.get(path).headers["location"].startswith("/login"), path
        assert one.client.get("/worklist/rows", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"
        assert one.client.get("/worklist", headers=SCRIPT).status_code == 401
        assert one.client.get("/v1/cases").status_code == 401


def test_why_a_case_stands_where_it_stands_is_said_in_words():
    row = {
        "review": None,
        "abstained": None,
        "leading": "b",
        "probability": 0.9,
        "urgency": 0.1,
        "received_at": now_us(),
    }
    assert words.why_here(row, ()) == "a sure answer"
    assert words.why_here({**row, "probability": 0.7}, ()) == "a fairly sure answer"
    assert words.why_here({**row, "probability": 0.5}, ()) == "unsure: no class is far ahead"
    assert words.why_here(row, ("b",)) == "an urgent class leads"
    assert words.why_here(row, ("c",), 0.4) == "an urgent class is possible"
    doubtful = {**row, "probability": 0.5, "urgency": 0.9}
    assert words.why_here(doubtful, ("c",), 0.01) == "unsure: no class is far ahead"
    waits = {**row, "abstained": "noise", "received_at": now_us() - 5 * 3_600_000_000, "review": "second-opinion"}
    assert words.why_here(waits, ()) == (
        "a second opinion is asked for; the classifier does not rely on its answer; waits 5 hours"
    )


def test_an_urgent_class_is_called_possible_only_where_its_own_probability_says_so(classifier_folder, tmp_path):
    """The urgency is that of a doubtful answer, too, whichever classes it wavers between."""
    with running(classifier_folder, tmp_path / "store", urgent=("plum",)) as one:
        with one.service.database.write() as connection:
            doubtful = {"apple": 0.5, "lime": 0.49, "plum": 0.01}
            wavers = make_case(connection, probabilities=doubtful, urgency=0.65)
            possible = make_case(connection, probabilities={"apple": 0.5, "plum": 0.49, "lime": 0.01}, urgency=0.65)
        page = one.client.get("/worklist").text
    said = {
        case: re.search(rf'id="case-{case}".*?class="why">([^<]*)<', page, re.DOTALL)[1] for case in (wavers, possible)
    }
    assert said == {wavers: "unsure: no class is far ahead", possible: "an urgent class is possible"}


def test_quality_is_of_labelled_answers_and_counts_the_rest_apart():
    def count(leading, label, cases, *, abstained=False, verdict="accept", week=0):
        return Count(week * WEEK_US, leading, abstained, verdict, label, cases)

    found = quality_of(
        [
            count("a", "a", 8), count("a", "b", 2, verdict="amend"), count("b", "b", 5, week=1),
            count("b", "b", 3, abstained=True), count("a", None, 4, verdict="reject"),
        ]
    )  # fmt: skip
    assert (found.overall.hits, found.overall.n) == (13, 15)
    assert found.overall.estimate == wilson(13, 15)
    assert (found.abstained.hits, found.abstained.n) == (3, 3)
    assert (found.rejected.hits, found.rejected.n) == (4, 22)
    assert [(name, said.hits, said.n, seen.hits, seen.n) for name, said, seen in found.by_class] == [
        ("a", 8, 10, 8, 8),
        ("b", 5, 5, 5, 7),
    ]
    assert [(share.hits, share.n) for _, share in found.weeks] == [(8, 10), (5, 5)]
    assert found.confusion == {("a", "a"): 8, ("a", "b"): 2, ("b", "b"): 5}
    assert quality_of([]).overall.estimate is None


def test_the_methods_on_the_page_are_methods():
    from foveal.explanation.methods import BY_NAME

    assert [(name, BY_NAME[name].title) for name, _ in METHODS] == list(METHODS)


def test_errors_are_words_for_people_and_json_for_scripts(visitor):
    one = visitor("Tomás")
    page = one.get("/cases/00000000000000000000000000")
    assert page.status_code == 404
    assert "There is no case" in page.text
    told = one.get("/cases/00000000000000000000000000", **SCRIPT)
    assert json.loads(told.text)["error"]["code"] == "no_case"
    assert one.get("/cases/x").status_code == 400


def test_over_tls_a_browser_is_told_to_forget_its_cookie_in_the_only_way_it_heeds(tmp_path):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from foveal.serving.http.forms import Tokens
    from foveal.serving.pages import sign_in
    from service_stand_in import stand_in

    service = stand_in(tmp_path / "data", guests=False, behind_proxy=True)
    app = FastAPI()
    app.state.service = service
    app.include_router(sign_in.router)
    name = f"__Host-foveal-{service.settings.port}"
    with TestClient(app, base_url="https://foveal.example", cookies={name: "s"}) as client:
        fields = {"csrf": Tokens(service.settings).make("s")}
        answer = client.post("/logout", data=fields, follow_redirects=False)
    service.database.close()
    assert answer.status_code == 303
    assert answer.headers["set-cookie"].startswith(f'{name}="";')
    assert "Secure" in answer.headers["set-cookie"]
