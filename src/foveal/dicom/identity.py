"""Whose picture it is, without saying who: a patient becomes a pseudonym that only this user's salt could lead back to.

Patient numbers are few and regular, so a bare hash of one is undone by trying them all. Here it is
keyed (HMAC-SHA256, RFC 2104) with a random salt that stays with the user: the same patient is the same
group in all the user's data sets, and nobody else can tell who. The number itself is never kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

from foveal.dicom.read import parsed, parsing
from foveal.errors import UsageError

SALT_VARIABLE, SALT_FILE = "FOVEAL_DICOM_SALT", "dicom-salt"
SALT_BYTES, SHORTEST_SALT = 32, 16
GROUP_LENGTH = 16  # hexadecimal digits: among a million patients two share a group once in 37 million data sets
LONGEST_DEVICE = 64  # characters of a maker's or a model's name (PS3.5 section 6.2, LO)
ABOUT = (
    "PatientID",
    "IssuerOfPatientID",
    "Manufacturer",
    "ManufacturerModelName",
    "StudyDate",
)


@dataclass(frozen=True)
class About:
    """Where a picture comes from, in words that identify nobody. What is unknown is an empty text."""

    group: str  # the patient's pseudonym
    device: str  # maker and model
    study_date: str  # YYYYMMDD


def about(file: BinaryIO, salt: bytes) -> About:
    """Return where the picture in an open DICOM file comes from; its pixels are not read.

    Raises UnreadableDicomError with the reason, MissingPartError without pydicom.
    """
    with parsing("its header"):
        found = parsed(file, ABOUT, before_pixels=True)
        text = {name: _text(found.get(name)) for name in ABOUT}
    return About(
        pseudonym(text["PatientID"], text["IssuerOfPatientID"], salt),
        " ".join(text[name][:LONGEST_DEVICE] for name in ("Manufacturer", "ManufacturerModelName") if text[name]),
        _date(text["StudyDate"]),
    )


def pseudonym(patient_id: str, issuer: str, salt: bytes) -> str:
    """Return the group of a patient, 16 hexadecimal digits; empty for an empty `patient_id`, who may be anyone.

    A number is only unique together with who issued it (PS3.3 section C.7.1.1), so both are hashed,
    parted by a character that neither may hold.
    """
    if not patient_id.strip():
        return ""
    words = f"{patient_id.strip()}\\{issuer.strip()}".encode("utf-8", "surrogatepass")
    return hmac.new(salt, words, hashlib.sha256).hexdigest()[:GROUP_LENGTH]


def own_salt() -> bytes:
    """Return the user's salt: $FOVEAL_DICOM_SALT, else that of the file `salt_file`, which is made on first use.

    Raises UsageError for a salt that is too short to keep anything secret, or a file that cannot be read or made.
    """
    given = os.environ.get(SALT_VARIABLE)
    if given is not None:
        return _long_enough(given.encode("utf-8", "surrogateescape"), f"${SALT_VARIABLE}")
    path = salt_file()
    try:
        if not path.exists():
            _make(path)
        salt = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(
            f"{path}, which keeps the salt for patients' pseudonyms, cannot be used: {error.strerror or error}; "
            f"give one in ${SALT_VARIABLE} ({SHORTEST_SALT} characters or more)."
        ) from error
    return _long_enough(salt, str(path))


def salt_file() -> Path:
    """Return where the salt lies: not in the cache, which may be emptied, and with it every pseudonym changed."""
    from platformdirs import user_config_path

    return user_config_path("foveal", appauthor=False) / SALT_FILE


def _make(path: Path) -> None:
    """Write a random salt that only its owner may read; where another process was faster, its salt stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(SALT_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)  # unlike a rename, it never replaces
    finally:
        temporary.unlink(missing_ok=True)


def _long_enough(salt: bytes, place: str) -> bytes:
    if len(salt) < SHORTEST_SALT:
        raise UsageError(f"The salt in {place} has fewer than {SHORTEST_SALT} characters; give a long random one.")
    return salt


def _date(text: str) -> str:
    """Return a date as YYYYMMDD, also that of ACR-NEMA (YYYY.MM.DD, PS3.5 section 6.2); empty for what is none."""
    digits = text.replace(".", "")
    try:
        return digits if len(digits) == 8 and date.fromisoformat(digits) else ""
    except ValueError:
        return ""


def _text(value: object) -> str:
    """Return a value as one line of printable characters."""
    text = "" if value is None else str(value)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
