"""LitServe as a peer of `bench/serve.py`; a module of its own, since its workers import the class by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import UploadFile

from serving_peers import eager, said


class Api(litserve.LitAPI):  # type: ignore[misc]  # litserve is not installed where types are checked
    """EfficientNet-Lite0 in torch eager, asked for batches; the worker decodes."""

    def __init__(self, path: Path, network: str) -> None:
        super().__init__(max_batch_size=8, batch_timeout=0.01, api_path="/predict")
        self.path, self.network = path, network

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.model = eager(self.path, self.network)

    def decode_request(self, request: UploadFile) -> Any:
        return self.model.image(request.file.read())

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, images: list[Any]) -> np.ndarray:
        return self.model.answer(images)

    def encode_response(self, row: np.ndarray) -> dict[str, Any]:
        return said(self.model.classes, row)


Api.decode_request.__annotations__["request"] = UploadFile  # a text by the line at the top


def serve(path: Path, network: str, port: int) -> None:
    server = litserve.LitServer(Api(path, network), accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)
