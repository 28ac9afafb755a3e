"""Fetching content from a peer, and listing with it: a few further connections, each used by one transfer at a time.

A transfer that is not used up takes its connection with it; the others are kept for a while. Whether the bytes are the right ones is
left to whoever asked for them; how much is held at once, to `inbox`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from accord.errors import AccordError, IntegrityError, InvalidPath, NoSuchVersion, PeerFailed, PeerUnreachable
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Answer, Unreachable
from accord.peers.answers import MAX_REASON_CHARS, decode_answer
from accord.peers.inbox import Inbox
from accord.peers.stream import Stream
from accord.peers.wire import End, Failed, Failure, Fetch, List, Page, Working, decode, replies

MAX_FETCHES = 16
MAX_LISTINGS = 16
"""Counted apart, as whoever reads a listing may be slow, and files are not to wait for that."""
MAX_WAITING_TRANSFERS = 256
MAX_WAIT_S = 10.0
"""So long a transfer waits for its turn."""
IDLE_LIMIT_S = 15.0


class _Resting:
    """Receives on a connection that nobody uses: nothing is to come."""

    def message(self, payload: bytes) -> None:
        raise PeerUnreachable("sent something that was not asked for")

    data = message

    def lost(self, error: PeerFailed) -> None:
        """Its next user finds the stream closed."""


class _Turns:
    """At most `limit` transfers at once; the others wait, some of them, and not for ever."""

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._waiting = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises `PeerUnreachable`."""
        if self._waiting >= MAX_WAITING_TRANSFERS:
            raise PeerUnreachable("too many transfers are waiting for it")
        self._waiting += 1
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise PeerUnreachable("all connections to it are in use") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


class Transfers:
    """The transfers from one peer. `dial` brings a new authenticated stream; `obstacle` says why that would be of no use now."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Stream]],
        obstacle: Callable[[], str | None],
        *,
        patience_s: float,
    ) -> None:
        self._dial = dial
        self._obstacle = obstacle
        self._patience_s = patience_s
        self._fetches = _Turns(MAX_FETCHES)
        self._listings = _Turns(MAX_LISTINGS)
        self._streams: set[Stream] = set()
        self._idle: list[tuple[Stream, asyncio.TimerHandle]] = []

    async def close(self) -> None:
        """Breaks off whatever is under way."""
        while self._streams:
            stream = self._streams.pop()
            stream.end(PeerUnreachable("this server is stopping"))
            await stream.ended.wait()
        for _, timer in self._idle:
            timer.cancel()

    async def fetch(self, path: FilePath, digest: Digest, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        """See `Peers.fetch`."""
        left = None if stop is None else stop - start
        request = Fetch(str(path), bytes(digest), start, stop, self._patience_ms)
        async with aclosing(self._transfer(request, path)) as items:
            async for piece in items:
                if isinstance(piece, Page) or (left is not None and len(piece) > left):
                    raise PeerUnreachable("sent something that was not asked for", path=path)
                if left is not None:
                    left -= len(piece)
                yield piece

    async def list(self, prefix: Prefix, after: FilePath | None) -> AsyncGenerator[Sequence[Walked], None]:
        """See `Peers.list`. What is not in order, or not below `prefix`, ends it."""
        last: str = after or ""
        request = List(str(prefix), None if after is None else str(after), self._patience_ms)
        async with aclosing(self._transfer(request, None)) as items:
            async for page in items:
                if not isinstance(page, Page) or len(page.paths) != len(page.answers):
                    raise PeerUnreachable("sent something that was not asked for")
                walked = [self._walked(path, raw) for path, raw in zip(page.paths, page.answers, strict=True)]
                for path, _ in walked:
                    if not (path > last and path.startswith(prefix)):
                        raise PeerUnreachable(f"listed '{path}' where it does not belong")
                    last = path
                yield walked

    @property
    def _patience_ms(self) -> int:
        return int(self._patience_s * 1000)

    def _walked(self, path: str, raw: bytes) -> Walked:
        try:
            return Walked(FilePath(path), _answer(raw))
        except InvalidPath as error:
            raise PeerUnreachable(f"listed something that is no path ({error.detail})") from error

    async def _transfer(self, request: Fetch | List, path: FilePath | None) -> AsyncGenerator[bytes | Page, None]:
        """Pieces of data and pages, until the peer says that it is the end."""
        obstacle = self._obstacle()
        if obstacle is not None:
            raise PeerUnreachable(obstacle, path=path)
        async with self._fetches.one() if isinstance(request, Fetch) else self._listings.one():
            try:
                stream, inbox, (is_data, payload) = await self._begun(request)
            except PeerFailed as error:
                raise PeerUnreachable(error.detail, path=path) from error
            ended = False
            try:
                while True:
                    if is_data:
                        yield payload
                    else:
                        reply = decode(replies, payload)
                        if isinstance(reply, End | Failed):
                            ended = True
                            break
                        if isinstance(reply, Page):
                            yield reply
                        elif not isinstance(reply, Working):
                            raise PeerUnreachable("sent something that was not asked for")
                    is_data, payload = await inbox.next(self._patience_s)
            except PeerFailed as error:
                raise PeerUnreachable(error.detail, path=path) from error
            finally:
                self._rest(stream, ended)
            if isinstance(reply, Failed):
                raise self._failure(reply, path)

    async def _begun(self, request: Fetch | List) -> tuple[Stream, Inbox, tuple[bool, bytes]]:
        """A stream on which the request was sent, and the first of what came back."""
        while True:
            stream, fresh = await self._stream()
            try:
                inbox = Inbox(stream)
                stream.send(request)
                return stream, inbox, await inbox.next(self._patience_s)
            except PeerUnreachable:
                # A connection that rested may have been closed by the peer just now; that says nothing about a new one.
                if fresh or stream.open:
                    self._rest(stream, ended=False)
                    raise
                self._rest(stream, ended=False)
            except BaseException:
                self._rest(stream, ended=False)
                raise

    async def _stream(self) -> tuple[Stream, bool]:
        """(an open stream, whether it is new)."""
        while self._idle:
            stream, timer = self._idle.pop()
            timer.cancel()
            if stream.open:
                return stream, False
            self._streams.discard(stream)
        stream = await self._dial()
        self._streams.add(stream)
        return stream, True

    def _rest(self, stream: Stream, ended: bool) -> None:
        if ended and stream.open and stream in self._streams:
            stream.receiver = _Resting()
            stream.hold(reading=True)
            idle = PeerUnreachable("idle")
            self._idle.append((stream, asyncio.get_running_loop().call_later(IDLE_LIMIT_S, stream.end, idle)))
        else:
            stream.end(PeerUnreachable("the transfer was left"))
            self._streams.discard(stream)

    def _failure(self, failed: Failed, path: FilePath | None) -> AccordError:
        detail = failed.detail[:MAX_REASON_CHARS]
        match failed.failure:
            case Failure.GONE.value | Failure.CHANGED.value:
                return NoSuchVersion(detail, path=path)
            case Failure.DAMAGED.value:
                return IntegrityError(detail, path=path)
            case _:
                return PeerUnreachable(detail, path=path)


def _answer(raw: bytes) -> Answer:
    try:
        return decode_answer(raw)
    except PeerUnreachable as error:
        return Unreachable(error.detail)
