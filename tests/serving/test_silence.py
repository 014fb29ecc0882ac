"""Names are planted wherever a sender can put one; none is found in what a real service logs or counts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from serving.running import picture
from small_classifiers import make_classifier

CANARY = "Mueller-Hans-19500101"


def planted(number: int) -> str:
    return f"{CANARY}-{number}"


def send_names(client: httpx.Client) -> int:
    """Send requests with a name in every place there is; return how many."""
    name = planted(0)
    picked = {"cookie": f"x={planted(1)}", "user-agent": planted(2), "referer": f"http://localhost/{planted(3)}"}
    image = ("images", (f"{planted(4)}.png", picture(), "image/png"))
    broken = ("images", (f"{planted(5)}.png", b"no image of " + name.encode(), "image/png"))
    first = client.post("/v1/predict", files=[image], data={"subject": planted(6)}, headers=picked).json()
    case = first["answers"][0]["case"]
    ids = {"x-request-id": planted(9) + " x", "x-api-key": planted(10)}
    answers = [
        client.post("/v1/predict", files=[broken], params={"subject": planted(7)}),
        client.post("/v1/predict", files=[image, broken], headers={"idempotency-key": planted(8)}),
        client.post("/v1/predict", content=picture(), headers=ids),
        client.get("/v1/cases", headers={"authorization": f"Bearer fv_{planted(11)}"}),
        client.get(f"/{planted(12)}"),
        client.get(f"/v1/cases/{planted(13)}"),
        client.get("/v1/cases", params={"label": planted(14), "limit": planted(15)}),
        client.post(f"/v1/cases/{case}/reviews", json={"verdict": "reject", "version": 0, "reason": planted(16)}),
        client.post(f"/v1/cases/{case}/reviews", json={"verdict": "accept", "version": 0, "reason": planted(17)}),
        client.post("/v1/reviews", json={"case": case, "verdict": planted(18), "version": 1}),
        client.post("/v1/problems", json={"case": case, "description": planted(19)}),
        client.post("/v1/problems", content=name.encode(), headers={"content-type": "application/json"}),
        client.post(f"/v1/explain/{case}", params={"target": planted(20)}),
        client.post("/v1/models", json={"path": planted(21)}),
        client.post(f"/v2/models/{planted(22)}/infer", json={"inputs": [{"name": planted(23)}]}),
        client.post("/login", data={"name": planted(24), "password": planted(25)}),
        client.request("PATCH", f"/{planted(26)}"),
    ]  # fmt: skip
    assert all(one.status_code < 500 for one in answers), [one.status_code for one in answers]
    return 1 + len(answers)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_name_that_was_sent_is_found_in_logs_or_figures(tmp_path, level):
    make_classifier().save(tmp_path / "fruit")
    code = "from foveal.cli import main; main()"
    words = ["serve", tmp_path / "fruit", "--port", "0", "--data", tmp_path / "data"]
    environment = {**os.environ, "FOVEAL_SERVE_LOG_LEVEL": level, "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "err").open("wb") as err:
        service = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=err, env=environment, text=True
        )
    try:
        address = ""
        while not address:
            line = service.stdout.readline()
            assert line, (tmp_path / "err").read_text()
            address = next(iter(re.findall(r"^page +(http\S+)/$", line)), "")
        with httpx.Client(base_url=address, timeout=30) as client:
            sent = send_names(client)
            figures = client.get("/metrics").text
        time.sleep(0.2)
    finally:
        service.send_signal(signal.SIGTERM)
        rest, _ = service.communicate(timeout=60)
    assert service.returncode == 0
    log = (tmp_path / "err").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == sent + 1
    assert {line["caller"] for line in requests} >= {"guest", "-"}
    for text in (log, figures, rest):
        for part in ("mueller", "hans", "19500101", str(tmp_path).lower()):
            found = [line for line in text.lower().splitlines() if part in line]
            assert not found or (part == str(tmp_path).lower() and text is rest), found[:3]


def test_the_source_of_this_test_plants_what_it_says():
    numbers = sorted({int(one) for one in re.findall(r"planted\((\d+)\)", Path(__file__).read_text())})
    assert numbers == list(range(27))
