"""The peers of `bench/serve.py`: the same network behind other servers. Each is started as a process of its own.

    python bench/serving_peers.py naive|litserve|pool|nothing --port 8100 --classifier RUN

naive     FastAPI, an async route with an UploadFile, Pillow, torch eager: what is written first. One image at a time,
          in the event loop.
litserve  LitServe 0.2 with the same network in torch eager, batches of 8, waiting 10 ms for them; its worker decodes.
pool      FastAPI, a plain route (a pool of threads), Pillow, OpenVINO with a stream a core: fast, and nothing is kept.
nothing   reads a request and answers: what the load's client can do at most.

None of them checks what it is sent, decodes apart from the server, keeps anything or writes a trail.
"""

from __future__ import annotations

import argparse
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("peer", choices=("naive", "litserve", "pool", "nothing"))
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--classifier", type=Path)
    chosen = options.parse_args()
    if chosen.peer == "nothing":
        from serving_load import null_server

        null_server(chosen.port)
    elif chosen.peer == "litserve":
        from serving_litserve import serve

        serve(chosen.classifier, chosen.port)
    else:
        served({"naive": naive, "pool": pool}[chosen.peer](chosen.classifier), chosen.port)


def served(app: Any, port: int) -> None:
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def fitted(content: bytes, preprocess: Any) -> np.ndarray:
    """Return the pixels (H, W, C) uint8 as the network takes them: decoded, and fitted as it was in training."""
    pixels: np.ndarray = preprocess.geometry(Image.open(io.BytesIO(content)))
    return pixels


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def said(classes: tuple[str, ...], row: np.ndarray) -> dict[str, Any]:
    return {"label": classes[int(row.argmax())], "probabilities": dict(zip(classes, row.tolist(), strict=True))}


def loaded(path: Path) -> Any:
    import torch

    from foveal import Classifier

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return Classifier.load(path)


def naive(path: Path) -> Any:
    import torch
    from fastapi import FastAPI, UploadFile

    classifier = loaded(path)
    app = FastAPI()

    async def predict(image: UploadFile) -> dict[str, Any]:
        pixels = fitted(await image.read(), classifier.preprocess)
        with torch.inference_mode():
            x = torch.from_numpy(classifier.preprocess.normalise_array(pixels[None]))
            logits = classifier.network(x)
        return said(classifier.classes, logits.softmax(1)[0].numpy())

    predict.__annotations__["image"] = UploadFile  # a text here, which FastAPI seeks in the module
    app.post("/predict")(predict)
    return app


def pool(path: Path) -> Any:
    import openvino
    from fastapi import FastAPI, UploadFile

    from foveal.classifier.artefact import read
    from foveal.classifier.card import find_folder

    folder = find_folder(path)
    card = read(folder)[0]
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", settings)
    own = threading.local()
    app = FastAPI()

    def predict(image: UploadFile) -> dict[str, Any]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        pixels = fitted(image.file.read(), card.preprocess)
        own.request.infer([card.preprocess.normalise_array(pixels[None])], share_inputs=True)
        return said(card.classes, softmax(np.array(own.request.get_output_tensor(0).data))[0])

    predict.__annotations__["image"] = UploadFile
    app.post("/predict")(predict)
    return app


if __name__ == "__main__":
    main()
