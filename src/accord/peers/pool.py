"""The further connections to one peer, each used by one transfer or upload at a time, and kept for a while afterwards.

Here is who may use how many, and what becomes of a connection that was used; what travels on it is left to `transfers` and `uploads`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from accord.errors import PeerFailed, PeerUnreachable
from accord.peers.failures import not_asked_for
from accord.peers.stream import Stream

MAX_WAIT_S = 10.0
"""So long a transfer waits for its turn."""
IDLE_LIMIT_S = 15.0

_STOPPING = "this server is stopping"


class _Resting:
    """Receives on a connection that nobody uses: nothing is to come."""

    def message(self, payload: bytes) -> None:
        raise not_asked_for()

    data = message

    def lost(self, error: PeerFailed) -> None:
        """Its next user finds the stream closed."""


class Turns:
    """At most `limit` at once; up to `max_waiting` others wait, and not for ever."""

    def __init__(self, limit: int, max_waiting: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._max_waiting = max_waiting
        self._waiting = 0

    async def take(self) -> None:
        """Raises `PeerUnreachable`. Whoever took a turn gives it back."""
        if not self._free.locked():
            await self._free.acquire()  # at once
            return
        if self._waiting >= self._max_waiting:
            raise PeerUnreachable("too many transfers are waiting for it")
        self._waiting += 1
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise PeerUnreachable("all connections to it are in use") from None
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        self._free.release()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises `PeerUnreachable`."""
        await self.take()
        try:
            yield
        finally:
            self.give_back()


class Pool:
    """The connections. `dial` brings a new authenticated stream; `obstacle` says why that would be of no use now."""

    def __init__(self, dial: Callable[[], Awaitable[Stream]], obstacle: Callable[[], str | None]) -> None:
        self._dial = dial
        self.obstacle = obstacle
        self._streams: set[Stream] = set()
        self._idle: list[tuple[Stream, asyncio.TimerHandle]] = []
        self._is_closed = False

    async def close(self) -> None:
        """Breaks off whatever is under way."""
        self._is_closed = True
        while self._streams:
            stream = self._streams.pop()
            stream.end(PeerUnreachable(_STOPPING))
            await stream.ended.wait()
        for _, timer in self._idle:
            timer.cancel()

    async def stream(self) -> tuple[Stream, bool]:
        """(an open stream, whether it is new). Raises `PeerFailed`."""
        while self._idle:
            stream, timer = self._idle.pop()
            timer.cancel()
            if stream.open:
                return stream, False
            self._streams.discard(stream)
        return await self.new_stream(), True

    async def new_stream(self) -> Stream:
        """Raises `PeerFailed`."""
        self._check_open()
        stream = await self._dial()
        self._streams.add(stream)
        try:
            self._check_open()
        except PeerUnreachable:
            self.rest(stream, ended=False)
            raise
        return stream

    def _check_open(self) -> None:
        if self._is_closed:
            raise PeerUnreachable(_STOPPING)

    def rest(self, stream: Stream, ended: bool) -> None:
        """Back from its user. `ended`: everything that was begun on it has come to its end; otherwise it is of no more use."""
        stream.resumed = None
        if ended and stream.open and stream in self._streams:
            stream.receiver = _Resting()
            stream.hold(reading=True)
            idle = PeerUnreachable("idle")
            self._idle.append((stream, asyncio.get_running_loop().call_later(IDLE_LIMIT_S, stream.end, idle)))
        else:
            stream.end(PeerUnreachable("the transfer was left"))
            self._streams.discard(stream)
