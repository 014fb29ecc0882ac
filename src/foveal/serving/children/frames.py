"""Frames: how a child process and the service talk over a socket, and the child's side of it.

A frame is two lengths, little-endian, four bytes each; then so many bytes of JSON; then so many bytes as they are.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

HEAD = struct.Struct("<II")
MOST_JSON = 1 << 16  # bytes


def frame_head(facts: bytes, body_bytes: int) -> bytes:
    """Return what goes before the body of a frame: the lengths, and the JSON `facts`."""
    return HEAD.pack(len(facts), body_bytes) + facts


def receive(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """Return the JSON and the body of the next frame; None when the other side has gone."""
    head = _exactly(connection, HEAD.size)
    if head is None:
        return None
    facts_bytes, body_bytes = HEAD.unpack(head)
    facts = _exactly(connection, facts_bytes)
    body = _exactly(connection, body_bytes)
    return None if facts is None or body is None else (facts, body)


def send(connection: socket.socket, facts: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Send one frame; a body of more than 4 GiB cannot be."""
    written = json.dumps(facts, separators=(",", ":")).encode()
    head, rest = frame_head(written, len(body)), memoryview(body)
    sent = connection.sendmsg([head, rest])
    if sent < len(head):
        connection.sendall(head[sent:])
    if sent < len(head) + len(rest):
        connection.sendall(rest[max(0, sent - len(head)) :])


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    """Return the next `count` bytes, for a small frame by one call; None when they do not come."""
    found = connection.recv(count, socket.MSG_WAITALL) if count else b""
    while len(found) < count:  # interrupted, or a system without MSG_WAITALL for sockets of this kind
        more = connection.recv(count - len(found), socket.MSG_WAITALL)
        if not more:
            return None
        found += more
    return found
