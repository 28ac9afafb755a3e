"""The body of one request while it arrives: in large blocks, with a bound on what waits, at the client's pace or not at all.

`server.protocol` puts in what the parser finds, the route takes it out. What the bytes are for is left to the route; what becomes of
a connection whose body nobody has read, to `server.exchange`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from accord.errors import RequestTooSlow

BLOCK_BYTES = 1024 * 1024
"""A read waits for so much, or for the end: each block costs the store and the peers a hop to a thread."""
BUFFER_BYTES = 4 * 1024 * 1024
"""Beyond this the socket is not read, until the route has taken what there is."""
DRAINED_BYTES = 256 * 1024
"""Of a body that is not wanted so much is read and thrown away; a longer one ends the connection."""
BODY_STALL_S = 60.0
"""How long a client that is waited for may send nothing at all."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """What a body needs of its connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl


class RequestBody:
    """One body. `announced_bytes` is the Content-Length, None where the body is chunked."""

    __slots__ = (
        "_buffered_bytes",
        "_connection",
        "_expects_continue",
        "_heard_s",
        "_is_lost",
        "_pieces",
        "_stall_watch",
        "_waiter",
        "announced_bytes",
        "is_complete",
    )

    def __init__(self, connection: Connection, announced_bytes: int | None, *, expects_continue: bool) -> None:
        self._connection = connection
        self._expects_continue = expects_continue
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._heard_s = 0.0
        self._is_lost = False
        self.announced_bytes = announced_bytes
        self.is_complete = False
        """All of it has arrived, whether it was taken out or not."""

    async def read(self) -> bytes:
        """The next block, or `b""` at the end. The first call tells a client that waits for it (`Expect: 100-continue`) to go on.

        Raises `ConnectionResetError` when the client has gone before the end, and `RequestTooSlow`.
        """
        if not self._is_ready():
            if self._expects_continue:
                self._connection.transport.write(_CONTINUE)
            self._connection.flow.resume_reading()
            await self._wait()
        self._expects_continue = False
        if self._is_lost and not self.is_complete:
            raise ConnectionResetError("the client has gone")
        block = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered_bytes = 0
        if not self.is_complete:
            # More may arrive while this block is dealt with.
            self._connection.flow.resume_reading()
        return block

    def can_be_drained(self) -> bool:
        """Whether the connection is still of use if nobody reads the rest."""
        if self.is_complete:
            return True
        # A client that waits for its 100 may send the body all the same, or not: nobody can tell what comes next.
        return not self._expects_continue and self.announced_bytes is not None and self.announced_bytes <= DRAINED_BYTES

    # --- the protocol's side ---

    def take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._buffered_bytes += len(piece)
        self._heard_s = self._connection.loop.time()
        self._expects_continue = False
        if self._buffered_bytes >= BUFFER_BYTES:
            self._connection.flow.pause_reading()
        self._wake()

    def end(self) -> None:
        self.is_complete = True
        self._wake()

    def lose(self) -> None:
        """The connection is gone."""
        self._is_lost = True
        self._wake()

    # --- waiting ---

    def _is_ready(self) -> bool:
        return self.is_complete or self._is_lost or self._buffered_bytes >= BLOCK_BYTES

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and self._is_ready():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        loop = self._connection.loop
        self._heard_s = loop.time()
        self._waiter = loop.create_future()
        self._stall_watch = loop.call_later(BODY_STALL_S, self._look)
        try:
            await self._waiter
        finally:
            self._stall_watch.cancel()
            self._waiter = None

    def _look(self) -> None:
        loop = self._connection.loop
        if self._waiter is None or self._waiter.done():
            return
        if loop.time() - self._heard_s >= BODY_STALL_S:
            self._waiter.set_exception(RequestTooSlow(f"No byte of the content came for {BODY_STALL_S:.0f} seconds."))
        else:
            self._stall_watch = loop.call_at(self._heard_s + BODY_STALL_S, self._look)
