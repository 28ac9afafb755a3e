"""One request's content on its way into a resumable upload: in large blocks, checked, and kept as it comes.

Which requests may add to which upload is left to `server.uploads`; where the bytes are, to `server.upload_files`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request

from accord.errors import ChecksumMismatch, ContentTooLarge, RequestTooSlow
from accord.server.body import BODY_STALL_S
from accord.server.tus_fields import ALGORITHMS, Checksum
from accord.server.upload_files import Appending

KEPT_EVERY_BYTES = 64 * 1024 * 1024
"""A crash costs at most so much of a part without a checksum."""
WRITTEN_AT_ONCE_BYTES = 512 * 1024


class Part:
    """One request's content on its way to the disk; every method but `__init__` is for a thread."""

    def __init__(self, appending: Appending, checksum: Checksum | None, room: int) -> None:
        self._appending = appending
        self._checksum = checksum
        self._hash: Any = None if checksum is None else ALGORITHMS[checksum.algorithm]()
        self._room = room

    def write(self, block: bytes) -> None:
        self._room -= len(block)
        if self._room < 0:
            raise ContentTooLarge("More bytes came than the upload was to have.")
        if self._hash is not None:
            self._hash.update(block)
        self._appending.write(block)
        if self._hash is None and self._appending.written_bytes >= KEPT_EVERY_BYTES:
            self._appending.keep()

    def finish(self) -> None:
        """Raises `ChecksumMismatch`."""
        if self._checksum is not None and not hmac.compare_digest(self._hash.digest(), self._checksum.digest):
            raise ChecksumMismatch(f"The part's {self._checksum.algorithm} is not what Upload-Checksum says.")
        self._appending.keep()

    def close(self) -> None:
        self._appending.close()


async def large_blocks(request: Request) -> AsyncIterator[bytes]:
    """The request's content in large blocks. When it ends early, what has come is told first."""
    waiting: list[bytes] = []
    stream = request.stream()
    failure: Exception | None = None
    while True:
        try:
            async with asyncio.timeout(BODY_STALL_S):
                piece = await anext(stream, None)
        except TimeoutError:
            failure, piece = RequestTooSlow(f"No byte came for {BODY_STALL_S:.0f} seconds."), None
        except ClientDisconnect as gone:
            failure, piece = gone, None
        if piece:
            waiting.append(piece)
        if waiting and (piece is None or sum(map(len, waiting)) >= WRITTEN_AT_ONCE_BYTES):
            yield b"".join(waiting)
            waiting.clear()
        if failure is not None:
            raise failure
        if piece is None:
            return
