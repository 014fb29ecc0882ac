"""Cases, reviews, models, keys and health over HTTP."""

from __future__ import annotations

import pytest

from foveal.errors import ClassifierError
from serving.running import picture, running


@pytest.fixture
def case(service):
    return service.predict(picture(7)).json()["answers"][0]["case"]


def test_the_list_pages_through_every_case_once(service):
    made = [service.predict(picture(300 + n)).json()["answers"][0]["case"] for n in range(7)]
    seen, before = [], None
    while True:
        query = {"limit": 3, **({"before": before} if before else {})}
        page = service.client.get("/v1/cases", params=query).json()
        seen += [one["case"] for one in page["cases"]]
        before = page["next"]
        if before is None:
            break
    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in made] == made[::-1]


def test_a_review_is_made_once_and_the_second_reviewer_is_shown_the_first(service, case):
    leading = service.client.get(f"/v1/cases/{case}").json()["answer"]["leading"]
    other = next(one for one in ("apple", "lime", "plum") if one != leading)
    first = {"verdict": "amend", "label": other, "reason": "seen twice", "version": 0}
    made = service.client.post(f"/v1/cases/{case}/reviews", json=first, headers={"idempotency-key": "sign-1"})
    again = service.client.post(f"/v1/cases/{case}/reviews", json=first, headers={"idempotency-key": "sign-1"})
    assert (made.status_code, again.json()["id"]) == (201, made.json()["id"])
    late = service.client.post("/v1/reviews", json={"case": case, "verdict": "accept", "version": 0})
    assert late.status_code == 409
    assert [one["label"] for one in late.json()["difference"]["newer"]] == [other]
    found = service.client.get(f"/v1/cases/{case}").json()
    assert (found["version"], found["final_label"], found["answer"]["leading"]) == (1, other, leading)
    assert len(service.client.get("/v1/reviews", params={"case": case}).json()["reviews"]) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"verdict": "amend", "version": 0, "reason": "x"}, "unknown_label"),
        ({"verdict": "reject", "version": 0}, "needs_reason"),
        ({"verdict": "maybe", "version": 0}, "unknown_verdict"),
        ({"verdict": "accept", "version": 9}, "no_such_version"),
    ],
)
def test_a_review_that_cannot_be_is_refused(service, case, said, code):
    response = service.client.post(f"/v1/cases/{case}/reviews", json=said)
    assert (response.status_code, response.json()["error"]["code"]) == (422, code)


def test_a_problem_of_nothing_but_blanks_is_refused(service, case):
    told = service.client.post("/v1/problems", json={"case": case, "description": " \n"})
    assert (told.status_code, told.json()["error"]["code"]) == (422, "unfit_description")


def test_an_erased_case_leaves_no_bytes_and_its_trail(service, classifier_folder, tmp_path):
    with running(classifier_folder, tmp_path / "store") as one:
        answer = one.predict(picture(8)).json()["answers"][0]
        key = one.service.database
        from foveal.storage.keys import make_key

        _, token = make_key(key, "erasing", ["admin"], actor="service")
        gone = one.client.delete(f"/v1/cases/{answer['case']}", headers={"authorization": f"Bearer {token}"})
        assert gone.status_code == 200
        assert list(one.service.blobs.names()) == []
        assert one.client.get(f"/v1/cases/{answer['case']}").json()["state"] == "erased"
        assert one.trail(answer["case"]) == ["received", "predicted", "erased"]


def test_a_classifier_takes_over_and_a_bad_one_does_not(service, other_folder, classifier_folder, tmp_path):
    from foveal.storage.keys import make_key

    with running(classifier_folder, tmp_path / "store") as one:
        key = {"idempotency-key": "before the exchange"}
        first = one.predict(picture(9), **key).json()["answers"][0]
        refused = one.client.post("/v1/models", json={"path": str(other_folder)})
        assert refused.status_code == 403  # a guest may not
        _, token = make_key(one.service.database, "swap", ["admin"], actor="service")
        admin = {"authorization": f"Bearer {token}"}
        weights = tmp_path / "broken"
        weights.mkdir()
        for file in other_folder.iterdir():
            (weights / file.name).write_bytes(file.read_bytes())
        damaged = bytearray((weights / "weights.safetensors").read_bytes())
        damaged[-5] ^= 1
        (weights / "weights.safetensors").write_bytes(damaged)
        bad = one.client.post("/v1/models", json={"path": str(weights)}, headers=admin)
        assert (bad.status_code, bad.json()["error"]["code"]) == (422, "unservable")
        assert one.predict(picture(9)).json()["answers"][0]["classifier"] == first["classifier"]
        good = one.client.post("/v1/models", json={"path": str(other_folder)}, headers=admin)
        assert good.status_code == 200
        second = one.predict(picture(9)).json()["answers"][0]
        assert second["classifier"]["name"] == "orchard"
        assert one.predict(picture(9), **key).json()["answers"][0]["classifier"] == first["classifier"]
        assert second["probabilities"] != first["probabilities"]
        assert one.trail(second["classifier"]["hash"]) == ["model-loaded"]
        listed = one.client.get("/v1/models").json()
        assert [model["name"] for model in listed["models"] if model["serving"]] == ["orchard"]


def test_the_service_says_how_it_is(service):
    assert service.client.get("/health/live").json() == {"live": True}
    assert service.client.get("/health/ready").json()["ready"] is True
    info = service.client.get("/info").json()
    assert info["classifier"]["classes"] == ["apple", "lime", "plum"]
    service.predict(picture(10))
    figures = service.client.get("/metrics").text
    assert 'foveal_requests_total{method="POST",route="/v1/predict",status="200"}' in figures
    assert "foveal_answers_total" in figures


@pytest.mark.parametrize("path", ["/v1/cases/../../etc/passwd", "/v1/cases/1", f"/v1/cases/{'0' * 26}", "/v1/nothing"])
def test_what_is_not_there_is_told_as_json(service, path):
    response = service.client.get(path)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["code"] in ("bad_request", "no_case", "not_found")


def test_why_a_service_does_not_start_is_told_in_a_sentence(classifier_folder, tmp_path):
    with (
        pytest.raises(ClassifierError, match="has no engine onnx; make it: foveal export"),
        running(classifier_folder, tmp_path / "data", engine="onnx"),
    ):
        pass
