"""A change on its way to one peer: content while it arrives, and then what became of it.

    Put, data …, PutEnd   →  Staged        any number of times, or not at all; untold where nobody waits for it
    Adopt                 →  Adopted
    at any time           →  Failed        that was it: the connection ends, and the peer drops what was not adopted

Small content is held back, and travels in one write with the change; nobody takes a turn, nor a connection, for less. Who asks for how
many connections is left to `pool`; what the peer does with it, to `server.peer_changes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from accord.codec import encode_clock, encode_events
from accord.errors import Conflict, PeerFailed, PeerUnreachable
from accord.model.history import Event
from accord.model.names import Digest, FilePath
from accord.model.verdict import Answer
from accord.model.versions import Clock
from accord.peers.answers import decode_answer
from accord.peers.failures import not_asked_for, upload_error
from accord.peers.framing import MAX_FRAME_BYTES, data_header, framed
from accord.peers.pool import Pool, Turns
from accord.peers.stream import GRACE_S, WRITE_BUFFER_BYTES, Stream
from accord.peers.wire import Adopt, Adopted, Failed, Put, PutEnd, Staged, Working, decode, replies

HELD_BACK_BYTES = 64 * 1024
"""Less than this waits for more, or for the change that it belongs to."""
REPLAY_BYTES = 1024 * 1024
"""So much is kept to be sent again, on a connection that rested and turns out to be closed."""


class PeerUpload:
    """See `peers.port.Upload`. Once it failed, every call but `close` fails for the same reason."""

    def __init__(self, pool: Pool, turns: Turns, size: int | None, *, patience_s: float) -> None:
        self._pool = pool
        self._turns = turns
        self._size = size
        self._patience_s = patience_s
        self._patience_ms = int(patience_s * 1000)
        self._has_turn = False
        self._stream: Stream | None = None
        self._held: list[bytes | memoryview] = []
        self._held_bytes = 0
        self._kept: list[bytes] | None = []
        """All that was sent, as long as it may have to be sent again."""
        self._kept_bytes = 0
        self._in_content = False
        self._is_all_held = True
        """Of the content under way nothing has been sent."""
        self._is_clean = True
        """Nothing is under way: the connection may be used by somebody else."""
        self._awaited: type[Staged] | type[Adopted] | None = None
        self._adopted = b""
        self._heard = 0
        self._lost: PeerFailed | None = None
        self._failure: Conflict | PeerFailed | None = None
        self._news: asyncio.Future[bool] | None = None

    async def write(self, block: bytes | memoryview) -> None:
        self._check()
        self._begin_content()
        for at in range(0, len(block), MAX_FRAME_BYTES):
            piece = block if len(block) <= MAX_FRAME_BYTES else block[at : at + MAX_FRAME_BYTES]
            self._hold_back(data_header(len(piece)))
            # `_send` waits until no more than that is unsent: so when the next such piece was sent, nothing of this one is left.
            self._hold_back(piece if len(piece) >= WRITE_BUFFER_BYTES else bytes(piece))
            if self._held_bytes > HELD_BACK_BYTES:
                await self._send()

    def finish_later(self, digest: Digest) -> bool:
        if not self._in_content or not self._is_all_held or self._failure is not None:
            return False
        self._in_content = False
        self._hold_back(framed(PutEnd(bytes(digest), is_awaited=False)))
        return True

    async def finish(self, digest: Digest) -> None:
        self._check()
        self._begin_content()
        self._in_content = False
        self._hold_back(framed(PutEnd(bytes(digest))))
        await self._answered(Staged)

    async def adopt(self, path: FilePath, clock: Clock, events: Sequence[Event]) -> Answer:
        if self._in_content:
            raise ValueError("a content is not finished")
        self._check()
        frame = framed(Adopt(str(path), encode_clock(clock), encode_events(events), self._patience_ms))
        if len(frame) > MAX_FRAME_BYTES:
            raise self._fail(PeerFailed(f"cannot be told what is known of the path: it is {len(frame)} bytes long"))
        self._is_clean = False
        self._hold_back(frame)
        await self._answered(Adopted)
        self._is_clean = True
        try:
            return decode_answer(self._adopted)
        except PeerUnreachable as error:
            raise self._fail(PeerUnreachable(error.detail)) from error

    async def close(self) -> None:
        if self._stream is not None:
            self._pool.rest(self._stream, ended=self._is_clean and self._failure is None)
            self._stream = None
        if self._has_turn:
            self._has_turn = False
            self._turns.give_back()
        self._held = []
        self._kept = None
        self._failure = self._failure or PeerUnreachable("the upload was closed")

    # --- what comes back: the stream's receiver ---

    def message(self, payload: bytes) -> None:
        self._heard += 1
        # The connection is alive; and what was done already is not to be done again.
        self._kept = None
        match decode(replies, payload):
            case Working():
                ...
            case Failed() as failed:
                self._failure = upload_error(failed)
                assert self._stream is not None
                self._stream.end(PeerUnreachable(failed.detail))
            case (Staged() | Adopted()) as reply if self._awaited is type(reply):
                self._awaited = None
                if isinstance(reply, Adopted):
                    self._adopted = reply.answer
            case _:
                raise not_asked_for()
        self._wake()

    def data(self, piece: bytes) -> None:
        raise not_asked_for()

    def lost(self, error: PeerFailed) -> None:
        self._lost = error
        self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            _came_in_time(self._news, True)

    # --- what goes out ---

    def _begin_content(self) -> None:
        """Announces the content, once. Raises `PeerUnreachable` at once for a peer that is known to be down."""
        if self._in_content:
            return
        obstacle = self._pool.obstacle() if self._stream is None else None
        if obstacle is not None:
            raise self._fail(PeerUnreachable(obstacle))
        self._in_content = self._is_all_held = True
        self._is_clean = False
        self._hold_back(framed(Put(self._size, self._patience_ms)))
        self._size = None

    def _hold_back(self, part: bytes | memoryview) -> None:
        self._held.append(part)
        self._held_bytes += len(part)

    async def _send(self) -> None:
        """What is held back, and wait while the peer is behind."""
        parts, self._held, self._held_bytes = self._held, [], 0
        self._is_all_held = False
        self._keep(parts)
        stream = self._stream
        if stream is None:
            stream = await self._connected()
        stream.write_all(parts)
        if not (stream.open and stream.writable):
            await self._until(lambda: self._stream is not None and self._stream.open and self._stream.writable)

    def _keep(self, parts: Sequence[bytes | memoryview]) -> None:
        self._kept_bytes += sum(map(len, parts))
        if self._kept_bytes > REPLAY_BYTES:
            self._kept = None
        if self._kept is not None:
            self._kept += map(bytes, parts)

    async def _answered(self, kind: type[Staged] | type[Adopted]) -> None:
        self._awaited = kind
        await self._send()
        await self._until(lambda: self._awaited is None)

    async def _connected(self, *, anew: bool = False) -> Stream:
        obstacle = self._pool.obstacle()
        if obstacle is not None:
            raise self._fail(PeerUnreachable(obstacle))
        try:
            if not self._has_turn:
                await self._turns.take()
                self._has_turn = True
            stream, fresh = (await self._pool.new_stream(), True) if anew else await self._pool.stream()
        except PeerFailed as error:
            raise self._fail(PeerUnreachable(error.detail)) from error
        if fresh:
            self._kept = None
        self._lost = None if stream.open else PeerUnreachable("connection lost")
        self._stream = stream
        stream.receiver = self
        stream.resumed = self._wake
        return stream

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait as long as the peer gives signs of life: it takes bytes, or says that it is at work."""
        while not done():
            self._raise_failure()
            if self._lost is not None:
                await self._again(self._lost)
                continue
            before = self._progress()
            if not await self._news_within(self._patience_s):
                await self._news_within(GRACE_S)
                if self._progress() == before and not done():
                    raise self._fail(PeerUnreachable(f"took nothing and said nothing for {self._patience_s:g} s"))

    async def _news_within(self, limit_s: float) -> bool:
        loop = asyncio.get_running_loop()
        self._news = news = loop.create_future()
        limit = loop.call_later(limit_s, _came_in_time, news, False)
        try:
            came: bool = await news
            return came
        finally:
            limit.cancel()
            self._news = None

    def _progress(self) -> tuple[int, int, bool]:
        unsent = self._stream.unsent_bytes if self._stream is not None else 0
        return unsent, self._heard, self._lost is None

    async def _again(self, lost: PeerFailed) -> None:
        """A connection that rested may have been closed by the peer just now; that says nothing about a new one."""
        parts = self._kept
        if parts is None:
            raise self._fail(PeerUnreachable(lost.detail))
        if self._stream is not None:
            self._pool.rest(self._stream, ended=False)
            self._stream = None
        (await self._connected(anew=True)).write_all(parts)

    def _check(self) -> None:
        self._raise_failure()
        if self._lost is not None and self._kept is None:
            raise self._fail(PeerUnreachable(self._lost.detail))

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: PeerFailed) -> PeerFailed:
        """The connection is of no more use, and the peer is to drop what it got."""
        self._failure = error
        if self._stream is not None:
            self._stream.end(PeerUnreachable("the upload was given up"))
        return error


def _came_in_time(news: asyncio.Future[bool], did: bool) -> None:
    if not news.done():
        news.set_result(did)
