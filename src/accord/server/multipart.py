"""Multipart framing (RFC 2046 section 5.1): what stands between the bodies, and the exact length of the whole.

The bodies themselves are streamed by the caller. The boundary is passed in, and random: contents are not searched for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

BOUNDARY_BYTES = 16
"""How many random bytes a boundary is made of (as hex)."""

_BOUNDARY = re.compile(r"[0-9A-Za-z_]{8,70}\Z")


class Framing(NamedTuple):
    """Send `heads[i]`, then body `i`, and so on; at last `closing`. `total_bytes` counts it all, bodies included."""

    content_type: bytes
    heads: tuple[bytes, ...]
    closing: bytes
    total_bytes: int


def framed(subtype: str, boundary: str, parts: Iterable[tuple[Sequence[tuple[bytes, bytes]], int]]) -> Framing:
    """Frame `parts`, each its header fields and the length of its body in bytes. Raises ValueError for an unfit boundary."""
    if not _BOUNDARY.match(boundary):
        raise ValueError("a boundary is made of 8 to 70 letters and digits")
    heads: list[bytes] = []
    total_bytes = 0
    for fields, body_bytes in parts:
        delimiter = b"%b--%b\r\n" % (b"\r\n" if heads else b"", boundary.encode())
        head = delimiter + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"
        heads.append(head)
        total_bytes += len(head) + body_bytes
    closing = f"\r\n--{boundary}--\r\n".encode()
    content_type = f"multipart/{subtype}; boundary={boundary}".encode()
    return Framing(content_type, tuple(heads), closing, total_bytes + len(closing))
