"""Sending content and listings to another server, on a connection that does nothing else meanwhile.

Content goes out as it is read: the asker proves it. A whole is hashed on its way all the same, so that rot is found by whoever has it;
that, and a file that was rewritten meanwhile, ends in `Failed`, never in `End`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from typing import Protocol, TypeVar

from blake3 import blake3

from accord.engine.transfer import fed
from accord.errors import AccordError, ChangedWhileReading, IntegrityError, InvalidPath, PeerUnreachable, StillChecking
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Answer, Checking, Damaged
from accord.peers.answers import encode_answer
from accord.peers.framing import data_header
from accord.peers.wire import End, Failed, Failure, Fetch, List, Message, Page, Working
from accord.store.port import BLOCK_BYTES, Copy, Store, is_answer

PAGE_FRAME_BYTES = 1024 * 1024
"""A frame of a listing has about this many bytes at most."""
_SIGNS_OF_LIFE = 3
"""So many times within the asker's patience it is told that the work goes on."""

_T = TypeVar("_T")


class Outlet(Protocol):
    """Where a transfer is sent to."""

    def send(self, message: Message) -> None: ...

    def write(self, header: bytes, block: bytes) -> None: ...

    async def drain(self) -> None:
        """Wait while the asker is behind. Raises `ConnectionResetError` when it takes nothing at all for long."""
        ...


async def send_transfer(outlet: Outlet, store: Store, request: Fetch | List, *, hash_wait_s: float) -> None:
    """Conduct one transfer to its `End` or `Failed`. Raises `PeerUnreachable` for a request that makes no sense."""
    transfer = _Transfer(outlet, store, request.patience_ms / 1000, hash_wait_s)
    try:
        if isinstance(request, Fetch):
            await transfer.content(request)
        else:
            await transfer.listing(request)
        outlet.send(End())
    except _Ended as ended:
        outlet.send(Failed(ended.failure.value, ended.detail))
    except InvalidPath as error:
        raise PeerUnreachable(f"sent something that is no path ({_reason(error)})") from error
    except StillChecking as error:
        outlet.send(Failed(Failure.CHECKING.value, _reason(error)))
    except ChangedWhileReading as error:
        outlet.send(Failed(Failure.CHANGED.value, _reason(error)))
    except IntegrityError as error:
        outlet.send(Failed(Failure.DAMAGED.value, _reason(error)))
    except AccordError as error:
        outlet.send(Failed(Failure.STORE.value, _reason(error)))


def _reason(error: AccordError) -> str:
    """As it reads after a server's name."""
    return error.detail.removesuffix(".")


class _Ended(Exception):
    """The transfer ends here, and the asker is told why."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


_CHANGED = "its copy was changed while it was read"


class _Transfer:
    def __init__(self, outlet: Outlet, store: Store, patience_s: float, hash_wait_s: float) -> None:
        self._outlet = outlet
        self._store = store
        self._sign_every_s = max(patience_s, 0.03) / _SIGNS_OF_LIFE
        self._hash_wait_s = hash_wait_s

    async def content(self, request: Fetch) -> None:
        path = FilePath(request.path)
        copy = await self._opened(path)
        try:
            if copy.answer.digest != Digest(request.digest):
                raise _Ended(Failure.GONE, "no longer holds that version")
            await self._alive(self._store.share(copy))
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

    async def _opened(self, path: FilePath) -> Copy:
        held: Copy | Answer | None = self._store.glance(path)
        if held is None:
            opening = asyncio.ensure_future(self._store.open(path, wait_s=self._hash_wait_s))
            try:
                held = await self._alive(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_opened)
                raise
        if not is_answer(held):
            return held
        match held:
            case Checking(done, total):
                raise _Ended(Failure.CHECKING, f"its copy is being hashed ({done} of {total} bytes)")
            case Damaged(reason):
                raise _Ended(Failure.DAMAGED, f"its copy is damaged ({reason})")
            case _:
                raise _Ended(Failure.GONE, "no longer holds that version")

    async def _raw(self, copy: Copy, offset: int, stop: int) -> None:
        hasher = blake3() if offset == 0 and stop == copy.answer.size else None
        while offset < stop:
            wanted = min(BLOCK_BYTES, stop - offset)
            block = copy.read_now(offset, wanted)
            if block is None:
                block = await copy.read(offset, wanted)
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
        task = asyncio.ensure_future(waiting)
        try:
            while not (await asyncio.wait([task], timeout=self._sign_every_s))[0]:
                self._outlet.send(Working())
        except asyncio.CancelledError:
            task.cancel()
            raise
        return task.result()


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


def _close_opened(opening: asyncio.Future[Copy | Answer]) -> None:
    if opening.cancelled() or opening.exception() is not None:
        return
    held = opening.result()
    if not is_answer(held):
        held.close()
