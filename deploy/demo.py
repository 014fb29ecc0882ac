"""The demonstration of `make demo-serve`: a classifier is trained, served, asked, and waits for you.

::

    python deploy/demo.py            stays until Ctrl-C
    python deploy/demo.py --exit     stops after the answers
"""

from __future__ import annotations

import argparse
import io
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

RUN = Path("runs/digits-lenet5")
DATA = Path("runs/demo-service")
FOVEAL = (sys.executable, "-c", "from foveal.cli import main; main()")
IMAGES = 12


def images() -> Iterator[tuple[str, bytes]]:
    """Yield (what it is, the bytes of a PNG): digits, and two pictures that are none."""
    from foveal.data.sources.digits import read_digits

    digits = read_digits()
    for number in np.random.default_rng(1).choice(len(digits.labels), IMAGES, replace=False):
        yield digits.classes[digits.labels[number]], png(digits.images.picture(int(number)))
    yield "noise", png(Image.fromarray(np.random.default_rng(2).integers(0, 256, (8, 8), dtype=np.uint8)))
    yield "nothing", png(Image.new("L", (8, 8)))


def png(picture: Image.Image) -> bytes:
    """Return the PNG of a picture."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def ask(address: str) -> None:
    """Send the images one after the other, and print what the service says."""
    for truth, content in images():
        request = urllib.request.Request(f"{address}/v1/predict", content, {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=30) as response:
            (answer,) = json.load(response)["answers"]
        probability = answer["probabilities"][answer["leading"]]
        said = answer["label"] or "I don't know"
        print(f"sent {truth:<8} answered {said:<13} {answer['leading']} {probability:6.1%}   case {answer['case']}")
        if answer["abstained"]:
            print(f"     since {answer['abstained']}")


def main() -> int:
    """Train if need be, serve, ask, wait; return the service's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exit", action="store_true", help="stop after the answers")
    parser.add_argument("--port", default="8000", help="0 takes a free one")
    given = parser.parse_args()
    if not (RUN / "classifier").is_dir():
        subprocess.run([*FOVEAL, "train", "digits", "--model", "lenet5", "--out", RUN], check=True)
    DATA.parent.mkdir(exist_ok=True)
    with Path(f"{DATA}.log").open("ab") as log:
        service = subprocess.Popen(
            [*FOVEAL, "serve", RUN, "--data", DATA, "--port", given.port], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert service.stdout is not None
        try:
            address = ""
            for line in service.stdout:
                print(line, end="", flush=True)
                address = address or next(iter(re.findall(r"^page +(http\S+)/$", line)), "")
                if line.startswith("Investigational"):
                    break
            if not address:
                print(f"The service did not start; {log.name} says why.", file=sys.stderr)
                return service.wait() or 1
            ask(address)
            print(f"Now look at {address}/   (its log is {log.name})", flush=True)
            if not given.exit:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service hears it, too, and says when it is done
                return service.wait()
        finally:
            if service.poll() is None:
                service.terminate()
        return service.wait(60)


if __name__ == "__main__":
    sys.exit(main())
