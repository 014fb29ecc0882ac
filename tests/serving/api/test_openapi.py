"""What OpenAPI describes is what is answered: schemathesis asks every operation with what fits and what does not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from foveal.storage.keys import make_key
from serving.running import picture

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (make test-all installs it)")

UNDESCRIBED = (400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429)  # refusals, which every operation may give


@pytest.mark.slow
def test_no_request_makes_the_service_fail(service):
    """Nothing is answered with 500, everything is JSON with a code or what is described, and the service lives."""
    service.predict(picture(1))
    _, token = make_key(service.service.database, "everything", ["admin"], actor="service")
    admin = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_url(f"{service.address}/openapi.json")
    asked: dict[str, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=40, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck), derandomize=True,
        )  # fmt: skip
        def ask(case):
            response = case.call(timeout=30, headers=admin)
            key = f"{case.method} {case.path}"
            asked[key] = asked.get(key, 0) + 1
            assert response.status_code < 500 or response.status_code == 503, (key, response.status_code, response.text)
            if response.status_code in UNDESCRIBED:
                error = response.json()["error"]
                assert error["code"], key
                assert error["message"].endswith(".") or error["message"].endswith("?"), error
                for word in ("Traceback", "/home", "site-packages", "SELECT"):
                    assert word not in response.text

        given(case=operation.as_strategy())(ask)()
    assert len(asked) >= 20, asked
    assert service.predict(picture(2)).status_code == 200
