"""The other servers as one simulated server sees them: `accord.peers.port.Peers` over the simulated network.

The circuit breaker is the real one. What the answering side does with questions, fetches and changes follows `server.peer_checks`,
`server.peer_transfers` and `server.peer_changes`; nothing is written down as bytes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from accord.errors import AccordError, PeerUnreachable
from accord.model.chunks import Chunk
from accord.model.fingerprints import Reply, Summary
from accord.model.history import Remembered
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Answer, Unreachable
from accord.peers.breaker import Backoff, Breaker, Circuit
from accord.peers.failures import failed, fetch_error
from accord.peers.port import PeerState, PeerStatus
from accord.testing.simulation import answering
from accord.testing.simulation.network import BROKEN, PATIENCE_S, REFUSED, SILENT, Network
from accord.testing.simulation.processes import Process
from accord.testing.simulation.sim_upload import SimUpload

if TYPE_CHECKING:
    from accord.testing.simulation.server import Server

HASH_WAIT_S = PATIENCE_S / 2
"""So long a peer may hash before it answers that it is checking."""
NOTICED_S = 2.0
"""A connection that nothing comes through any more is noticed within this time."""

T = TypeVar("T")


class SimPeers:
    """See `Peers`. `start` once the server runs."""

    def __init__(self, me: ServerName, names: Sequence[ServerName], network: Network, process: Process) -> None:
        self.names = tuple(names)
        self._me = me
        self._network = network
        self._process = process
        self._breakers = {name: Breaker(Backoff()) for name in names}
        self._reasons: dict[ServerName, str] = {}
        self._told: list[Callable[[ServerName], None]] = []
        self._probing: dict[ServerName, asyncio.Task[None]] = {}

    def start(self) -> None:
        for name in self.names:
            self._probe_soon(name)

    def ask(
        self, path: FilePath, *, reread: bool = False, wait_s: float | None = None
    ) -> asyncio.Future[Mapping[ServerName, Answer]]:
        self._process.require_alive()
        loop = self._network.loop
        answered: asyncio.Future[Mapping[ServerName, Answer]] = loop.create_future()
        answers: dict[ServerName, Answer] = {}

        def take(name: ServerName, answer: Answer) -> None:
            if name not in answers and not answered.done():
                answers[name] = answer
                if len(answers) == len(self.names):
                    answered.set_result({one: answers[one] for one in self.names})

        for name in self.names:
            if self._breakers[name].circuit in (Circuit.OPEN, Circuit.HALF_OPEN):
                take(name, Unreachable(self._reasons.get(name, SILENT)))
            else:
                self._ask_one(name, path, reread, HASH_WAIT_S if wait_s is None else wait_s, take)
                loop.call_later(PATIENCE_S + (wait_s or 0.0), self._expire, name, take, answered)
        if not self.names:
            answered.set_result({})
        return answered

    def _ask_one(
        self,
        name: ServerName,
        path: FilePath,
        reread: bool,
        wait_s: float,
        take: Callable[[ServerName, Answer], None],
    ) -> None:
        network, loop = self._network, self._network.loop

        def answer_back(answer: Answer) -> None:
            back_s = network.hop_s(name, self._me)
            if back_s is not None:
                loop.call_later(back_s, self._heard, name, answer, take, context=self._process.context)

        def arrive() -> None:
            server = network.running(name)
            if server is None:
                if network.is_joined(self._me, name):
                    self._failed(name, REFUSED)
                    take(name, Unreachable(REFUSED))
                return
            answer = None if reread else server.store.glance_answer(path)
            if answer is not None:
                answer_back(answer)
            else:
                examining = answering.examine(server, path, reread=reread, wait_s=wait_s)
                server.process.spawn(_told(examining, answer_back))

        there_s = network.hop_s(self._me, name)
        server = network.running(name)
        if there_s is not None:
            loop.call_later(there_s, arrive, context=server.process.context if server is not None else None)

    def _heard(self, name: ServerName, answer: Answer, take: Callable[[ServerName, Answer], None]) -> None:
        if self._process.is_alive:
            self._breakers[name].answered()
            take(name, answer)

    def _expire(
        self,
        name: ServerName,
        take: Callable[[ServerName, Answer], None],
        answered: asyncio.Future[Mapping[ServerName, Answer]],
    ) -> None:
        if not answered.done() and self._process.is_alive:
            self._failed(name, SILENT)
            take(name, Unreachable(SILENT))

    def suggest(self, server: ServerName, path: FilePath) -> None:
        self._tell(server, lambda there: there.suggest(path))

    def doubt(self, server: ServerName, path: FilePath) -> None:
        self._tell(server, lambda there: there.doubts.take(path))

    def _tell(self, name: ServerName, tell: Callable[[Server], None]) -> None:
        self._process.require_alive()
        if self._breakers[name].circuit is not Circuit.CLOSED:
            return
        for _ in range(2 if self._network.is_doubled() else 1):
            there_s = self._network.hop_s(self._me, name)
            target = self._network.running(name)
            if there_s is not None and target is not None:
                self._network.loop.call_later(there_s, self._arrive, name, target, tell, context=target.process.context)

    def _arrive(self, name: ServerName, target: Server, tell: Callable[[Server], None]) -> None:
        if self._network.running(name) is target:
            tell(target)

    async def fetch(
        self, server: ServerName, path: FilePath, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        sent = await self._exchange(server, lambda there: answering.content(there, path, digest, start, stop))
        for block in sent.blocks:
            if self._network.is_cut():
                raise PeerUnreachable(BROKEN, path=path)
            yield block
        if sent.failed is not None:
            raise fetch_error(sent.failed, path)

    async def list(
        self, server: ServerName, prefix: Prefix, after: FilePath | None
    ) -> AsyncGenerator[Sequence[Walked], None]:
        for page in await self._exchange(server, lambda there: answering.listing(there, prefix, after)):
            yield page

    def upload(self, server: ServerName, size: int | None) -> SimUpload:
        return SimUpload(self._me, server, size, self._network, partial(self._exchange, server))

    async def recall(self, server: ServerName, path: FilePath) -> Sequence[Remembered]:
        return await self._exchange(server, lambda there: there.store.history(path))

    async def update(self, server: ServerName, paths: Sequence[FilePath]) -> Sequence[str | None]:
        if self._network.is_doubled():
            again = self._network.running(server)
            if again is not None and self._network.is_joined(self._me, server):
                again.process.spawn(answering.updated(again, paths))
        return await self._exchange(server, lambda there: answering.updated(there, paths))

    async def compare(self, server: ServerName, asked: Sequence[Summary]) -> Sequence[Reply]:
        return await self._exchange(server, lambda there: there.requests.compare(self._me, asked))

    async def report(self, server: ServerName, question: bytes = b"") -> bytes:
        return await self._exchange(server, lambda there: there.requests.report(question))

    async def order(self, server: ServerName, work: str, scope: str, number: int) -> str | None:
        return await self._exchange(server, lambda there: answering.ordered(there, work, scope, number))

    async def chunks(self, server: ServerName, path: FilePath, digest: Digest) -> Sequence[Chunk]:
        return await self._exchange(server, lambda there: answering.chunks(there, path, digest))

    def on_up(self, told: Callable[[ServerName], None]) -> None:
        self._told.append(told)

    def statuses(self) -> Sequence[PeerStatus]:
        return [
            PeerStatus(name, f"simulated:{name}", self._state(name), self._reasons.get(name)) for name in self.names
        ]

    async def close(self) -> None:
        """What goes on in the background ends with the process."""

    def network_changed(self) -> None:
        """A way was blocked or opened, or a server ended: connections that are dead now are noticed after a while."""
        loop = self._network.loop
        for name in self.names:
            is_dead = self._network.running(name) is None or not self._network.is_joined(self._me, name)
            if is_dead and self._breakers[name].circuit is Circuit.CLOSED:
                wait_s = self._network.random.random() * NOTICED_S
                loop.call_later(wait_s, self._notice, name, context=self._process.context)

    def _notice(self, name: ServerName) -> None:
        is_dead = self._network.running(name) is None or not self._network.is_joined(self._me, name)
        if is_dead and self._process.is_alive:
            self._failed(name, BROKEN)

    def _state(self, name: ServerName) -> PeerState:
        match self._breakers[name].circuit:
            case Circuit.UNTRIED:
                return PeerState.CONNECTING
            case Circuit.CLOSED:
                return PeerState.UP
            case _:
                return PeerState.DOWN

    async def _exchange(self, name: ServerName, work: Callable[[Server], Awaitable[T]]) -> T:
        if self._breakers[name].circuit in (Circuit.OPEN, Circuit.HALF_OPEN):
            raise PeerUnreachable(self._reasons.get(name, SILENT))
        try:
            return await self._network.exchange(self._process, self._me, name, work)
        except PeerUnreachable as error:
            if error.detail in (SILENT, REFUSED, BROKEN):
                self._failed(name, error.detail)
            raise
        except AccordError as error:
            raise fetch_error(failed(error), None) from error

    def _failed(self, name: ServerName, reason: str) -> None:
        self._reasons[name] = reason
        self._breakers[name].fail(self._network.loop.time(), self._network.random.random())
        self._probe_soon(name)

    def _probe_soon(self, name: ServerName) -> None:
        if name not in self._probing and self._process.is_alive:
            self._probing[name] = self._process.spawn(self._probe(name))

    async def _probe(self, name: ServerName) -> None:
        """Until there is a connection."""
        network, breaker = self._network, self._breakers[name]
        while breaker.circuit is not Circuit.CLOSED:
            await asyncio.sleep(max(0.0, breaker.retry_at_s - network.loop.time()))
            breaker.attempt()
            try:
                await network.exchange(self._process, self._me, name, _greeted)
                breaker.succeed(network.loop.time())
            except PeerUnreachable as error:
                self._reasons[name] = error.detail
                breaker.fail(network.loop.time(), network.random.random())
        self._reasons.pop(name, None)
        del self._probing[name]
        for told in self._told:
            network.loop.call_soon(told, name)


async def _greeted(server: Server) -> None:
    """It is there."""


async def _told(examining: Awaitable[Answer], tell: Callable[[Answer], None]) -> None:
    tell(await examining)
