"""Sending content, listings, memories and lists of chunks to another server, on a connection that does nothing else meanwhile.

Content goes out as it is read: the asker proves it. A whole is hashed on its way all the same, so that rot is found by whoever has it;
that, and a file that was rewritten meanwhile, ends in `Failed`, never in `End`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from blake3 import blake3

from accord.codec import encode_events
from accord.engine.transfer import fed
from accord.errors import AccordError, IntegrityError, InvalidPath, PeerUnreachable, StoreFailed
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Answer, Checking, Damaged, Present
from accord.peers.answers import encode_answer
from accord.peers.failures import failed, reason_of
from accord.peers.framing import data_header
from accord.peers.message import Message
from accord.peers.wire import (
    MAX_CHUNKS_PER_FRAME,
    ChunkList,
    ChunksOf,
    End,
    Failed,
    Failure,
    Fetch,
    List,
    Memories,
    Page,
    Recall,
)
from accord.server.peer_signs import awaited, sign_interval_s
from accord.store.port import BLOCK_BYTES, Copy, Store, is_answer

PAGE_FRAME_BYTES = 1024 * 1024
"""A frame of a listing has about this many bytes at most."""
MEMORIES_A_FRAME = 256
"""Each has a message and a source of a few thousand characters at most."""

_T = TypeVar("_T")
_Opened = TypeVar("_Opened", Copy | Answer, Copy | None)


class Outlet(Protocol):
    """Where a transfer is sent to."""

    def send(self, message: Message) -> None: ...

    def write(self, header: bytes, block: bytes) -> None: ...

    async def drain(self) -> None:
        """Wait while the asker is behind. Raises `ConnectionResetError` when it takes nothing at all for long."""
        ...


async def send_transfer(
    outlet: Outlet, store: Store, request: Fetch | List | Recall | ChunksOf, *, hash_wait_s: float
) -> None:
    """Conduct one transfer to its `End` or `Failed`. Raises `PeerUnreachable` for a request that makes no sense."""
    transfer = _Transfer(outlet, store, request.patience_ms, hash_wait_s)
    try:
        match request:
            case Fetch():
                await transfer.content(request)
            case List():
                await transfer.listing(request)
            case Recall():
                await transfer.memories(request)
            case ChunksOf():
                await transfer.chunks(request)
        outlet.send(End())
    except _Ended as ended:
        outlet.send(Failed(ended.failure.value, ended.detail))
    except InvalidPath as error:
        raise PeerUnreachable(f"sent something that is no path ({reason_of(error)})") from error
    except AccordError as error:
        outlet.send(failed(error))


class _Ended(Exception):
    """The transfer ends here, and the asker is told why."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


_CHANGED = "its copy was changed while it was read"


class _Transfer:
    def __init__(self, outlet: Outlet, store: Store, patience_ms: int, hash_wait_s: float) -> None:
        self._outlet = outlet
        self._store = store
        self._sign_every_s = sign_interval_s(patience_ms)
        self._hash_wait_s = hash_wait_s

    async def content(self, request: Fetch) -> None:
        copy = await self._version(FilePath(request.path), Digest(request.digest))
        try:
            start = min(request.start, copy.answer.size)
            stop = copy.answer.size if request.stop is None else min(request.stop, copy.answer.size)
            await self._raw(copy, start, stop)
        finally:
            copy.close()

    async def listing(self, request: List) -> None:
        after = None if request.after is None else FilePath(request.after)
        pages = self._store.walk(Prefix(request.prefix), after)
        loop = asyncio.get_running_loop()
        step = loop.run_in_executor(None, next, pages, None)
        try:
            while (page := await self._alive(asyncio.shield(step))) is not None:
                for frame in _frames(page):
                    self._outlet.send(frame)
                await self._outlet.drain()
                step = loop.run_in_executor(None, next, pages, None)
        finally:
            # Its thread may still be at work; it can be closed only afterwards.
            step.add_done_callback(lambda _: _close(pages))

    async def memories(self, request: Recall) -> None:
        remembered = await self._alive(self._store.history(FilePath(request.path)))
        for at in range(0, len(remembered), MEMORIES_A_FRAME):
            some = remembered[at : at + MEMORIES_A_FRAME]
            events = encode_events([one.event for one in some])
            self._outlet.send(Memories(events, [one.is_current for one in some], [one.is_kept for one in some]))
            await self._outlet.drain()

    async def chunks(self, request: ChunksOf) -> None:
        copy = await self._version(FilePath(request.path), Digest(request.digest))
        try:
            chunks = await self._alive(copy.chunks())
        except IntegrityError:
            raise await self._found_out(copy) from None
        finally:
            copy.close()
        for at in range(0, len(chunks), MAX_CHUNKS_PER_FRAME):
            some = chunks[at : at + MAX_CHUNKS_PER_FRAME]
            self._outlet.send(ChunkList([chunk.size for chunk in some], b"".join(chunk.digest for chunk in some)))
            await self._outlet.drain()

    async def _version(self, path: FilePath, digest: Digest) -> Copy:
        """The copy at the path, if it is that version; otherwise wherever else that is kept."""
        held = await self._opened(path)
        if not is_answer(held):
            if held.answer.digest == digest:
                return await self._shared(held)
            held.close()
        kept = await self._closing_late(self._store.open_version(path, digest))
        if kept is None:
            raise _nowhere(held)
        now = self._store.glance_answer(path)
        # It may have come to the path meanwhile, and must not get out from there unnoticed.
        return await self._shared(kept) if isinstance(now, Present) and now.digest == digest else kept

    async def _shared(self, copy: Copy) -> Copy:
        try:
            await self._alive(self._store.share(copy))
        except BaseException:
            copy.close()
            raise
        return copy

    async def _opened(self, path: FilePath) -> Copy | Answer:
        held: Copy | Answer | None = self._store.glance(path)
        return await self._closing_late(self._store.open(path, wait_s=self._hash_wait_s)) if held is None else held

    async def _closing_late(self, opening: Awaitable[_Opened]) -> _Opened:
        """Await it; what is opened after nobody waits for it any more is closed."""
        task = asyncio.ensure_future(opening)
        try:
            return await self._alive(task)
        except asyncio.CancelledError:
            task.add_done_callback(_close_opened)
            raise

    async def _raw(self, copy: Copy, offset: int, stop: int) -> None:
        hasher = blake3() if offset == 0 and stop == copy.answer.size else None
        while offset < stop:
            wanted = min(BLOCK_BYTES, stop - offset)
            block = copy.read_now(offset, wanted)
            if block is None:
                try:
                    block = await copy.read(offset, wanted)
                except StoreFailed as error:
                    raise await self._found_out(copy) from error
            if len(block) != wanted:
                raise _Ended(Failure.CHANGED, _CHANGED)
            self._outlet.write(data_header(wanted), block)
            if hasher is not None:
                await fed(hasher, block)
            await self._outlet.drain()
            offset += wanted
        if not copy.unchanged():
            raise _Ended(Failure.CHANGED, _CHANGED)
        if hasher is not None and hasher.digest() != copy.answer.digest:
            raise await self._found_out(copy)

    async def _found_out(self, copy: Copy) -> _Ended:
        """What it means that the bytes of `copy` did not match; the store remembers it, so that the next question is answered right."""
        found = await self._alive(self._store.find_damage(copy))
        if isinstance(found, Damaged):
            return _Ended(Failure.DAMAGED, f"its copy is damaged ({found.reason})")
        return _Ended(Failure.CHANGED, _CHANGED)

    async def _alive(self, waiting: Awaitable[_T]) -> _T:
        """Await it, telling the asker meanwhile that the work goes on."""
        return await awaited(waiting, self._outlet, self._sign_every_s)


def _frames(page: Sequence[Walked]) -> Iterator[Page]:
    paths: list[str] = []
    answers: list[bytes] = []
    size_bytes = 0
    for path, answer in page:
        raw = encode_answer(answer)
        if paths and size_bytes + len(raw) + len(path) > PAGE_FRAME_BYTES:
            yield Page(paths, answers)
            paths, answers, size_bytes = [], [], 0
        paths.append(str(path))
        answers.append(raw)
        size_bytes += len(raw) + 4 * len(path)
    if paths:
        yield Page(paths, answers)


def _close(pages: Iterator[list[Walked]]) -> None:
    close = getattr(pages, "close", None)
    if close is not None:
        close()


def _close_opened(opening: asyncio.Future[Any]) -> None:
    if opening.cancelled() or opening.exception() is not None:
        return
    held = opening.result()
    if held is not None and not is_answer(held):
        held.close()


def _nowhere(held: Copy | Answer) -> _Ended:
    """Why a version cannot be sent that is kept nowhere, seen from what is at the path."""
    match held:
        case Checking(done, total):
            return _Ended(Failure.CHECKING, f"its copy is being hashed ({done} of {total} bytes)")
        case Damaged(reason):
            return _Ended(Failure.DAMAGED, f"its copy is damaged ({reason})")
        case _:
            return _Ended(Failure.GONE, "no longer holds that version")
