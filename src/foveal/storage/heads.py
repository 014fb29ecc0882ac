"""Signed heads: the number and the hash of the trail's last row at some moment, with a signature.

A head that is kept elsewhere shows what the chain alone cannot: that the end was cut off, or that every row from
some point on was written anew with hashes that fit. Ed25519; the key lies in the data directory, for its owner only.

::

    keys/trail.key   the private key, 64 hexadecimal digits, mode 0600
    keys/trail.pub   the public key, for whoever verifies elsewhere
    heads.jsonl      one head a line, as they were signed
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from foveal.errors import StorageError
from foveal.storage.faults import of_file
from foveal.storage.ids import now_us

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from sqlalchemy import Connection

PublicKey: TypeAlias = "Ed25519PublicKey"
TAIL = 4096  # bytes; no head is as long
PURPOSE = "foveal trail head 1"  # is signed with it: such a signature means nothing elsewhere


@dataclass(frozen=True)
class SignedHead:
    """The last row of the trail at `made_at`, signed."""

    seq: int
    hash: str
    made_at: int  # microseconds since 1970, UTC
    signature: str  # 128 hexadecimal digits
    public_key: str = ""  # 64 hexadecimal digits; of the key that signed it


def _message(seq: int, digest: str, made_at: int) -> bytes:
    return json.dumps([PURPOSE, seq, digest, made_at], separators=(",", ":")).encode()


def sign(key: Ed25519PrivateKey, seq: int, digest: str) -> SignedHead:
    """Return the head of row `seq`, which has the hash `digest`, signed now."""
    made_at = now_us()
    public = key.public_key().public_bytes_raw().hex()
    return SignedHead(seq, digest, made_at, key.sign(_message(seq, digest, made_at)).hex(), public)


def is_signed(head: SignedHead, public_key: PublicKey) -> bool:
    """Return whether `head` was signed with the private half of `public_key`."""
    from cryptography.exceptions import InvalidSignature

    try:
        public_key.verify(bytes.fromhex(head.signature), _message(head.seq, head.hash, head.made_at))
    except (InvalidSignature, ValueError):
        return False
    return True


def public_key_of(digits: str) -> PublicKey:
    """Return the public key written as 64 hexadecimal digits."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(digits.strip()))
    except ValueError:
        raise StorageError("A public key of a trail is 64 hexadecimal digits.") from None


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """Return the key in ``folder/trail.key``; where there is none one is made, for the owner's eyes only."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = folder / "trail.key"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_key(path)
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StorageError(f"{path} may be read by others: chmod 600 it, and take a new key if somebody did.")
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise of_file(error, "the trail's key") if isinstance(error, OSError) else _no_key(path) from error
    try:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    except ValueError:
        raise _no_key(path) from None
    public = folder / "trail.pub"
    if not public.exists():
        with suppress(OSError):  # a copy for people; the key itself holds it
            public.write_text(key.public_key().public_bytes_raw().hex() + "\n", "ascii")
    return key


def _no_key(path: Path) -> StorageError:
    return StorageError(f"{path} holds no key: restore it from a backup, or take it away so that a new one is made.")


def _make_key(path: Path) -> None:
    """Write a new key under another name and link it, so that two processes come out with one."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(32).hex().encode() + b"\n")
        os.fsync(handle)
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        os.close(handle)
        part.unlink(missing_ok=True)
    _flush(path.parent)


def sign_last(connection: Connection, key: Ed25519PrivateKey, file: Path) -> SignedHead | None:
    """Sign the trail's last row and add its head to `file`, flushed; nothing where the trail is empty.

    Where nothing was appended since the file's last head, that one is given back.
    """
    from sqlalchemy import select

    from foveal.storage.tables import trail

    row = connection.execute(select(trail.c.seq, trail.c.hash).order_by(trail.c.seq.desc()).limit(1)).first()
    if row is None:
        return None
    newest = _newest(file)
    if newest and (newest.seq, newest.hash) == (row.seq, row.hash) and is_signed(newest, key.public_key()):
        return newest
    head = sign(key, row.seq, row.hash)
    _append(file, json.dumps(asdict(head)) + "\n")
    return head


def _newest(file: Path) -> SignedHead | None:
    """Return the last whole head of a file, or nothing where there is none that can be read."""
    try:
        with file.open("rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - TAIL))
            lines = handle.read().split(b"\n")[:-1]
        return _head(lines[-1].decode(), file, 0)
    except (OSError, UnicodeDecodeError, IndexError, StorageError):
        return None


def _append(file: Path, line: str) -> None:
    """Add a line and flush it; half a line that a power cut left at the end is cut off first."""
    try:
        fresh = not file.exists()
        with file.open("ab+") as handle:
            _lock(handle.fileno())
            end = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, end - TAIL))
            tail = handle.read()
            if tail and not tail.endswith(b"\n"):
                handle.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
            handle.write(line.encode())
            handle.flush()
            os.fsync(handle.fileno())
        if fresh:
            _flush(file.parent)
    except OSError as error:
        raise of_file(error, "the file of signed heads") from error


def _lock(handle: int) -> None:
    with suppress(ImportError):  # no such locks on this system
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_heads(file: Path) -> list[SignedHead]:
    """Return the heads of a file, one a line; a last line without an end was never finished and is left out."""
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise StorageError(f"{file} holds no signed heads.") from None
    except OSError as error:
        raise of_file(error, f"the file of signed heads {file}") from error
    lines = text.split("\n")
    if "\n" in text:
        lines.pop()  # what comes after the last line's end
    return [_head(line, file, number) for number, line in enumerate(lines, 1) if line.strip()]


def _head(line: str, file: Path, number: int) -> SignedHead:
    try:
        given = json.loads(line)
        head = SignedHead(**{field.name: given[field.name] for field in fields(SignedHead)})
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{file}:{number} is no signed head; foveal trail head prints one.") from None
    texts = (head.hash, head.signature, head.public_key)
    if type(head.seq) is not int or type(head.made_at) is not int or not all(isinstance(one, str) for one in texts):
        raise StorageError(f"{file}:{number} is no signed head; foveal trail head prints one.")
    return head
