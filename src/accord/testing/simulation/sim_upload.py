"""A change on its way to a simulated server: content, taken in there while it comes, then the event. Keeps `peers.port.Upload`.

What was taken in and not adopted is dropped when the upload ends, or with the server that took it in. An adoption may be told twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from accord.errors import AccordError, Conflict, PeerFailed, PeerUnreachable
from accord.model.history import Event
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Answer
from accord.model.versions import Clock
from accord.peers.failures import failed, upload_error
from accord.store.port import Incoming
from accord.testing.simulation.network import BROKEN, Network

if TYPE_CHECKING:
    from accord.testing.simulation.server import Server


HELD_BACK_BYTES = 4_000


class Exchange(Protocol):
    """`SimPeers._exchange` with the peer that is meant."""

    def __call__(self, work: Callable[[Server], Awaitable[Any]], /) -> Awaitable[Any]: ...


class _Refused(Exception):
    """The peer said why it cannot: the connection goes on."""

    def __init__(self, error: Conflict | PeerFailed) -> None:
        self.error = error


class SimUpload:
    def __init__(
        self, me: ServerName, target: ServerName, size: int | None, network: Network, exchange: Exchange
    ) -> None:
        self._me = me
        self._target = target
        self._size = size
        self._network = network
        self._exchange = exchange
        self._held: list[bytes] = []
        self._meant: Digest | None = None
        """The digest of what goes along with the change."""
        self._coming: Incoming | None = None
        self._staged: list[Incoming] = []
        self._server: Server | None = None
        self._broken: Conflict | PeerFailed | None = None

    async def write(self, block: bytes | memoryview) -> None:
        self._held.append(bytes(block))
        if sum(map(len, self._held)) > HELD_BACK_BYTES or self._coming is not None:
            await self._do(self._take)

    async def _take(self, server: Server) -> None:
        coming = await self._begun(server)
        held, self._held = self._held, []
        for block in held:
            await coming.write(block)

    def finish_later(self, digest: Digest) -> bool:
        if self._coming is not None or self._broken is not None:
            return False
        self._meant = digest
        return True

    async def finish(self, digest: Digest) -> None:
        async def end(server: Server) -> None:
            await self._end(server, digest)

        await self._do(end)

    async def _end(self, server: Server, digest: Digest) -> None:
        await self._take(server)
        assert self._coming is not None
        if await self._coming.finish() != digest:
            raise PeerFailed("got other bytes than were meant")
        self._staged.append(self._coming)
        self._coming, self._size = None, None

    async def adopt(self, path: FilePath, clock: Clock, events: Sequence[Event]) -> Answer:
        async def take_over(server: Server) -> Answer:
            meant, self._meant = self._meant, None
            if meant is not None:
                await self._end(server, meant)
            self._here(server)
            staged, self._staged = self._staged, []
            return await server.updater.adopt(self._me, path, clock, events, staged)

        if self._network.is_doubled():
            server = self._network.running(self._target)
            if server is not None and self._network.is_joined(self._me, self._target):
                self._network.loop.call_later(
                    self._network.random.random(),
                    self._again,
                    server,
                    path,
                    clock,
                    events,
                    context=server.process.context,
                )
        answer: Answer = await self._do(take_over)
        return answer

    def _again(self, server: Server, path: FilePath, clock: Clock, events: Sequence[Event]) -> None:
        """The message came twice: the second time, without the content, and perhaps long after."""
        if server.process.is_alive:
            server.process.spawn(_adopted_again(server, self._me, path, clock, events))

    async def close(self) -> None:
        await self._break(PeerUnreachable("the upload was closed"))

    async def _do(self, work: Callable[[Server], Awaitable[Any]]) -> Any:
        if self._broken is not None:
            raise self._broken

        async def guarded(server: Server) -> Any:
            try:
                return await work(server)
            except AccordError as error:
                raise _Refused(upload_error(failed(error))) from error

        try:
            if self._network.is_cut():
                raise PeerUnreachable(BROKEN)
            return await self._exchange(guarded)
        except _Refused as refused:
            raise await self._break(refused.error) from refused
        except (PeerFailed, Conflict) as error:
            raise await self._break(error) from error

    async def _begun(self, server: Server) -> Incoming:
        self._here(server)
        if self._coming is None:
            self._coming = await server.store.receive(self._size)
        return self._coming

    def _here(self, server: Server) -> None:
        """Raises `PeerUnreachable` where it is another life of the peer than the one that took in the content."""
        if self._server is None:
            self._server = server
        if self._server is not server:
            raise PeerUnreachable(BROKEN)

    async def _break(self, error: Conflict | PeerFailed) -> Conflict | PeerFailed:
        self._broken = self._broken or error
        left = [*self._staged, *([self._coming] if self._coming is not None else [])]
        self._staged, self._coming = [], None
        if left and self._server is not None and self._server.process.is_alive:
            self._server.process.spawn(_drop(left))
        return error


async def _drop(left: Sequence[Incoming]) -> None:
    for incoming in left:
        await incoming.abort()


async def _adopted_again(
    server: Server, sender: ServerName, path: FilePath, clock: Clock, events: Sequence[Event]
) -> None:
    try:
        await server.updater.adopt(sender, path, clock, events, [])
    except AccordError:
        return  # nobody waits for it
