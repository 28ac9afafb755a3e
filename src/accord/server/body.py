"""The body of one request while it arrives: in large blocks, with a bound on what waits, at the client's pace or not at all.

`server.protocol` puts in what the parser finds, the route takes it out. Once a long body is wanted, it is read past the parser, from
the socket straight into blocks. What the bytes are for is left to the route; what becomes of a connection whose body nobody has read,
to `server.exchange`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from accord.errors import RequestTooSlow
from accord.server.blocks import Blocks
from accord.server.stand_in import StandIn
from accord.store.port import BLOCK_BYTES

BUFFER_BYTES = 4 * 1024 * 1024
"""Beyond this the parser is not fed, until the route has taken what there is. Of what is read past it, the blocks hold as much."""
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

    def read_past_parser(self, body: RequestBody) -> None:
        """From now on what comes is put into `body`'s room."""
        ...

    def parse_on(self) -> None:
        """The body is over; what comes next is a request."""
        ...


class RequestBody:
    """One body. `announced_bytes` is the Content-Length, None where the body is chunked."""

    __slots__ = (
        "_blocks",
        "_buffered_bytes",
        "_connection",
        "_expects_continue",
        "_heard_s",
        "_is_lost",
        "_missing_bytes",
        "_pieces",
        "_stall_watch",
        "_waiter",
        "announced_bytes",
        "is_complete",
    )

    def __init__(self, connection: Connection, announced_bytes: int | None, *, expects_continue: bool) -> None:
        self._connection = connection
        self._expects_continue = expects_continue
        self._pieces: list[bytes | memoryview] = []
        """What the parser found, and was not taken."""
        self._buffered_bytes = 0
        self._missing_bytes = announced_bytes or 0
        """So many of those that were announced are still to come."""
        self._blocks: Blocks | None = None
        """Once the body is read past the parser."""
        self._waiter: asyncio.Future[None] | None = None
        self._heard_s = 0.0
        self._is_lost = False
        self.announced_bytes = announced_bytes
        self.is_complete = False
        """All of it has arrived, whether it was taken out or not."""

    async def read(self) -> bytes | memoryview:
        """The next block, or an empty one at the end: memory that stays as it is until the second call after this one. The first call
        tells a client that waits for it (`Expect: 100-continue`) to go on.

        Raises `ConnectionResetError` when the client has gone before the end, and `RequestTooSlow`.
        """
        if self._blocks is None and self._missing_bytes >= BLOCK_BYTES and not self._is_lost:
            self._blocks = Blocks()
            self._settle(self._blocks)
            self._connection.read_past_parser(self)
        if not self._is_ready():
            if self._expects_continue:
                self._connection.transport.write(_CONTINUE)
            self._connection.flow.resume_reading()
            await self._wait()
        self._expects_continue = False
        if self._is_lost and not self.is_complete:
            raise ConnectionResetError("the client has gone")
        block = self._taken() if self._blocks is None else self._next_of(self._blocks)
        if not self.is_complete and not self.is_full:
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
        """The parser has found more of it."""
        self._pieces.append(piece)
        self._buffered_bytes += len(piece)
        self._missing_bytes -= len(piece)
        self._hear()

    def room(self) -> memoryview:
        """Where the next bytes belong, of a body that is read past the parser."""
        assert self._blocks is not None
        room = self._blocks.room()
        assert room is not None, "nothing is read where there is no room"
        return room[: self._missing_bytes]

    def filled(self, count: int) -> None:
        """So many are there."""
        assert self._blocks is not None
        self._blocks.filled(count)
        self._missing_bytes -= count
        if not self._missing_bytes:
            self._blocks.cut()
            self._connection.parse_on()  # which tells that this was the end
        self._hear()

    def end(self) -> None:
        self.is_complete = True
        self._wake()

    def lose(self) -> None:
        """The connection is gone. What has come is a whole content all the same, if it is complete."""
        self._is_lost = True
        if not self.is_complete:
            self.let_go()
        self._wake()

    def let_go(self) -> None:
        """Nobody reads any more. The connection may rest for long, and this is not to be kept that long."""
        self._pieces.clear()
        self._buffered_bytes = 0
        self._blocks = None

    def _hear(self) -> None:
        self._heard_s = self._connection.loop.time()
        self._expects_continue = False
        if self.is_full:
            self._connection.flow.pause_reading()
        self._wake()

    # --- what was not taken yet ---

    @property
    def is_full(self) -> bool:
        """There is no room for more, and the socket must not be read."""
        if self._blocks is None:
            return self._buffered_bytes >= BUFFER_BYTES
        return self._blocks.room() is None

    def _is_ready(self) -> bool:
        if self.is_complete or self._is_lost:
            return True
        return self._buffered_bytes >= BLOCK_BYTES if self._blocks is None else self._blocks.count > 0

    def _taken(self) -> bytes | memoryview:
        block = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered_bytes = 0
        return block

    def _next_of(self, blocks: Blocks) -> bytes | memoryview:
        block = blocks.take() if blocks.count else b""
        self._settle(blocks)
        return block

    def _settle(self, blocks: Blocks) -> None:
        """What the parser found goes first."""
        while self._pieces:
            rest = blocks.put(memoryview(self._pieces[0]))
            if rest:
                self._pieces[0] = rest
                return
            del self._pieces[0]

    # --- waiting ---

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


class BodyReader(StandIn):
    """Puts what arrives into a body, as long as it lasts."""

    def __init__(self, home: asyncio.Protocol, body: RequestBody) -> None:
        super().__init__(home)
        self._body = body

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._body.room()

    def buffer_updated(self, nbytes: int) -> None:
        self._body.filled(nbytes)
