"""The Open Inference Protocol, version 2, so that clients of Triton, KServe or MLServer are answered unchanged.

The network's input is one tensor ``image`` of datatype BYTES, shape [N]: each element a whole image file; in JSON as
Base64, in the binary extension (``Inference-Header-Content-Length``) as four bytes of length and the file. What is
answered: ``probabilities`` FP64 [N, classes], and BYTES [N] ``label`` (empty where the classifier abstains),
``leading``, ``abstained`` and ``case``. Each image is kept, answered and recorded as by /v1/predict.

Source: KServe, "Open Inference Protocol V2"; Triton, "Binary tensor data extension".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import struct
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from foveal.serving.children.refused_image import RefusedImageError
from foveal.serving.http.identity import Caller, require
from foveal.serving.http.predict_routes import request_id_of
from foveal.serving.http.problems import problem, refusal_of_image
from foveal.serving.http.uploads import checked_key
from foveal.serving.intake import Outcome, Sender, Sent
from foveal.serving.refusal import Refusal
from foveal.serving.service import Service

router = APIRouter(tags=["Open Inference Protocol v2"])

HEADER_LENGTH = "inference-header-content-length"
INPUT = "image"
_NUMBER = re.compile(r"[0-9]{1,18}")  # of more digits than Python converts, one is no length either
PROBABILITIES = "probabilities"
TEXTS = ("label", "leading", "abstained", "case")
OUTPUTS = (PROBABILITIES, *TEXTS)
NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "Not ready"}}
Asking = Annotated[Caller, Depends(require("predict"))]


@router.get("/v2")
async def server() -> dict[str, Any]:
    """Say what this server is."""
    return {"name": "foveal", "version": version("foveal"), "extensions": ["binary_tensor_data"]}


@router.get("/v2/health/live")
async def live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@router.get("/v2/health/ready", responses=NOT_READY)
async def ready(request: Request, response: Response) -> dict[str, bool]:
    """Say whether requests can be taken."""
    service: Service = request.app.state.service
    found = (await service.readiness()).ready
    response.status_code = 200 if found else 503
    return {"ready": found}


@router.get("/v2/models/{model}")
@router.get("/v2/models/{model}/versions/{model_version}")
async def metadata(request: Request, model: str, _: Asking, model_version: str = "") -> dict[str, Any]:
    """Say what the model takes and gives."""
    service = _service(request, model, model_version)
    served = service.served
    outputs = [{"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, len(served.classes)]}]
    outputs += [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in TEXTS]
    return {
        "name": model,
        "versions": [served.hash],
        "platform": f"foveal_{served.engine}",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
        "parameters": {"classes": list(served.classes)},
    }


@router.get("/v2/models/{model}/ready", responses=NOT_READY)
@router.get("/v2/models/{model}/versions/{model_version}/ready", responses=NOT_READY)
async def model_ready(
    request: Request, response: Response, model: str, _: Asking, model_version: str = ""
) -> dict[str, Any]:
    """Say whether the model answers."""
    service = _service(request, model, model_version)
    found = (await service.readiness()).ready
    response.status_code = 200 if found else 503
    return {"name": model, "ready": found}


@router.post("/v2/models/{model}/infer")
@router.post("/v2/models/{model}/versions/{model_version}/infer")
async def infer(request: Request, model: str, caller: Asking, model_version: str = "") -> Response:
    """Answer each image of the tensor ``image``."""
    service = _service(request, model, model_version)
    key = checked_key(request.headers.get("idempotency-key"))
    service.welcome()
    head, rest = _split(await request.body(), request.headers.get(HEADER_LENGTH))
    wanted = _outputs(head)  # at once: what cannot be answered is not kept either
    sent = [Sent(one) for one in _images(head, rest, service.settings.max_images)]
    with service.admitted(len(sent)):
        try:
            async with asyncio.timeout(service.settings.deadline_s):
                outcomes = await service.intake.answer_now(sent, Sender(caller.actor, "v2", None, key))
        except TimeoutError:
            raise Refusal(503, "deadline", "The answer took too long; ask again.", retry_after_s=2) from None
    refused = next((one for one in outcomes if one.refused is not None), None)
    if refused is not None and refused.refused is not None:
        return _refused(request, refused.refused, refused.case_id, outcomes)
    return _response(head, wanted, outcomes, model)


def _refused(request: Request, error: RefusedImageError, case: str | None, outcomes: Sequence[Outcome]) -> Response:
    """Return the refusal of the whole request for one of its images: the protocol has no answer for the others alone.

    These were answered and kept nevertheless; it says so, lest they are sent a second time.
    """
    refusal = refusal_of_image(error)
    kept = [one.case_id for one in outcomes if one.refused is None and one.case_id is not None]
    if kept:
        also = f"{refusal.message.rstrip('.')}. The others were answered, and are kept as {', '.join(kept)}."
        refusal = Refusal(refusal.status, refusal.code, also)
    return problem(refusal, request_id_of(request), case=case)


def _service(request: Request, model: str, model_version: str) -> Service:
    """Return the service; Refusal unless `model` is the one that it serves."""
    service: Service = request.app.state.service
    served = service.served
    if model not in (served.name, "foveal") or model_version not in ("", served.hash):
        raise Refusal(404, "no_model", f"Only the model {served.name} is served here, and as foveal whichever it is.")
    return service


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object of the request, and the bytes behind it."""
    length = len(body)
    if header_length is not None:
        if not _NUMBER.fullmatch(header_length) or not 0 < int(header_length) <= len(body):
            raise Refusal(400, "bad_request", "Inference-Header-Content-Length does not fit the body.")
        length = int(header_length)
    try:
        head = json.loads(body[:length], parse_constant=_refuse_constant)
    except (ValueError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "bad_json", "The request is no JSON.") from None
    if not isinstance(head, dict):
        raise Refusal(400, "bad_json", "The request is no JSON object.")
    if not str(head.get("id", "")).isprintable():
        raise Refusal(400, "bad_json", "The id of a request is a printable text.")
    return head, body[length:]


def _images(head: Mapping[str, Any], rest: bytes, most: int) -> list[bytes]:
    inputs = head.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, "bad_inputs", f'inputs holds one tensor, called "{INPUT}".')
    tensor = inputs[0]
    if tensor.get("name") != INPUT or tensor.get("datatype") != "BYTES":
        raise Refusal(400, "bad_inputs", f'The input is called "{INPUT}" and has the datatype BYTES.')
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not shape or not all(type(one) is int and one > 0 for one in shape):
        raise Refusal(400, "bad_inputs", "shape is a list of whole numbers above 0.")
    count = 1
    for one in shape:
        count *= one
        if count > most:  # at once: the product of long numbers takes for ever
            raise Refusal(413, "too_many_images", f"A request may hold {most} images at most.")
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    images = _binary(rest, size) if size is not None else _base64(tensor.get("data"))
    if len(images) != count:
        raise Refusal(400, "bad_inputs", f"The shape speaks of {count} images, the data are {len(images)}.")
    return images


def _binary(rest: bytes, size: Any) -> list[bytes]:
    if type(size) is not int or size != len(rest):
        raise Refusal(400, "bad_inputs", "binary_data_size is not the length of what follows the header.")
    images, at = [], 0
    while at < len(rest):
        if at + 4 > len(rest):
            raise Refusal(400, "bad_inputs", "The binary tensor is cut off.")
        (length,) = struct.unpack_from("<I", rest, at)
        if at + 4 + length > len(rest):
            raise Refusal(400, "bad_inputs", "The binary tensor is cut off.")
        images.append(rest[at + 4 : at + 4 + length])
        at += 4 + length
    return images


def _base64(data: Any) -> list[bytes]:
    flat = data if isinstance(data, list) else []
    while flat and isinstance(flat[0], list):
        if not all(isinstance(one, list) for one in flat):
            break
        flat = [inner for one in flat for inner in one]
    try:
        return [base64.b64decode(one, validate=True) for one in flat]
    except (binascii.Error, ValueError, TypeError):
        raise Refusal(400, "bad_inputs", "In JSON, data is a list of images in Base64.") from None


def _response(head: Mapping[str, Any], wanted: Mapping[str, bool], outcomes: Sequence[Outcome], model: str) -> Response:
    """Return the outputs `wanted`, each in binary or not, of the outcomes."""
    answers = [one.answer for one in outcomes if one.answer is not None]
    classes = answers[0]["probabilities"]  # of the classifier that answered, which may have been replaced since
    values: dict[str, tuple[str, list[int], list[Any]]] = {
        PROBABILITIES: (
            "FP64", [len(answers), len(classes)],
            [p for one in answers for p in one["probabilities"].values()],
        ),
        **{name: ("BYTES", [len(answers)], [one[name] or "" for one in answers]) for name in TEXTS},
    }  # fmt: skip
    outputs, tail = [], b""
    for name, is_binary in wanted.items():
        kind, shape, data = values[name]
        one: dict[str, Any] = {"name": name, "datatype": kind, "shape": shape}
        if is_binary:
            part = _packed(kind, data)
            one["parameters"] = {"binary_data_size": len(part)}
            tail += part
        else:
            one["data"] = data
        outputs.append(one)
    told: dict[str, Any] = {"model_name": model, "model_version": answers[0]["classifier"]["hash"], "outputs": outputs}
    if isinstance(head.get("id"), str):
        told["id"] = head["id"]
    text = json.dumps(told, ensure_ascii=False).encode()
    if not tail:
        return Response(text, media_type="application/json")
    headers = {HEADER_LENGTH.title(): str(len(text))}
    return Response(text + tail, media_type="application/octet-stream", headers=headers)


def _outputs(head: Mapping[str, Any]) -> dict[str, bool]:
    """Return the names of the outputs wanted, and of each whether in binary; Refusal for one that there is not."""
    whole = head.get("parameters")
    all_binary = isinstance(whole, dict) and whole.get("binary_data_output") is True
    asked = head.get("outputs")
    if not asked:
        return dict.fromkeys(OUTPUTS, all_binary)
    if not isinstance(asked, list) or not all(isinstance(one, dict) and one.get("name") in OUTPUTS for one in asked):
        raise Refusal(400, "bad_outputs", f"The outputs there are: {', '.join(OUTPUTS)}.")
    binary = {}
    for one in asked:
        own = one.get("parameters")
        binary[one["name"]] = bool(own.get("binary_data", all_binary)) if isinstance(own, dict) else all_binary
    return binary


def _packed(kind: str, data: Sequence[Any]) -> bytes:
    if kind == "FP64":
        return struct.pack(f"<{len(data)}d", *data)
    encoded = [one.encode() for one in data]
    return b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
