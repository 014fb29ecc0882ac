"""LitServe as a peer of `bench/serve.py`; a module of its own, since its workers import the class by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litserve
import numpy as np
import torch
from fastapi import UploadFile

from serving_peers import fitted, loaded, said


class Api(litserve.LitAPI):  # type: ignore[misc]  # litserve is not installed where types are checked
    """EfficientNet-Lite0 in torch eager, asked for batches; the worker decodes."""

    def __init__(self, path: Path) -> None:
        super().__init__(max_batch_size=8, batch_timeout=0.01, api_path="/predict")
        self.path = path

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.classifier = loaded(self.path)

    def decode_request(self, request: UploadFile) -> np.ndarray:
        return fitted(request.file.read(), self.classifier.preprocess)

    def predict(self, images: Any) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(self.classifier.preprocess.normalise_array(np.stack(images)))
            probabilities: np.ndarray = self.classifier.network(x).softmax(1).numpy()
            return probabilities

    def encode_response(self, row: np.ndarray) -> dict[str, Any]:
        return said(self.classifier.classes, row)


Api.decode_request.__annotations__["request"] = UploadFile  # a text by the line at the top


def serve(path: Path, port: int) -> None:
    server = litserve.LitServer(Api(path), accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)
