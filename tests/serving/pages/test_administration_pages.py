"""What administrators do on their pages: users, keys, quarantine, the trail, the classifier."""

from __future__ import annotations

import re

from sqlalchemy import Connection, select

from foveal.storage.ids import now_us
from foveal.storage.jobs import counts
from foveal.storage.keys import verify_key
from foveal.storage.tables import cases, jobs, trail, users
from service_stand_in import PASSWORD
from serving.pages.browsers import stored
from small_classifiers import make_classifier


def test_users_are_added_changed_and_disabled(service, visitor):
    admin = visitor("Rosa")
    assert "12 to" in admin.post("/admin/users", name="Kim", role="reader", password="short").text
    assert admin.post("/admin/users", name="Kim", role="reader", password=PASSWORD).status_code == 303
    kim = visitor("Kim")
    with service.service.database.read() as connection:
        user_id = connection.execute(select(users.c.id).where(users.c.name == "Kim")).scalar_one()
    admin.post(f"/admin/users/{user_id}", do="role", role="reviewer")
    assert "Kim" not in kim.get("/worklist").text  # signs in again, to what the new role may do
    kim = visitor("Kim")
    admin.post(f"/admin/users/{user_id}", do="disable")
    assert "Kim" not in kim.get("/worklist").text
    assert kim.sign_in("Kim").status_code == 401
    with service.service.database.read() as connection:
        rosa = connection.execute(select(users.c.id).where(users.c.name == "Rosa")).scalar_one()
    assert "only admin" in admin.post(f"/admin/users/{rosa}", do="disable").text


def test_a_key_is_shown_once_and_revoked(service, visitor):
    admin = visitor("Rosa")
    page = admin.post("/admin/keys", name="ward 3", scope=["predict", "read"], days="2").text
    token = re.search(r'id="token"[^>]*>(fv_\w+)<', page)[1]
    key = verify_key(service.service.database, token)
    assert key.scopes == {"predict", "read"}
    assert token not in admin.get("/admin/keys").text
    admin.post(f"/admin/keys/{key.id}/revoke")
    assert verify_key(service.service.database, token) is None
    assert admin.post("/admin/keys", name="x", scope=["everything"]).status_code == 422


def hold_back(connection: Connection, case_id: str, reason: str) -> None:
    held = cases.update().where(cases.c.id == case_id)
    connection.execute(held.values(state="quarantined", reason=reason, prediction_id=None))


def give_up(connection: Connection, case_id: str) -> None:
    """Add a job of the case that was tried too often."""
    given_up = {"state": "quarantined", "attempts": 3, "not_before": 0, "error": "decoder_crashed"}
    connection.execute(jobs.insert().values(kind="predict", case_id=case_id, body="{}", made_at=now_us(), **given_up))


def test_what_is_held_back_is_seen_tried_again_and_released(service, visitor, new_case):
    case_id, other = new_case(), new_case()
    database = service.service.database
    with database.write() as connection:
        for one in (case_id, other):
            hold_back(connection, one, "decoder_crashed: <b>")
        give_up(connection, case_id)
    admin = visitor("Rosa")
    page = admin.get("/admin/quarantine").text
    assert case_id in page
    assert "&lt;b&gt;" in page
    assert admin.post(f"/admin/quarantine/{case_id}/retry").status_code == 303
    odd = admin.post(f"/admin/quarantine/{other}/release", version="x", reason="a test image")
    assert odd.status_code == 422
    assert admin.post(f"/admin/quarantine/{other}/release", version="0", reason="a test image").status_code == 303
    page = admin.get("/admin/quarantine").text
    assert case_id not in page
    assert other not in page
    assert stored(service, other)[0]["review"] == "reject"
    with database.read() as connection:
        kinds = connection.execute(select(trail.c.kind).where(trail.c.subject == case_id)).scalars().all()
    assert "requeued" in kinds


def test_what_was_released_is_not_counted_as_given_up_any_more(service, visitor, new_case):
    case_id = new_case()
    database = service.service.database
    with database.write() as connection:
        hold_back(connection, case_id, "decoder_crashed")
        give_up(connection, case_id)
        before = counts(connection)["quarantined"]
    admin = visitor("Rosa")
    assert f"{before} given up" in admin.get("/admin/quarantine").text
    admin.post(f"/admin/quarantine/{case_id}/release", version="0", reason="a test image")
    assert f"{before - 1} given up" in admin.get("/admin/quarantine").text


def test_the_trail_is_searched_and_verified(service, visitor, new_case):
    case_id = new_case()
    visitor("Ines").review(case_id)
    admin = visitor("Rosa")
    page = admin.get(f"/admin/trail?subject={case_id}").text
    assert re.findall(r"<td>(received|predicted|reviewed)</td>", page) == ["reviewed", "predicted", "received"]
    assert "Ines" in page
    assert "reviewed" in admin.get("/admin/trail?actor=Ines").text
    assert "are as they were written" in admin.post("/admin/trail/verify").text


def test_a_classifier_that_cannot_be_served_leaves_the_old_one(service, visitor, tmp_path):
    admin = visitor("Rosa")
    before = service.service.served.hash
    answer = admin.post("/admin/models", path=str(tmp_path / "nothing"), engine="auto")
    assert answer.status_code == 422
    assert "still answers" in answer.text
    assert service.service.served.hash == before
    assert "answers now" in admin.get("/admin/models").text


def test_a_classifier_is_exchanged_for_another(service, visitor, new_case, tmp_path):
    before = service.service.served
    make_classifier(seed=1).save(tmp_path / "orchard")
    admin = visitor("Rosa")
    assert admin.post("/admin/models", path=str(tmp_path / "orchard"), engine="auto").status_code == 303
    assert service.service.served.hash != before.hash
    assert "orchard" in admin.get(f"/cases/{new_case()}").text
    assert admin.post("/admin/models", path=str(before.path), engine="auto").status_code == 303
