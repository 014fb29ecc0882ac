"""A real service on a real port, in a thread of this process."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from foveal.serving.run import serve
from foveal.serving.service import Service
from foveal.serving.settings import load_settings


class Running:
    """A service that runs: where it is, and what it is made of."""

    def __init__(self, address: str, service: Service) -> None:
        self.address, self.service = address, service
        self.client = httpx.Client(base_url=address, timeout=30)

    def predict(self, content: bytes, kind: str = "image/png", **headers: str) -> httpx.Response:
        return self.client.post("/v1/predict", content=content, headers={"content-type": kind, **headers})

    def trail(self, subject: str) -> list[str]:
        """The kinds of the rows about `subject`, in order."""
        from foveal.storage.trail import entries

        with self.service.database.read() as connection:
            return [one.kind for one in entries(connection, subject=subject)]


@contextmanager
def running(classifier: Path, data: Path, **options: Any) -> Iterator[Running]:
    """Serve `classifier`, with its store in `data`, until the block is left."""
    settings = load_settings(
        None, {}, {"classifier": str(classifier), "data": str(data), "port": 0, "log_level": "error", **options}
    )
    started = threading.Event()
    told: list[Running] = []
    failed: list[BaseException] = []

    def tell(address: str, service: Service) -> None:
        told.append(Running(address, service))
        started.set()

    def work() -> None:
        try:
            serve(settings, ready=tell)
        except BaseException as error:  # noqa: BLE001  # told to the test
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=work, name="service", daemon=True)
    thread.start()
    assert started.wait(60), "the service did not start"
    if failed:
        raise failed[0]
    one = told[0]
    try:
        yield one
    finally:
        one.client.close()
        one.service.server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the service did not stop"


def picture(seed: int = 0, size: tuple[int, int] = (24, 20), mode: str = "L", kind: str = "PNG") -> bytes:
    """An image file, another one for each seed."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
