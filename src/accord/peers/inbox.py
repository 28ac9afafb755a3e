"""What arrives for one transfer and was not taken yet: bounded, with a time limit for each wait.

A transfer holds at most `MAX_BUFFERED_BYTES` and what one read of the socket brings; beyond that the connection is not read, so that
the peer stops sending. What the items mean is left to `transfers` and `server.peer_changes`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sized

from accord.errors import PeerFailed, PeerUnreachable

MAX_BUFFERED_BYTES = 2 * 1024 * 1024
RESUME_BYTES = MAX_BUFFERED_BYTES // 2
SMALL_PIECE_BYTES = 64 * 1024
"""Pieces smaller than this are joined before they are handed on. Joining larger ones costs more than it saves: each join is a fresh
block of memory, whose pages the kernel has to clear."""


class Arrival:
    """Waiting for something to be among `items`, which the other end may take its time for, or never send."""

    def __init__(self, items: Sized) -> None:
        self._items = items
        self._error: PeerFailed | None = None
        self._waiter: asyncio.Future[None] | None = None

    def tell(self) -> None:
        """Something has come."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def lose(self, error: PeerFailed) -> None:
        """Nothing will come any more."""
        self._error = error
        self.tell()

    async def wait(self, patience_s: float) -> None:
        """Raises the reason of a lost connection once nothing is left of what came before that, and `PeerUnreachable`."""
        if not self._items and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(patience_s):
                    await self._waiter
            except TimeoutError:
                raise PeerUnreachable(f"sent nothing for {patience_s:g} s") from None
            finally:
                self._waiter = None
        if self._error is not None and not self._items:
            raise self._error


class Inbox:
    """What arrives for one transfer and was not taken yet. `hold` is told whether to go on reading."""

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._items: deque[tuple[bool, bytes]] = deque()
        self._buffered_bytes = 0
        self._arrival = Arrival(self._items)

    @property
    def is_empty(self) -> bool:
        return not self._items

    def message(self, payload: bytes) -> None:
        self._put(False, payload)

    def data(self, piece: bytes) -> None:
        self._put(True, piece)

    def lost(self, error: PeerFailed) -> None:
        self._arrival.lose(error)

    def _put(self, is_data: bool, payload: bytes) -> None:
        self._items.append((is_data, payload))
        self._buffered_bytes += len(payload)
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            self._hold(False)
        self._arrival.tell()

    async def next(self, patience_s: float) -> tuple[bool, bytes]:
        """(is it data, payload or piece). Raises the reason of a lost connection once all that came before it was taken."""
        await self._arrival.wait(patience_s)
        is_data, payload = self._items.popleft()
        self._buffered_bytes -= len(payload)
        if is_data and len(payload) < SMALL_PIECE_BYTES and self._items:
            payload = self._joined(payload)
        if self._buffered_bytes < RESUME_BYTES:
            self._hold(True)
        return is_data, payload

    def _joined(self, first: bytes) -> bytes:
        pieces, size = [first], len(first)
        while self._items and self._items[0][0] and size < SMALL_PIECE_BYTES:
            piece = self._items.popleft()[1]
            size += len(piece)
            pieces.append(piece)
        self._buffered_bytes -= size - len(first)
        return b"".join(pieces) if len(pieces) > 1 else first
