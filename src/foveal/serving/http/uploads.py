"""What a request carries: files of a form, or one raw image."""

from __future__ import annotations

import re

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from foveal.serving.intake import Sent
from foveal.serving.refusal import Refusal

MOST_FIELDS = 16  # beside the images
LONGEST_NAME = 255
LONGEST_SUBJECT = 128
LONGEST_KEY = 255
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
RAW = ("image/", "application/octet-stream", "application/dicom")


async def images_of(request: Request, *, most: int) -> tuple[list[Sent], str | None]:
    """Return the images of `request`, one or more, and the subject that a form names.

    Raises Refusal: 415 for a type that is none of ours, 400 for a form that is damaged or without a file, 413 for
    more than `most` images.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = await read_form(request, most)
        try:
            files = [one for _, one in form.multi_items() if isinstance(one, UploadFile)]
            sent = [Sent(await one.read(), tidy_name(one.filename)) for one in files]
            subject = form.get("subject")
        finally:
            await form.close()
        if not sent:
            raise Refusal(400, "no_image", "The form holds no file; send each image as a file field called images.")
        return sent, subject if isinstance(subject, str) else None
    if kind.startswith(RAW):
        return [Sent(await request.body())], None
    raise Refusal(
        415, "unsupported_media_type",
        "Send an image as the body with its own Content-Type (image/png …), or as files of a multipart/form-data form.",
    )  # fmt: skip


async def read_form(request: Request, most: int) -> FormData:
    """Return the form of `request`, with `most` files at most; Refusal as `images_of`."""
    try:
        return await request.form(max_files=most, max_fields=MOST_FIELDS, max_part_size=1 << 20)
    except (MultiPartException, HTTPException) as error:
        said = str(getattr(error, "message", "") or getattr(error, "detail", ""))
        if "Too many files" in said:
            raise Refusal(413, "too_many_images", f"A request may hold {most} images at most.") from None
        if "Too many fields" in said or "maximum size" in said:
            raise Refusal(
                413, "form_too_large", "The form has too many or too large fields beside its images."
            ) from None
        raise Refusal(400, "malformed_form", "The form cannot be read: it is cut off, or has no boundary.") from None
    except (ValueError, KeyError, UnicodeDecodeError):
        raise Refusal(400, "malformed_form", "The form cannot be read.") from None


def tidy_name(name: str | None) -> str | None:
    """Return a file's name without folders, of a bounded length; nothing is ever stored under it."""
    if not name:
        return None
    readable = name.encode("utf-8", "replace").decode()  # bytes of a folder's name that are no UTF-8 cannot be stored
    last = re.split(r"[/\\]", readable.replace("\0", ""))[-1].strip()
    return last[-LONGEST_NAME:] or None


def checked_subject(subject: str | None) -> str | None:
    """Return the subject, a pseudonym of at most 128 characters; Refusal for a longer one."""
    if subject is None or not subject.strip():
        return None
    if len(subject) > LONGEST_SUBJECT or "\0" in subject:
        raise Refusal(400, "bad_subject", f"A subject has {LONGEST_SUBJECT} characters at most.")
    return subject.strip()


def checked_key(key: str | None) -> str | None:
    """Return the idempotency key; Refusal unless it is 1 to 255 printable ASCII characters."""
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_KEY or not _PRINTABLE.fullmatch(key):
        raise Refusal(400, "bad_idempotency_key", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
    return key
