"""What is had from a peer bit by bit: content, listings, memories, lists of chunks, and word of what it brought up to date.

Each takes a connection of the peer's `pool` for itself. A transfer that is not used up takes its connection with it; the others are
kept for a while. Whether the bytes are the right ones is left to whoever asked for them; how much is held at once, to `inbox`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

from accord.codec import decode_events
from accord.errors import IntegrityError, InvalidPath, PeerFailed, PeerUnreachable
from accord.model.chunks import CHUNK_ENTRY_BYTES, MAX_CHUNK_BYTES, Chunk
from accord.model.chunks import ChunkList as Chunks
from accord.model.history import Remembered
from accord.model.listing import Walked
from accord.model.names import DIGEST_BYTES, Digest, FilePath, Prefix
from accord.model.verdict import Answer, Unreachable
from accord.peers.answers import MAX_REASON_CHARS, decode_answer
from accord.peers.failures import fetch_error, not_asked_for
from accord.peers.inbox import Inbox
from accord.peers.pool import Pool, Turns
from accord.peers.stream import Stream
from accord.peers.uploads import PeerUpload
from accord.peers.wire import (
    MAX_PATHS_PER_FRAME,
    ChunkList,
    ChunksOf,
    End,
    Failed,
    Fetch,
    List,
    Memories,
    Page,
    Recall,
    Transfer,
    Update,
    Updated,
    Working,
    decode,
    replies,
)

MAX_FETCHES = 16
MAX_LISTINGS = 16
"""Counted apart, as whoever reads a listing may be slow, and files are not to wait for that."""
MAX_UPDATES = 4
"""A server brings its files up to date one after the other; who asks it for more than that would only wait."""
MAX_UPLOADS = 32
MAX_WAITING_TRANSFERS = 256
MAX_WAITING_UPLOADS = 1024
MAX_REMEMBERED = 100_000
"""A peer that says that it remembers more versions of one path than this is not listened to any longer."""
MAX_CHUNKS = 1_000_000
"""Nor is one that cuts a version into more chunks."""

_T = TypeVar("_T")


class Transfers:
    """The transfers from one peer, and the uploads to it, over the connections of `pool`."""

    def __init__(self, pool: Pool, *, patience_s: float) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self._fetches = Turns(MAX_FETCHES, MAX_WAITING_TRANSFERS)
        self._listings = Turns(MAX_LISTINGS, MAX_WAITING_TRANSFERS)
        self._updates = Turns(MAX_UPDATES, MAX_WAITING_TRANSFERS)
        self._uploads = Turns(MAX_UPLOADS, MAX_WAITING_UPLOADS)

    async def fetch(self, path: FilePath, digest: Digest, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        """See `Peers.fetch`."""
        left = None if stop is None else stop - start
        request = Fetch(str(path), bytes(digest), start, stop, self._patience_ms)
        async with aclosing(self._transfer(request, path, self._fetches, bytes)) as pieces:
            async for piece in pieces:
                if left is not None:
                    if len(piece) > left:
                        raise not_asked_for(path)
                    left -= len(piece)
                yield piece

    async def list(self, prefix: Prefix, after: FilePath | None) -> AsyncGenerator[Sequence[Walked], None]:
        """See `Peers.list`. What is not in order, or not below `prefix`, ends it."""
        last: str = after or ""
        request = List(str(prefix), None if after is None else str(after), self._patience_ms)
        async with aclosing(self._transfer(request, None, self._listings, Page)) as pages:
            async for page in pages:
                if len(page.paths) != len(page.answers):
                    raise not_asked_for()
                walked = [_walked(path, raw) for path, raw in zip(page.paths, page.answers, strict=True)]
                for path, _ in walked:
                    if not (path > last and path.startswith(prefix)):
                        raise PeerUnreachable(f"listed '{path}' where it does not belong")
                    last = path
                yield walked

    async def recall(self, path: FilePath) -> Sequence[Remembered]:
        """See `Peers.recall`."""
        request = Recall(str(path), self._patience_ms)
        remembered: list[Remembered] = []
        async with aclosing(self._transfer(request, path, self._listings, Memories)) as frames:
            async for memories in frames:
                remembered += _remembered(memories, path)
                if len(remembered) > MAX_REMEMBERED:
                    raise PeerUnreachable(f"remembers more than {MAX_REMEMBERED} versions", path=path)
        return remembered

    async def update(self, paths: Sequence[FilePath]) -> Sequence[str | None]:
        """See `Peers.update`."""
        if len(paths) > MAX_PATHS_PER_FRAME:
            raise ValueError(f"{len(paths)} paths at once; at most {MAX_PATHS_PER_FRAME} are allowed")
        request = Update([str(path) for path in paths], self._patience_ms)
        reasons: list[str | None] = []
        async with aclosing(self._transfer(request, None, self._updates, Updated)) as told:
            async for updated in told:
                reasons.append(None if updated.reason is None else updated.reason[:MAX_REASON_CHARS])
                if len(reasons) > len(paths):
                    raise not_asked_for()
        if len(reasons) < len(paths):
            raise PeerUnreachable("did not say what became of every path")
        return reasons

    async def chunks(self, path: FilePath, digest: Digest) -> Sequence[Chunk]:
        """See `Peers.chunks`."""
        request = ChunksOf(str(path), bytes(digest), self._patience_ms)
        packed = bytearray()
        async with aclosing(self._transfer(request, path, self._fetches, ChunkList)) as frames:
            async for told in frames:
                if len(told.digests) != DIGEST_BYTES * len(told.sizes):
                    raise not_asked_for(path)
                digests = (told.digests[at : at + DIGEST_BYTES] for at in range(0, len(told.digests), DIGEST_BYTES))
                if any(size > MAX_CHUNK_BYTES for size in told.sizes):
                    raise PeerUnreachable("cuts it into chunks that nobody takes", path=path)
                packed += Chunks.of(map(Chunk, told.sizes, map(Digest, digests))).packed
                if len(packed) > MAX_CHUNKS * CHUNK_ENTRY_BYTES:
                    raise PeerUnreachable(f"cuts it into more than {MAX_CHUNKS} chunks", path=path)
        return Chunks(bytes(packed))

    def upload(self, size: int | None) -> PeerUpload:
        """See `Peers.upload`."""
        return PeerUpload(self._pool, self._uploads, size, patience_s=self._patience_s)

    @property
    def _patience_ms(self) -> int:
        return int(self._patience_s * 1000)

    async def _transfer(
        self, request: Transfer, path: FilePath | None, turns: Turns, kind: type[_T]
    ) -> AsyncGenerator[_T, None]:
        """Pieces of data (`bytes`) or messages of one kind, until the peer says that it is the end."""
        obstacle = self._pool.obstacle()
        if obstacle is not None:
            raise PeerUnreachable(obstacle, path=path)
        async with turns.one():
            try:
                stream, inbox, (is_data, payload) = await self._begun(request)
            except PeerFailed as error:
                raise PeerUnreachable(error.detail, path=path) from error
            ended = False
            try:
                while True:
                    item = payload if is_data else decode(replies, payload)
                    if isinstance(item, End | Failed):
                        ended = True
                        break
                    if isinstance(item, kind):
                        yield item
                    elif not isinstance(item, Working):
                        raise not_asked_for()
                    is_data, payload = await inbox.next(self._patience_s)
            except PeerFailed as error:
                raise PeerUnreachable(error.detail, path=path) from error
            finally:
                self._pool.rest(stream, ended)
            if isinstance(item, Failed):
                raise fetch_error(item, path)

    async def _begun(self, request: Transfer) -> tuple[Stream, Inbox, tuple[bool, bytes]]:
        """A stream on which the request was sent, and the first of what came back."""
        while True:
            stream, fresh = await self._pool.stream()
            try:
                inbox = Inbox(stream.hold)
                stream.receiver = inbox
                stream.send(request)
                return stream, inbox, await inbox.next(self._patience_s)
            except PeerUnreachable:
                # A connection that rested may have been closed by the peer just now; that says nothing about a new one.
                if fresh or stream.open:
                    self._pool.rest(stream, ended=False)
                    raise
                self._pool.rest(stream, ended=False)
            except BaseException:
                self._pool.rest(stream, ended=False)
                raise


def _walked(path: str, raw: bytes) -> Walked:
    try:
        return Walked(FilePath(path), _answer(raw))
    except InvalidPath as error:
        raise PeerUnreachable(f"listed something that is no path ({error.detail})") from error


def _answer(raw: bytes) -> Answer:
    try:
        return decode_answer(raw)
    except PeerUnreachable as error:
        return Unreachable(error.detail)


def _remembered(memories: Memories, path: FilePath) -> list[Remembered]:
    try:
        events = decode_events(memories.events)
    except IntegrityError as error:
        raise PeerUnreachable(f"sent a history that cannot be read ({error.detail})", path=path) from error
    if not len(events) == len(memories.current) == len(memories.kept):
        raise not_asked_for(path)
    return list(map(Remembered, events, memories.current, memories.kept))
