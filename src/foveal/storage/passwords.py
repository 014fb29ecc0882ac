"""Passwords and the secrets of keys: what is stored of them is their argon2id hash."""

from __future__ import annotations

import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from foveal.errors import UsageError

SHORTEST, LONGEST = 12, 1024
hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106 for little memory


def hashed(secret: str) -> str:
    """Return the argon2id hash of `secret`; it takes tens of milliseconds, so not while a transaction is open."""
    return hasher.hash(_normal(secret))


def is_right(stored: str | None, secret: str) -> bool:
    """Say whether `secret` is the one that `stored` is the hash of; where nothing is stored it takes as long."""
    try:
        return hasher.verify(stored or _nobody(), _normal(secret)) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False


def check_password(password: str, name: str) -> None:
    """Raise UsageError for a password that is too short, too long, the name, or one character repeated."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"A password has {SHORTEST} to {LONGEST} characters; a sentence is easiest to keep.")
    if name.casefold() in password.casefold() and len(password) < len(name) + 8:
        raise UsageError("A password is more than one's name with a few characters added.")
    if len(set(password)) < 5:
        raise UsageError("A password of fewer than five different characters is guessed at once.")


@cache
def _nobody() -> str:
    return hasher.hash("the hash that an unknown name is compared with")


def _normal(secret: str) -> str:
    return unicodedata.normalize("NFKC", secret)  # the same letters typed on another keyboard are the same password
