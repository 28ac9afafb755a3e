"""Changes on their way to a server of `memory_peers`: the content goes to its store, the change to its handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accord.engine.changes import ChangeHandler
from accord.errors import AccordError, Conflict, PeerFailed, PeerUnreachable, StoreFailed
from accord.model.history import Event
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Answer
from accord.model.versions import Clock
from accord.peers.failures import failed, upload_error
from accord.store.port import Incoming, Store
from accord.testing.memory_faults import Faults


@dataclass(frozen=True, slots=True)
class Target:
    """The server that changes go to. `handler` is asked for late, as engines are made after the peers they know."""

    store: Store
    faults: Faults
    handler: Callable[[], ChangeHandler]


class MemoryUpload:
    """Implements `accord.peers.port.Upload`. Once it failed, every call fails, and nothing is left in the store."""

    def __init__(self, sender: ServerName, target: Target, size: int | None) -> None:
        self._sender = sender
        self._target = target
        self._size = size
        self._sent_bytes = 0
        self._coming: Incoming | None = None
        self._staged: list[Incoming] = []
        self._broken: Conflict | PeerFailed | None = None

    async def write(self, block: bytes | memoryview) -> None:
        await self._reach()
        limit = self._target.faults.break_after_bytes
        if limit is not None and self._sent_bytes + len(block) > limit:
            raise await self._break(PeerUnreachable("connection lost"))
        self._sent_bytes += len(block)
        coming = await self._begun()
        try:
            await coming.write(block)
        except StoreFailed as error:
            raise await self._break(upload_error(failed(error))) from error

    def finish_later(self, digest: Digest) -> bool:
        return False

    async def finish(self, digest: Digest) -> None:
        await self._reach()
        coming = await self._begun()
        try:
            came = await coming.finish()
        except StoreFailed as error:
            raise await self._break(upload_error(failed(error))) from error
        if came != digest:
            raise await self._break(PeerFailed("got other bytes than were meant"))
        self._staged.append(coming)
        self._coming = None
        self._size = None

    async def adopt(self, path: FilePath, clock: Clock, events: Sequence[Event]) -> Answer:
        await self._reach()
        staged, self._staged = self._staged, []
        try:
            answer = await self._target.handler().adopt(self._sender, path, clock, events, staged)
        except AccordError as error:
            raise await self._break(upload_error(failed(error))) from error
        if self._target.faults.loses_answers:
            raise await self._break(PeerUnreachable("connection lost", path=path))
        await self._reach()
        return answer

    async def close(self) -> None:
        await self._break(PeerUnreachable("the upload was closed"))

    async def _begun(self) -> Incoming:
        if self._coming is None:
            try:
                self._coming = await self._target.store.receive(self._size)
            except StoreFailed as error:
                raise await self._break(upload_error(failed(error))) from error
        return self._coming

    async def _reach(self) -> None:
        if self._broken is not None:
            raise self._broken
        try:
            await self._target.faults.reach()
        except PeerUnreachable as error:
            raise await self._break(error) from None

    async def _break(self, error: Conflict | PeerFailed) -> Conflict | PeerFailed:
        """As when the connection ends: what was not adopted is dropped."""
        self._broken = self._broken or error
        coming, self._coming = self._coming, None
        staged, self._staged = self._staged, []
        for incoming in (*staged, *([coming] if coming is not None else [])):
            await incoming.abort()
        return error
