"""The answerer: the program of a child process that runs a stored engine, and what is decided by its answers.

It is started by `answering.py` as ``python -m …answerer SOCKET PARENT THREADS FOLDER ENGINE HASH``. It gets pixels
that a decoder has made of an image, never a file that a stranger sent. It loads no torch.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from foveal.classifier.answers import Answers
from foveal.classifier.light import LightClassifier, find_stored, open_light
from foveal.errors import ClassifierError
from foveal.serving.children.confinement import confine
from foveal.serving.children.frames import receive, send
from foveal.serving.children.told import told


def main(arguments: list[str]) -> None:
    """Open the engine, say so, and answer batches until the socket is closed."""
    handle, parent, threads = (int(one) for one in arguments[:3])
    folder, engine, digest = arguments[3:6]
    connection = socket.socket(fileno=handle)
    warnings.simplefilter("ignore")  # nobody reads them here
    confine(parent, None, alone=False)
    try:
        classifier = _opened(Path(folder), engine, digest, threads)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told to whoever starts the service
        send(connection, told(error, f"Opening the engine {engine}"))
        return
    shape = classifier.preprocess.height, classifier.preprocess.width, classifier.preprocess.channels
    classifier.answer(np.zeros((1, *shape), np.uint8))  # what is made for one image, is made before the first one comes
    gc.freeze()
    send(connection, {"ready": True})
    while (request := receive(connection)) is not None:
        pixels = np.frombuffer(request[1], np.uint8).reshape(-1, *shape)  # (N, H, W, C)
        try:
            answers = classifier.answer(pixels)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises is told to whoever asked
            send(connection, told(error, "The answer"))
            continue
        send(connection, {}, _written(answers))


def _opened(folder: Path, engine: str, digest: str, threads: int) -> LightClassifier:
    """Return the classifier; ClassifierError where another one lies there now."""
    stored = find_stored(folder, engine)
    if stored is None or stored.hash != digest:
        raise ClassifierError(f"{folder} was exchanged since it was loaded; load it anew.")
    return open_light(stored, threads)


def _written(answers: Answers) -> bytes:
    """Return `answers` as the arrays that they are, those that there are, and their words as JSON in one more."""
    names = ("raw", "probabilities", "labels", "sets", "gate_scores")
    arrays = {name: np.ascontiguousarray(one) for name in names if (one := getattr(answers, name)) is not None}
    words = json.dumps(answers.abstained.tolist()).encode()
    return save({**arrays, "words": np.frombuffer(words, np.uint8)})


if __name__ == "__main__":
    main(sys.argv[1:])
