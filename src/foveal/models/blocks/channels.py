"""How many channels a layer of a scaled network has: a multiple of 8, which hardware likes.

The rule of the MobileNets (M. Sandler et al.: "MobileNetV2", CVPR 2018, in the authors' code) and of EfficientNet.
"""

from __future__ import annotations


def rounded(channels: float, multiple: int = 8) -> int:
    """Return the multiple nearest to `channels` (halves go up), at least one, and never below 90 % of `channels`."""
    nearest = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return nearest if nearest >= 0.9 * channels else nearest + multiple
