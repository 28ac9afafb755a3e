"""All peers of one server, behind the `Peers` port: links to ask, transfers to fetch, list and upload.

Questions asked in one turn of the event loop become one batch, which is encoded once and goes to every peer. The connections
themselves are left to `link` and `transfers`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import partial

from accord.errors import PeerUnreachable
from accord.model.chunks import Chunk
from accord.model.fingerprints import Reply, Summary
from accord.model.history import Remembered
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Answer
from accord.peers.answers import MAX_REASON_CHARS
from accord.peers.breaker import Backoff
from accord.peers.call_messages import MAX_RANGES_PER_FRAME, Compare, Compared, Order, Ordered, Report, Reported
from accord.peers.calls import expected
from accord.peers.dial import Address, dial
from accord.peers.handshake import Identity
from accord.peers.link import Link, Pace
from accord.peers.pool import Pool
from accord.peers.port import PeerStatus, Upload
from accord.peers.questions import Batch
from accord.peers.ranges import asked_ranges, reply
from accord.peers.stream import GRACE_S
from accord.peers.transfers import Transfers
from accord.peers.wire import MAX_PATHS_PER_FRAME, Doubt, Suggest

HASH_SHARE = 0.5
"""The part of `peer_timeout` that a peer may spend on hashing a changed file before it answers that it is checking."""


class PeerLinks:
    """The other servers of the cluster over the network. Implements `accord.peers.port.Peers`.

    `peers` has the URL of each (http or https); raises `ConfigError` for one that is none. `start` before anything else, in the event
    loop it is to live in; `close` when done: questions still open are then `Unreachable`. `chance` is the jitter, in [0, 1).
    """

    def __init__(
        self,
        me: ServerName,
        cluster: str,
        key: bytes,
        peers: Mapping[ServerName, str],
        *,
        peer_timeout_s: float,
        ssl_context: ssl.SSLContext | None = None,
        ping_every_s: float = 1.0,
        silent_limit_s: float = 10.0,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._me = Identity(cluster, me, key)
        self._pace = Pace(peer_timeout_s, ping_every_s, silent_limit_s, backoff or Backoff())
        self._chance = chance
        self._addresses = {name: Address.parse(url, ssl_context) for name, url in peers.items()}
        self._names = tuple(self._addresses)
        self._links: tuple[Link, ...] = ()
        self._transfers: dict[ServerName, Transfers] = {}
        self._pools: tuple[Pool, ...] = ()
        self._told_up: list[Callable[[ServerName], None]] = []
        self._gathering: dict[tuple[float, bool], Batch] = {}
        self._next_id = 1

    @property
    def names(self) -> Sequence[ServerName]:
        return self._names

    async def start(self) -> None:
        """Begins to connect; waits for nobody."""
        self._loop = asyncio.get_running_loop()
        self._links = tuple(
            Link(name, address, self._me, self._pace, self._chance, self._up)
            for name, address in self._addresses.items()
        )
        timeout_s = self._pace.peer_timeout_s
        self._pools = tuple(
            Pool(partial(dial, link.address, self._me, link.name, timeout_s=timeout_s), link.obstacle)
            for link in self._links
        )
        self._transfers = {
            name: Transfers(pool, patience_s=timeout_s) for name, pool in zip(self._names, self._pools, strict=True)
        }
        for link in self._links:
            link.start()

    async def close(self) -> None:
        self._flush()
        for pool in self._pools:
            await pool.close()
        for link in self._links:
            await link.close()

    def ask(
        self, path: FilePath, *, reread: bool = False, wait_s: float | None = None
    ) -> asyncio.Future[Mapping[ServerName, Answer]]:
        answered: asyncio.Future[Mapping[ServerName, Answer]] = self._loop.create_future()
        if not self._links:
            answered.set_result({})
            return answered
        kind = (self._pace.peer_timeout_s * HASH_SHARE if wait_s is None else wait_s, reread)
        batch = self._gathering.get(kind)
        if batch is None:
            if not self._gathering:
                self._loop.call_soon(self._flush)
            batch = self._gathering[kind] = Batch(self._time_limit_s(wait_s), *kind)
        batch.add(path, answered, len(self._links))
        if len(batch.questions) == MAX_PATHS_PER_FRAME:
            del self._gathering[kind]
            self._send(batch)
        return answered

    def fetch(
        self, server: ServerName, path: FilePath, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"no range: [{start}, {stop})")
        return self._transfers[server].fetch(path, digest, start, stop)

    def list(self, server: ServerName, prefix: Prefix, after: FilePath | None) -> AsyncIterator[Sequence[Walked]]:
        return self._transfers[server].list(prefix, after)

    def suggest(self, server: ServerName, path: FilePath) -> None:
        self._tell(server, Suggest(str(path)))

    def doubt(self, server: ServerName, path: FilePath) -> None:
        self._tell(server, Doubt(str(path)))

    def upload(self, server: ServerName, size: int | None) -> Upload:
        return self._transfers[server].upload(size)

    async def recall(self, server: ServerName, path: FilePath) -> Sequence[Remembered]:
        return await self._transfers[server].recall(path)

    async def update(self, server: ServerName, paths: Sequence[FilePath]) -> Sequence[str | None]:
        return await self._transfers[server].update(paths)

    async def compare(self, server: ServerName, asked: Sequence[Summary]) -> Sequence[Reply]:
        if len(asked) > MAX_RANGES_PER_FRAME:
            raise ValueError(f"{len(asked)} ranges at once; at most {MAX_RANGES_PER_FRAME} are allowed")
        if not asked:
            return []
        ranges = asked_ranges(asked)
        returned = await self._link(server).calls.made(lambda id: Compare(id, ranges), len(ranges))
        told = expected(returned, Compared).ranges
        if len(told) != len(asked):
            raise PeerUnreachable("did not answer every range once")
        return [reply(one.span, compared) for one, compared in zip(asked, told, strict=True)]

    async def report(self, server: ServerName, question: bytes = b"") -> bytes:
        returned = await self._link(server).calls.made(lambda id: Report(id, question))
        return expected(returned, Reported).report

    async def order(self, server: ServerName, work: str, scope: str, number: int) -> str | None:
        returned = await self._link(server).calls.made(lambda id: Order(id, work, str(scope), number))
        reason = expected(returned, Ordered).reason
        return None if reason is None else reason[:MAX_REASON_CHARS]

    async def chunks(self, server: ServerName, path: FilePath, digest: Digest) -> Sequence[Chunk]:
        return await self._transfers[server].chunks(path, digest)

    def on_up(self, told: Callable[[ServerName], None]) -> None:
        self._told_up.append(told)

    def statuses(self) -> Sequence[PeerStatus]:
        return [link.status() for link in self._links]

    def _up(self, server: ServerName) -> None:
        for told in self._told_up:
            self._loop.call_soon(told, server)

    def _tell(self, server: ServerName, news: Suggest | Doubt) -> None:
        self._link(server).tell(news)

    def _link(self, server: ServerName) -> Link:
        return self._links[self._names.index(server)]

    def _time_limit_s(self, wait_s: float | None) -> float:
        return self._pace.peer_timeout_s + (wait_s or 0.0)

    def _flush(self) -> None:
        gathered, self._gathering = self._gathering, {}
        for batch in gathered.values():
            self._send(batch)

    def _send(self, batch: Batch) -> None:
        batch.first = self._next_id
        self._next_id += len(batch.questions)
        batch.sent_at_s = self._loop.time()
        frame = batch.frame()
        for link in self._links:
            link.ask(batch, frame)
        if not batch.complete:
            batch.timer = self._loop.call_later(batch.time_limit_s, self._look_once_more, batch)

    def _look_once_more(self, batch: Batch) -> None:
        batch.timer = self._loop.call_later(GRACE_S, self._expire, batch)

    def _expire(self, batch: Batch) -> None:
        for link in self._links:
            link.expire(batch)
