"""What an engine says when it cannot run a network: one sentence that names the operator, and nothing besides."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator

from foveal.errors import ClassifierError, FovealError, ResourceError
from foveal.silence import without_warnings

# How exporters and engines word it, the operator's name in the group.
OPERATOR = (
    re.compile(r"No ONNX function found for <OpOverload\(op='([\w:.]+)'"),  # torch.onnx
    re.compile(r"operator '([\w:.]+)' to ONNX"),
    re.compile(r"Could not find an implementation for ([\w.]+)"),  # ONNX Runtime
    re.compile(r"([\w.:]+) is not a registered function/op"),
    re.compile(r"does not support the following ONNX operations: ([\w.:-]+)"),  # OpenVINO
    re.compile(r"No conversion rule found for operations: ([\w.:]+)"),
)
CONTROL_FLOW = ("data-dependent", "GuardOnDataDependent", "Dynamic control flow", "UserError")


@contextlib.contextmanager
def saying_what_it_lacks(engine: str) -> Iterator[None]:
    """Turn what `engine`, or the way to it, raises into a ClassifierError of one sentence."""
    try:
        yield
    except (FovealError, OSError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise ResourceError(f"There is not enough memory for {engine}.") from error
    except Exception as error:  # they raise classes of their own, and plain RuntimeError
        raise ClassifierError(_sentence(engine, error)) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what exporters and quantisers warn of, log and print to their developers from a user."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            without_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),  # torch.export prints the graph that it came as far as
        ):
            yield
    finally:
        logging.disable(before)


def _sentence(engine: str, error: BaseException) -> str:
    texts = _texts(error)
    for text in texts:
        for wording in OPERATOR:
            if found := wording.search(text):
                return f"{engine} lacks the operator {found.group(1)}, which this network uses; predict with torch."
    if any(sign in text for text in texts for sign in CONTROL_FLOW):
        return f"{engine} cannot hold this network: which way it computes depends on the images' values."
    first = next((line.strip() for line in texts[0].splitlines() if line.strip()), type(error).__name__)
    return f"{engine} cannot run this network: {first[:300].rstrip('.')}."


def _texts(error: BaseException | None) -> list[str]:
    """Return what `error` and all errors behind it say."""
    texts = []
    while error is not None:
        texts.append(f"{error}")
        error = error.__cause__ or error.__context__
    return texts
