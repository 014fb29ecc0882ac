"""RELIABILITY §3 over HTTP: images that are none, and requests that are none. Each is refused with its code, the

service lives, and the next good image is answered.
"""

from __future__ import annotations

import json
import socket
import time

import pytest

from serving.bad_images import BAD_IMAGES, BadImage
from serving.running import picture

GOOD = picture(40)


@pytest.fixture
def lives(service):
    """Whatever the test sent: afterwards a good image is answered, and by the same children."""
    yield
    assert service.predict(GOOD).status_code == 200


def quiet(text: str) -> None:
    """An error tells nothing of the inside."""
    for word in ("Traceback", "/home", "/root", "site-packages", ".py", "sqlite"):
        assert word not in text


@pytest.mark.parametrize("image", BAD_IMAGES, ids=str)
def test_an_image_is_read_or_refused_with_its_code(service, lives, image: BadImage):
    response = service.predict(image.make(), "image/png")
    if image.code is None:
        assert response.status_code == 200
        return
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (422, image.code), error
    quiet(response.text)


def raw(service, request: bytes, *, timeout_s: float = 20.0) -> bytes:
    """What the service says to bytes as they are."""
    host, port = service.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
        return answer


LIST = "GET /v1/cases HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HEAD = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    ("name", "request_", "statuses"),
    [
        ("41 a Content-Length of 4 GiB", f"{HEAD}Content-Length: 4294967296\r\n\r\n", (413,)),
        ("41 a Content-Length that is no number", f"{HEAD}Content-Length: x\r\n\r\n", (400,)),
        ("41 two Content-Lengths", f"{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", (400,)),
        ("41 gzip", f"{HEAD}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx", (415,)),
        ("41 length and chunks", f"{HEAD}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, 422)),
        ("41 a chunk whose size is none", f"{HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
        ("45 another method", "PATCH /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", (405,)),
        ("45 no such method", "FLY /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", (400, 405)),
        ("45 a foreign host", "GET /v1/cases HTTP/1.1\r\nHost: evil.example\r\n\r\n", (400, 403, 421)),
        ("45 a page of elsewhere", f"{HEAD}Origin: http://evil.example\r\nContent-Length: 1\r\n\r\nx", (403,)),
        ("45 a forged key", f"{LIST}X-API-Key: fv_a_b\r\n\r\n", (401,)),
        ("45 a token without algorithm", f"{LIST}Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n\r\n", (401,)),
        ("45 a password", f"{LIST}Authorization: Basic YTpi\r\n\r\n", (401,)),
        ("a very long path", f"GET /{'a' * 60_000} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", (400, 404, 414, 431)),
        ("no HTTP", "\x16\x03\x01\x02\x00 hello\r\n\r\n", (400,)),
        ("46 SQL", "GET /v1/cases?label='%20OR%201=1--&limit=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", (200,)),
        ("46 a limit below zero", "GET /v1/cases?limit=-1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", (400,)),
    ],
)  # fmt: skip
def test_a_request_that_is_none_is_refused(service, lives, name, request_, statuses):
    answer = raw(service, request_.encode("latin-1"))
    assert answer, "the connection was closed without a word"
    assert int(answer.split(b" ")[1]) in statuses, answer
    quiet(answer.decode("latin-1"))


def test_an_endless_body_is_cut_off(service, lives):
    host, port = service.address.removeprefix("http://").split(":")
    limit = service.service.settings.max_body_bytes
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        sent = 0
        try:
            while sent < 2 * limit:
                connection.sendall(chunk)
                sent += 1 << 20
            answer = connection.recv(4096)
        except OSError:
            return  # closed in the middle of it
        assert answer.split(b" ")[1] == b"413"


@pytest.mark.parametrize(
    "body",
    [
        b'{"verdict": "accept", "version": NaN}',
        b'{"verdict": "accept", "version": 0, "version": 1, "more": 2}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"verdict": "accept"}',
        b'{"verdict": {"$ne": 1}, "version": 0}',
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_json_that_is_none_is_refused(service, lives, body):
    case = service.predict(GOOD).json()["answers"][0]["case"]
    response = service.client.post(
        f"/v1/cases/{case}/reviews", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code in (400, 422), response.text
    quiet(response.text)


def test_thousands_of_parts_and_a_giant_header_of_one_are_refused(service, lives):
    many = [("images", (f"{n}.png", b"x")) for n in range(5000)]
    assert service.client.post("/v1/predict", files=many).status_code == 413
    giant = (
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="' + b"a" * 2_000_000 + b'"\r\n\r\nx\r\n--b--'
    )
    response = service.client.post(
        "/v1/predict", content=giant, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert response.status_code in (400, 413), response.text


def test_another_senders_case_cannot_be_guessed(service, lives):
    case = service.predict(GOOD).json()["answers"][0]["case"]
    last = case[:-1] + ("0" if case[-1] != "0" else "1")
    assert service.client.get(f"/v1/cases/{last}").status_code == 404


def test_what_openapi_promises_is_json(service):
    described = service.client.get("/openapi.json").json()
    assert {"/v1/predict", "/v1/explain/{case_id}", "/v1/cases", "/v1/reviews", "/v1/models", "/info"} <= set(
        described["paths"]
    )
    content = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "image/png"} <= set(content)
    example = described["paths"]["/v1/predict"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    answered = service.predict(GOOD).json()["answers"][0]
    assert set(example["answers"][0]) == set(answered) - {"abstained"}  # FastAPI leaves out what is null in an example
    assert not json.dumps(described).count("/login")  # pages are none of the API


def test_what_openapi_says_of_refusals_and_of_keys_is_what_happens(service):
    described = service.client.get("/openapi.json").json()
    assert "ValidationError" not in json.dumps(described)  # FastAPI's own, which nobody is answered with
    schemas = described["components"]["schemas"]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            for some in ("4XX", "5XX"):
                content = operation["responses"][some]["content"]["application/json"]
                assert content["schema"]["$ref"].endswith("/Problem"), (method, path)
    refused = service.client.get("/v1/cases", params={"limit": -1})
    assert refused.status_code == 400
    assert set(refused.json()) == set(schemas["Problem"]["properties"])
    assert set(refused.json()["error"]) == set(schemas["Error"]["required"])
    assert set(described["security"][0]) | set(described["security"][1]) == set(
        described["components"]["securitySchemes"]
    )


@pytest.mark.parametrize("path", ["/v1/predict", "/login"])
def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_the_service(service, path):
    host, port = service.address.removeprefix("http://").split(":")
    kind = "image/png" if path == "/v1/predict" else "application/x-www-form-urlencoded"
    with socket.create_connection((host, int(port))) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 999\r\n\r\nname"
        client.sendall(head.encode())
    end = time.monotonic() + 10
    while f'route="{path}",status="499"' not in (figures := service.client.get("/metrics").text):
        assert time.monotonic() < end
        assert f'route="{path}",status="500"' not in figures
        time.sleep(0.05)
