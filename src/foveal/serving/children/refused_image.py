"""Refusals: why an image that was sent is not answered, as a code for programs and a sentence for people."""

from __future__ import annotations

from foveal.errors import DataError

CODES = {
    "empty_file": "it has no bytes",
    "truncated": "its end is missing",
    "too_many_pixels": "its header says that it is too large; it was not decoded",
    "unsupported_type": "it is no image of a kind that is read",
    "animated": "it has more than one frame or page",
    "unsupported_pixels": "its pixels are of a kind whose brightness is unknown",
    "damaged": "it cannot be decoded",
    "decoder_crashed": "the process that decoded it ended",
    "decoder_timeout": "it was not decoded in time",
    "decoder_memory": "decoding it takes more memory than is allowed",
}
POISON = ("decoder_crashed", "decoder_timeout")


class RefusedImageError(DataError):
    """An image is refused; `code` is one of CODES, `reason` the words that follow "The image cannot be used:"."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"The image cannot be used: {reason}.")
        self.code, self.reason = code, reason

    @property
    def poison(self) -> bool:
        """Whether it cost a process: it may be tried again, but not for ever."""
        return self.code in POISON
