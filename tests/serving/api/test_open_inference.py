"""The Open Inference Protocol: by hand, and by a client that was written for Triton."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest

from foveal.serving.http import open_inference
from foveal.serving.intake import Outcome
from serving.running import picture


@pytest.fixture
def answers(service):
    return [service.predict(picture(n)).json()["answers"][0] for n in (20, 21)]


def infer(service, tensor, path="/v2/models/fruit/infer", **more):
    return service.client.post(path, json={"inputs": [tensor], **more})


def tensor_of(*images: bytes, **changes):
    data = [base64.b64encode(one).decode() for one in images]
    return {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data, **changes}


def test_json_gives_the_same_answers_as_the_own_interface(service, answers):
    told = infer(service, tensor_of(picture(20), picture(21)), id="q-7").json()
    outputs = {one["name"]: one for one in told["outputs"]}
    assert (told["id"], told["model_name"]) == ("q-7", "fruit")
    assert outputs["probabilities"]["shape"] == [2, 3]
    expected = [p for one in answers for p in one["probabilities"].values()]
    assert outputs["probabilities"]["data"] == pytest.approx(expected, abs=1e-6)
    assert outputs["leading"]["data"] == [one["leading"] for one in answers]
    assert service.trail(outputs["case"]["data"][0]) == ["received", "predicted"]


def test_a_client_of_triton_is_answered(service, answers):
    client_library = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    client = client_library.InferenceServerClient(service.address.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("fruit")
    assert client.get_model_metadata("fruit")["parameters"]["classes"] == ["apple", "lime", "plum"]
    given = client_library.InferInput("image", [2], "BYTES")
    given.set_data_from_numpy(np.array([picture(20), picture(21)], object))
    result = client.infer("fruit", [given])
    expected = np.array([list(one["probabilities"].values()) for one in answers])
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-6)
    assert [one.decode() for one in result.as_numpy("leading")] == [one["leading"] for one in answers]
    only = client.infer("fruit", [given], outputs=[client_library.InferRequestedOutput("label", binary_data=False)])
    assert [output["name"] for output in only.get_response()["outputs"]] == ["label"]
    client.close()


@pytest.mark.parametrize(
    ("tensor", "code"),
    [
        (tensor_of(b"x", name="pixels"), "bad_inputs"),
        (tensor_of(b"x", datatype="FP32"), "bad_inputs"),
        (tensor_of(b"x", shape=[2]), "bad_inputs"),
        (tensor_of(b"x", shape=[0]), "bad_inputs"),
        (tensor_of(b"x", shape=[True]), "bad_inputs"),
        (tensor_of(b"x", shape=[10**9]), "too_many_images"),
        (tensor_of(b"x", shape=[10**4000] * 300), "too_many_images"),
        (tensor_of(b"x", data=["no base64!"]), "bad_inputs"),
        (tensor_of(b"x", parameters={"binary_data_size": 9}), "bad_inputs"),
        (tensor_of(b"no image"), "unsupported_type"),
    ],
)
def test_what_is_no_tensor_of_images_is_refused(service, tensor, code):
    response = infer(service, tensor)
    assert response.status_code in (400, 413, 422)
    assert response.json()["error"]["code"] == code


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"inputs": NaN}', b"[" * 100_000, b"\xff\xfe", b'{"inputs": [{"name": "image"}, {}]}'],
)
def test_what_is_no_json_object_is_refused(service, body):
    response = service.client.post("/v2/models/fruit/infer", content=body)
    assert response.status_code == 400, response.text


def test_an_id_that_no_answer_could_be_written_with_is_refused_before_there_is_one(service):
    body = json.dumps({"id": "\ud800", "inputs": [tensor_of(picture(23))]})
    response = service.client.post("/v2/models/fruit/infer", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_json")


@pytest.mark.parametrize("outputs", [[{"name": "logits"}], [{"name": "label"}, {"name": "logits"}], "label", [7]])
def test_an_output_that_there_is_not_is_refused_before_anything_is_kept(service, outputs):
    before = service.client.get("/v1/cases", params={"limit": 1}).json()["cases"]
    response = infer(service, tensor_of(picture(24)), outputs=outputs)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_outputs")
    assert service.client.get("/v1/cases", params={"limit": 1}).json()["cases"] == before


@pytest.mark.parametrize("more", [{}, {"id": None}, {"id": "q-8"}])
def test_a_refusal_carries_the_id_under_which_the_log_tells_of_it(service, more):
    response = infer(service, tensor_of(b"no image"), **more)
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


def test_a_cut_binary_tensor_is_refused(service):
    image = picture(22)
    rest = struct.pack("<I", len(image)) + image[:-3]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(rest)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    for length in (str(len(head)), "0", "-1", "x", str(10**9), "9" * 5000):
        response = service.client.post(
            "/v2/models/fruit/infer", content=head + rest, headers={"inference-header-content-length": length}
        )
        assert response.status_code == 400


def test_beside_an_image_that_is_refused_the_others_are_named_which_were_kept(service):
    done = infer(service, tensor_of(picture(31), b"no image"))
    message = done.json()["error"]["message"]
    assert done.status_code == 422
    newest = service.client.get("/v1/cases?limit=1").json()["cases"][0]["case"]
    assert message.endswith(f"The others were answered, and are kept as {newest}.")
    alone = infer(service, tensor_of(b"no image")).json()["error"]["message"]
    assert "others" not in alone


def test_another_model_is_not_there(service):
    assert infer(service, tensor_of(b"x"), "/v2/models/cat/infer").status_code == 404
    assert service.client.get("/v2/models/fruit/versions/1").status_code == 404
    assert service.client.get("/v2/models/foveal").json()["platform"] == "foveal_torch"


def test_an_answer_has_the_shape_of_the_classifier_that_gave_it():
    """Another one with more classes may answer by the time the response is written."""
    answer = {**dict.fromkeys(("label", "leading", "abstained", "case"), "x"), "probabilities": {"a": 0.25, "b": 0.75}}
    outcome = Outcome("x", {**answer, "classifier": {"hash": "old"}})
    told = json.loads(open_inference._response({}, {"probabilities": False}, [outcome], "fruit").body)
    assert told["model_version"] == "old"
    assert told["outputs"][0]["shape"] == [1, 2]
    assert told["outputs"][0]["data"] == [0.25, 0.75]
