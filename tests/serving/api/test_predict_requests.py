"""POST /v1/predict: what is acknowledged is right, kept, and told in the trail."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from foveal.classifier import Classifier
from foveal.storage import tables
from serving.running import picture, running

PNG = {"content-type": "image/png"}


def count(service, table=tables.cases):
    with service.service.database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_an_answer_is_the_classifiers_own_with_all_that_belongs_to_it(service, classifier_folder, tmp_path):
    content = picture(1)
    answer = service.predict(content).json()["answers"][0]
    file = tmp_path / "one.png"
    file.write_bytes(content)
    expected = Classifier.load(classifier_folder).predict(file)[0]
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-7)
    assert answer["leading"] == answer["label"] == expected.label
    assert answer["input"] == {
        "sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "format": "PNG", "width": 24, "height": 20,
    }  # fmt: skip
    assert answer["classifier"] == {"name": "fruit", "hash": expected.classifier_hash, "engine": "torch"}
    assert answer["uncertainty"]["entropy_nats"] == pytest.approx(expected.uncertainty)
    assert answer["preprocessing"]["fit"] == "letterbox"
    assert answer["disclaimer"] == "Investigational; not for diagnosis."
    assert service.trail(answer["case"]) == ["received", "predicted"]
    assert service.service.blobs.get(answer["input"]["sha256"]) == content


def test_many_images_are_answered_in_order_and_a_bad_one_does_not_harm_the_others(service):
    files = [("images", (f"{n}.png", picture(n), "image/png")) for n in range(5)]
    files[2] = ("images", ("bad.png", b"no image at all", "image/png"))
    response = service.client.post("/v1/predict", files=files)
    assert response.status_code == 200
    answers = response.json()["answers"]
    assert answers[2]["error"]["code"] == "unsupported_type"
    assert (answers[2]["image"], answers[2]["name"]) == (2, "bad.png")
    hashes = [one["input"]["sha256"] for n, one in enumerate(answers) if n != 2]
    assert hashes == [hashlib.sha256(picture(n)).hexdigest() for n in (0, 1, 3, 4)]


def test_requests_at_once_get_their_own_answers(service, classifier_folder, tmp_path):
    contents = [picture(100 + n) for n in range(40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: service.predict(one).json()["answers"][0], contents))
    alone = [service.predict(one).json()["answers"][0] for one in contents]
    for content, answer, other in zip(contents, answers, alone, strict=True):
        assert answer["input"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert answer["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
    assert len({one["case"] for one in answers + alone}) == 80


def test_the_same_key_gives_the_same_case_and_another_image_under_it_is_refused(service):
    before = count(service)
    first = service.predict(picture(200), **{"idempotency-key": "k-1"}).json()["answers"][0]
    again = service.predict(picture(200), **{"idempotency-key": "k-1"}).json()["answers"][0]
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert {**again, "repeated": False} == first
    assert count(service) == before + 1
    refused = service.predict(picture(201), **{"idempotency-key": "k-1"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert count(service) == before + 1


def test_a_refusal_under_a_key_is_the_same_refusal_again(service):
    for _ in range(2):
        refused = service.predict(b"", **{"idempotency-key": "k-2"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "empty_file")


def test_the_same_image_without_a_key_is_a_case_of_its_own_and_one_file(service):
    answers = [service.predict(picture(202)).json()["answers"][0] for _ in range(3)]
    assert len({one["case"] for one in answers}) == 3
    assert len({str(one["probabilities"]) for one in answers}) == 1
    names = [name for name in service.service.blobs.names() if name == answers[0]["input"]["sha256"]]
    assert len(names) == 1


def test_what_need_not_be_waited_for_is_kept_first_and_answered_later(service):
    response = service.client.post(
        "/v1/predict?wait=false&subject=p-17", content=picture(203), headers={"content-type": "image/png"}
    )
    assert response.status_code == 202
    case = response.json()["cases"][0]["case"]
    assert "received" in service.trail(case)
    for _ in range(200):
        found = service.client.get(f"/v1/cases/{case}").json()
        if found["state"] != "waiting":
            break
    assert (found["state"], found["subject"]) == ("answered", "p-17")
    assert found["answer"]["probabilities"] == service.predict(picture(203)).json()["answers"][0]["probabilities"]
    assert service.trail(case) == ["received", "predicted"]


@pytest.mark.parametrize(
    ("send", "status", "code"),
    [
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"content": b"x"}, 415, "unsupported_media_type"),
        ({"data": {"subject": "a"}, "files": {}}, 415, "unsupported_media_type"),
        ({"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "no_image"),
        ({"content": b"--b", "headers": {"content-type": "multipart/form-data"}}, 400, "malformed_form"),
        ({"files": [("images", (f"{n}", b"x")) for n in range(65)]}, 413, "too_many_images"),
        ({"files": {"images": ("a", b"x")}, "data": {f"f{n}": "v" for n in range(40)}}, 413, "form_too_large"),
        ({"content": b"x", "headers": {**PNG, "idempotency-key": "k" * 256}}, 400, "bad_idempotency_key"),
        ({"content": b"x", "headers": {**PNG, "content-encoding": "gzip"}}, 415, "content_encoding"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_a_code(service, send, status, code):
    response = service.client.post("/v1/predict", **send)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]
    assert service.predict(picture(3)).status_code == 200


def test_a_files_name_is_told_without_its_folders_and_never_used(service):
    response = service.client.post("/v1/predict", files={"images": ("../../etc/pass\0wd.png", picture(4), "image/png")})
    case = response.json()["answers"][0]["case"]
    assert service.client.get(f"/v1/cases/{case}").json()["name"] in ("passwd.png", "pass%00wd.png")


def test_a_request_of_more_images_than_may_wait_is_answered_while_no_other_waits(classifier_folder, tmp_path):
    with running(classifier_folder, tmp_path / "store", max_waiting=2) as one:
        files = [("images", (f"{number}.png", picture(number), "image/png")) for number in range(4)]
        response = one.client.post("/v1/predict", files=files)
        assert response.status_code == 200, response.text
        assert len(response.json()["answers"]) == 4
        one.service.waiting = 1
        assert one.client.post("/v1/predict", files=files).status_code == 503
        one.service.waiting = 0


def test_who_sends_slowly_keeps_nobody_out(classifier_folder, tmp_path):
    with running(classifier_folder, tmp_path / "store", max_waiting=4) as one, contextlib.ExitStack() as held:
        host, port = one.address.removeprefix("http://").split(":")
        for _ in range(6):
            slow = held.enter_context(socket.create_connection((host, int(port))))
            head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 99\r\n\r\n"
            slow.sendall(head.encode() + b"\x89PNG")
        time.sleep(0.5)
        assert one.predict(picture(1)).status_code == 200
