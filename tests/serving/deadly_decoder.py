"""A decoder that dies of files that hold the word POISON and never ends with those that hold SLUMBER.

For tests: ``Decoders(…, program="deadly_decoder")``, with this folder on the path.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from foveal.preprocess import Picture
from foveal.serving.children import decoder

real = decoder.read_picture


def deadly(content: bytes, most_pixels: int) -> Picture:
    if b"POISON" in content:
        os.kill(os.getpid(), signal.SIGSEGV)
    while b"SLUMBER" in content:
        time.sleep(1)
    return real(content, most_pixels)


if __name__ == "__main__":
    decoder.read_picture = deadly
    decoder.main(sys.argv[1:])
