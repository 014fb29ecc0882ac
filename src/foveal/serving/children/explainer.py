"""The explainer: the program of the child process that loads a classifier with torch and makes heat maps.

It is started by `explaining.py` as ``python -m …explainer SOCKET PARENT MEMORY_MIB TIMEOUT_S``. It gets pixels that a
decoder has made of the image, never a file that a stranger sent.
"""

from __future__ import annotations

import functools
import json
import math
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from foveal.classifier import Classifier
from foveal.errors import ClassifierError
from foveal.explanation.explain import Image, class_number, explain_images
from foveal.explanation.mapping import Wanted
from foveal.explanation.methods import find_method
from foveal.serving.children.confinement import confine
from foveal.serving.children.frames import receive, send
from foveal.serving.children.heat_map import as_png, heat_facts, heat_shares, over_picture
from foveal.serving.children.placement import placed
from foveal.serving.children.told import told

KEPT = 2  # classifiers in memory: the one that serves, and the one before it
GRACE_S = 5
SHOWN_OF_HASH = 12


def main(arguments: list[str]) -> None:
    """Answer requests until the socket is closed."""
    handle, parent, memory_mib = (int(one) for one in arguments[:3])
    timeout_s = float(arguments[3])
    connection = socket.socket(fileno=handle)
    warnings.simplefilter("ignore")  # nobody reads them here
    confine(parent, memory_mib, alone=False)
    send(connection, {"ready": True})
    while (request := receive(connection)) is not None:
        signal.alarm(math.ceil(timeout_s) + GRACE_S)
        _answer(connection, *request)
        signal.alarm(0)


def _answer(connection: socket.socket, asked: bytes, pixels: bytes) -> None:
    """Send the heat map that was asked for, or why there is none."""
    try:
        facts, png = _explained(json.loads(asked), pixels)
    except Exception as error:  # noqa: BLE001 - whatever torch raises is told to whoever asked; the process lives on
        facts, png = told(error, "The explanation"), b""
    send(connection, facts, png)


def _explained(question: dict[str, Any], pixels: bytes) -> tuple[dict[str, Any], bytes]:
    classifier = _loaded(question["classifier"], question["hash"])
    preprocess = classifier.preprocess
    shape = preprocess.height, preprocess.width, preprocess.channels
    if math.prod(shape) != len(pixels):
        raise ClassifierError("The pixels were made for a classifier that sees images at another size.")
    target = question["target"]
    number = None if target is None else class_number(classifier, target)
    wanted = Wanted((find_method(question["method"]),), (number,), judged=question["judged"])
    image = Image(np.frombuffer(pixels, np.uint8).reshape(shape), "the image", "")
    (found,) = explain_images(classifier, [image], wanted)
    where = placed(preprocess, *question["picture"])
    shown = over_picture(heat_shares(found), where, question["longest_side"])
    return heat_facts(found, where, shown), as_png(shown)


@functools.lru_cache(maxsize=KEPT)
def _loaded(path: str, expected: str) -> Classifier:
    """Return the classifier at `path`; ClassifierError when it is another one than is `expected`."""
    classifier = Classifier.load(Path(path), device="cpu")
    if classifier.hash != expected:
        raise ClassifierError(
            f"The classifier on disk ({classifier.hash[:SHOWN_OF_HASH]}) is another one than the one that answered "
            f"({expected[:SHOWN_OF_HASH]}); explain with the one that answered."
        )
    return classifier


if __name__ == "__main__":
    main(sys.argv[1:])
