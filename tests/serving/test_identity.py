"""Who is let in, from where, and which requests only look as if they came from our own pages."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from foveal.serving.door.limits import guarded
from foveal.serving.http import identity, throttle
from foveal.serving.http.forms import Tokens, stored_secret
from foveal.serving.http.identity import Caller, require
from foveal.serving.refusal import Refusal
from foveal.storage import accounts, keys
from service_stand_in import HERE, PASSWORD, quick_hashes, stand_in

OPEN = {"host": "0.0.0.0", "guests": False, "behind_proxy": True}
TELL, READ, ADMIN = Depends(require("review")), Depends(require("read")), Depends(require("admin"))


def app_of(service, **client):
    app = FastAPI()
    app.state.service = service

    @app.exception_handler(Refusal)
    async def refused(_request, error):
        return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status)

    @app.get("/read")
    async def read(caller: Caller = READ):
        return {"actor": caller.actor}

    @app.post("/tell")
    async def tell(caller: Caller = TELL):
        return {"actor": caller.actor}

    @app.get("/admin")
    async def admin(caller: Caller = ADMIN):
        return {"actor": caller.actor}

    return TestClient(guarded(app, service.settings), base_url=HERE, client=client.get("client", ("127.0.0.1", 5000)))


@pytest.fixture
def service(tmp_path, monkeypatch, request):
    quick_hashes(monkeypatch)
    made = stand_in(tmp_path / "data", **getattr(request, "param", {}))
    yield made
    made.database.close()


def code(answer):
    return answer.json()["error"]["code"]


def signed_in(service, client, role="reviewer"):
    """Return the token of forms of a person who is now signed in at `client`."""
    accounts.add_user(service.database, "Rosa", PASSWORD, role, actor="service")
    _, secret = accounts.sign_in(service.database, "Rosa", PASSWORD)
    client.cookies.set(f"foveal-{service.settings.port}", secret)
    return Tokens(service.settings).make(secret)


def test_a_guest_on_loopback_reads_and_reviews_and_administers_nothing(service):
    client = app_of(service)
    assert client.get("/read").json() == {"actor": "guest"}
    assert client.post("/tell").json() == {"actor": "guest"}
    assert client.get("/admin").status_code == 403


@pytest.mark.parametrize("service", [OPEN], indirect=True)
def test_without_guests_nobody_comes_in_without_a_key(service):
    client = app_of(service)
    assert client.get("/read").status_code == 401
    _, token = keys.make_key(service.database, "viewer", {"read"}, actor="service")
    for headers in ({"Authorization": f"Bearer {token}"}, {"authorization": f"bearer {token}"}, {"X-API-Key": token}):
        assert client.get("/read", headers=headers).status_code == 200
    assert client.post("/tell", headers={"X-API-Key": token}).status_code == 403
    assert client.get("/admin", headers={"X-API-Key": token}).status_code == 403


def test_a_guest_comes_from_this_machine_and_not_through_a_proxy_on_it(service):
    for client, headers in (
        (app_of(service, client=("192.0.2.7", 4000)), {}),
        (app_of(service), {"X-Forwarded-For": "192.0.2.7"}),
        (app_of(service), {"Forwarded": "for=192.0.2.7"}),
    ):
        assert client.get("/read", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer fv_x_y"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic Z3Vlc3Q6"},
        {"X-API-Key": "fv_\u00e9"},
        {"X-API-Key": ""},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    ],
)
def test_a_wrong_key_is_refused_and_not_taken_for_a_guest(service, headers):
    answer = app_of(service).get("/read", headers={name: value.encode() for name, value in headers.items()})
    assert answer.status_code == 401
    assert code(answer) == "bad_key"


def test_a_revoked_key_is_noticed_when_its_time_in_memory_is_over(service, monkeypatch):
    client = app_of(service)
    key, token = keys.make_key(service.database, "viewer", {"read"}, actor="service")
    asked = []
    real = keys.verify_key
    monkeypatch.setattr(keys, "verify_key", lambda *of: asked.append(1) or real(*of))
    for _ in range(5):
        assert client.get("/read", headers={"X-API-Key": token}).status_code == 200
    assert len(asked) == 1
    keys.revoke_key(service.database, key.id, actor="service")
    now = identity.time.monotonic()
    monkeypatch.setattr(identity.time, "monotonic", lambda: now + identity.KEY_COUNTS_S + 1)
    assert client.get("/read", headers={"X-API-Key": token}).status_code == 401


def test_a_session_needs_the_token_of_its_forms_to_change_anything(service):
    client = app_of(service)
    token = signed_in(service, client)
    assert client.get("/read").json()["actor"].startswith("user:")
    near = token[:-1] + ("1" if token[-1] == "0" else "0")
    for wrong in (None, "", near, Tokens(service.settings).make("another session")):
        answer = client.post("/tell", headers={} if wrong is None else {"X-CSRF-Token": wrong})
        assert (answer.status_code, code(answer)) == (403, "bad_form")
    assert client.post("/tell", headers={"X-CSRF-Token": token}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_site_changes_nothing_whoever_is_signed_in_and_guests_neither(service, headers):
    client = app_of(service)
    assert code(client.post("/tell", headers=headers)) == "cross_site"
    token = signed_in(service, client)
    assert code(client.post("/tell", headers={**headers, "X-CSRF-Token": token})) == "cross_site"
    ours = {"Origin": HERE, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": token}
    assert client.post("/tell", headers=ours).status_code == 200


def test_guessing_waits_twice_as_long_each_time_and_starts_anew_after_success():
    at = [0.0]
    slow = throttle.Throttle(free=3, clock=lambda: at[0])
    waits = []
    for _ in range(14):
        while True:
            try:
                slow.begin("rosa 192.0.2.1")
                break
            except Refusal as refusal:
                assert refusal.status == 429
                waits.append(refusal.retry_after_s)
                at[0] += refusal.retry_after_s
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]
    slow.begin("other")  # nobody else waits
    at[0] += 900
    slow.begin("rosa 192.0.2.1")
    slow.succeeded("rosa 192.0.2.1")
    for _ in range(3):
        slow.begin("rosa 192.0.2.1")


def test_a_throttle_forgets_the_oldest_rather_than_growing(monkeypatch):
    monkeypatch.setattr(throttle, "MOST", 10)
    slow = throttle.Throttle(free=1)
    for number in range(100):
        slow.begin(str(number))
    assert len(slow._vain) == 10


def test_the_secret_of_forms_is_made_once_and_is_its_owners(tmp_path):
    file = tmp_path / "keys" / "forms.key"
    made = stored_secret(file)
    assert stored_secret(file) == made
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "file").write_text("")
    assert len(stored_secret(tmp_path / "file" / "forms.key")) == 32  # it cannot be kept, and still guards


def test_many_requests_that_show_one_key_at_once_are_all_let_in_by_one_look(service, monkeypatch):
    _, token = keys.make_key(service.database, "modality", {"predict"}, actor="service")
    asked = []
    real = keys.verify_key
    monkeypatch.setattr(keys, "verify_key", lambda *of: asked.append(1) or real(*of))
    who = identity.Identity(service.settings, service.database)

    async def main():
        return await asyncio.gather(*(who._of_key(token, "192.0.2.7") for _ in range(64)))

    assert len({one.actor for one in asyncio.run(main())}) == 1
    assert len(asked) == 1
