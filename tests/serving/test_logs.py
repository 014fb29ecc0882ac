"""Logs, figures and spans: what they tell, and that no name planted anywhere gets into them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings

import pytest
from guarded_app import APP, call

from foveal.errors import MissingPartError
from foveal.serving import logs
from foveal.serving.door.limits import guarded
from foveal.serving.logs import configure_logs, get_log
from foveal.serving.metrics import MOST_VALUES, Metrics
from foveal.serving.settings import Settings
from foveal.serving.tracing import start_tracing

CANARY = "MUELLER-HANS-19500101"


@pytest.fixture
def lines():
    """Logging configured into a stream; yields a function that returns the lines as objects. All is put back."""
    root, hooks = logging.getLogger(), (threading.excepthook, sys.excepthook)
    before = (root.handlers[:], root.level, warnings.showwarning)
    stream = io.StringIO()
    configure_logs("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    root.handlers[:], root.level, warnings.showwarning = before
    threading.excepthook, sys.excepthook = hooks
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).propagate = True
    logs._SINK.stream = None


def test_a_request_is_one_line_of_json(lines):
    app = guarded(APP, Settings())
    call(app, path="/cases/17", headers={"x-request-id": "request-17"})
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line.pop("ms") >= 0
    assert line == {
        "level": "info", "event": "request", "request_id": "request-17", "method": "GET", "route": "/cases/{id}",
        "status": 200, "caller": "-",
    }  # fmt: skip


def test_no_planted_name_is_found_in_logs_figures_or_spans(lines):
    metrics = Metrics({"version": "1"})
    app = guarded(APP, Settings(), metrics)
    body = [f'--x\r\nContent-Disposition: form-data; name="image"; filename="{CANARY}.png"\r\n\r\n'.encode()]
    for path in (f"/cases/{CANARY}", f"/{CANARY}", f"/breaks?name={CANARY}", f"/size?subject={CANARY}"):
        for method in ("GET", "POST", CANARY):
            headers = {"cookie": CANARY, "x-api-key": CANARY, "user-agent": CANARY, "content-length": "100"}
            call(app, path=path, method=method, headers={**headers, "x-request-id": f"{CANARY} {CANARY}"}, body=body)
    log = get_log()
    log.info("received", file_name=CANARY, subject=CANARY, case="01abc")
    try:
        try:
            raise OSError(f"cannot open {CANARY}")
        except OSError as error:
            raise ValueError(CANARY) from error
    except ValueError:
        log.error("failed", exc_info=True)
        logging.getLogger("sqlalchemy").exception("INSERT %s", CANARY)
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    logging.getLogger("asyncio").error(f"Task exception was never retrieved\nfuture: {CANARY}")
    logging.getLogger("uvicorn.error").error(
        f'Traceback (most recent call last):\n  File "/a/b.py", line 7, in start\n    x\nValueError: {CANARY}'
    )
    logging.getLogger("uvicorn.access").info('"GET /%s"', CANARY)
    logging.getLogger("py.warnings").warning("%s", f"about {CANARY}")
    thread = threading.Thread(target=lambda: (_ for _ in ()).throw(ValueError(CANARY)), name=CANARY)
    thread.start()
    thread.join()
    text = json.dumps(lines()) + metrics.exposition().decode()
    assert len(lines()) >= 18
    assert CANARY not in text
    assert "MUELLER" not in text
    assert {"file_name", "subject"} <= {name for line in lines() for name in line.get("dropped", ())}
    assert any(line.get("exception") == "ValueError from OSError" for line in lines())
    assert any((line.get("exception"), line.get("at")) == ("ValueError", ["b.py:7 start"]) for line in lines())


def test_an_error_is_found_again_by_its_place(lines):
    call(guarded(APP, Settings()), path="/breaks", headers={"x-request-id": "request-17"})
    failed, noted = lines()
    assert (failed["event"], failed["level"], failed["exception"]) == ("request failed", "error", "ValueError")
    assert failed["request_id"] == noted["request_id"] == "request-17"
    assert any("guarded_app.py" in place and "breaks" in place for place in failed["at"])
    assert noted["status"] == 500


def test_what_uvicorn_says_is_json_and_its_own_request_lines_are_not_written(lines):
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("uvicorn.access").info("a path")
    (line,) = lines()
    assert (line["logger"], line["message"]) == ("uvicorn.error", "Started server process [7]")


def test_the_level_is_kept(lines):
    get_log().debug("too light")
    logging.getLogger("some.library").info("too light")
    logging.getLogger("some.library").warning("heavy enough")
    assert [line["event"] for line in lines()] == ["library"]


def test_importing_the_logs_changes_nothing():
    code = (
        "import logging, sys, threading\nhook = threading.excepthook, sys.excepthook\nimport foveal.serving.logs\n"
        "assert not logging.getLogger().handlers and hook == (threading.excepthook, sys.excepthook)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_figures_have_short_known_labels():
    metrics = Metrics({"version": "1.2"})
    metrics.request("/v1/predict", "POST", 200, 0.02)
    metrics.request("/v1/predict", "BREW", 418, 0.02)
    metrics.answer("normal", None)
    metrics.answer(None, "out_of_domain")
    metrics.refusal("empty_file")
    metrics.batch(8)
    metrics.stage("infer", 0.01)
    metrics.stage("dream", 0.01)
    metrics.review("accept")
    metrics.refusal("decoder_crashed")
    metrics.observe("jobs", "Jobs by state", lambda: {"waiting": 2, "quarantined": 1}, "state")
    metrics.observe("trail_rows", "Rows of the trail", lambda: 41)
    metrics.observe("broken", "A database that is away", lambda: 1 / 0)
    text = metrics.exposition().decode()
    for line in (
        'foveal_requests_total{method="POST",route="/v1/predict",status="200"} 1.0',
        'foveal_requests_total{method="other",route="/v1/predict",status="418"} 1.0',
        'foveal_answers_total{abstained="",label="normal"} 1.0',
        'foveal_answers_total{abstained="out_of_domain",label=""} 1.0',
        'foveal_refusals_total{code="empty_file"} 1.0',
        'foveal_stage_seconds_count{stage="other"} 1.0',
        'foveal_jobs{state="quarantined"} 1.0',
        "foveal_trail_rows 41.0",
        'foveal_decoder_restarts_total{reason="decoder_crashed"} 1.0',
        'version="1.2"',
    ):
        assert line in text, line
    assert "broken" not in text


def test_a_label_has_not_more_values_than_memory():
    metrics = Metrics()
    for number in range(2 * MOST_VALUES):
        metrics.refusal(f"code{number}")
    text = metrics.exposition().decode()
    assert text.count("foveal_refusals_total{") == MOST_VALUES + 1
    assert f'foveal_refusals_total{{code="other"}} {MOST_VALUES}.0' in text


def test_spans_are_sent_where_they_are_wanted():
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    tracing = start_tracing(True, exporter)
    with pytest.raises(ValueError, match=CANARY), tracing.span("infer", images=8, subject=CANARY):
        raise ValueError(CANARY)
    Metrics(stages=tracing.note).stage("commit", 0.25)
    tracing._provider.force_flush()
    first, second = exporter.get_finished_spans()
    tracing.close()
    assert (first.name, dict(first.attributes), first.status.description) == (
        "infer",
        {"foveal.images": 8},
        "ValueError",
    )
    assert (second.name, second.end_time - second.start_time) == ("commit", 250_000_000)
    assert CANARY not in first.to_json()


def test_no_spans_cost_nothing_and_missing_ones_are_named(monkeypatch):
    with start_tracing(False).span("infer"):
        pass
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingPartError, match=r"foveal\[otel\]"):
        start_tracing(True)
