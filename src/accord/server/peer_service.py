"""Where other servers are answered: what all of their connections share, and how many there may be.

One connection is `peer_endpoint`'s. Ending is in two steps, so that a transfer under way need not break off: `finish`, then `close`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from accord.model.names import FilePath, ServerName
from accord.peers.handshake import Identity
from accord.server.peer_doubts import Doubts
from accord.server.peer_endpoint import PeerEndpoint
from accord.store.port import Store

MAX_CONNECTIONS = 256
MAX_UNPROVEN = 64
"""So many connections may be in the middle of the handshake."""
GREETING_LIMIT_S = 5.0


class PeerService:
    """The answering side of one server. `known` are the other servers' names. `accept` makes the protocol for one connection;
    `finish` waits for transfers under way, `close` ends everything. `suggested` is told of paths that others have and this server may
    lack; `hash_wait_s` is the longest that anybody may make it wait for a digest."""

    def __init__(
        self,
        me: ServerName,
        cluster: str,
        key: bytes,
        known: Collection[ServerName],
        store: Store,
        *,
        suggested: Callable[[FilePath], None] = lambda path: None,
        hash_wait_s: float = 10.0,
        greeting_limit_s: float = GREETING_LIMIT_S,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.me = Identity(cluster, me, key)
        self.known = frozenset(known)
        self.store = store
        self.suggested = suggested
        self.hash_wait_s = hash_wait_s
        self.greeting_limit_s = greeting_limit_s
        self.random_bytes = random_bytes
        self.unproven: set[PeerEndpoint] = set()
        self.proven: set[PeerEndpoint] = set()
        self.doubts = Doubts(store, wait_s=hash_wait_s)
        self.is_finishing = False
        self._transfers = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def accept(self) -> PeerEndpoint:
        return PeerEndpoint(self)

    @property
    def is_busy(self) -> bool:
        return len(self.unproven) > MAX_UNPROVEN or len(self.unproven) + len(self.proven) > MAX_CONNECTIONS

    @property
    def transfers_under_way(self) -> int:
        """How many files and listings are being sent."""
        return self._transfers

    @contextmanager
    def transferring(self) -> Iterator[None]:
        self._transfers += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._transfers -= 1
            if not self._transfers:
                self._quiet.set()

    async def finish(self) -> None:
        """Begin no transfer any more, and wait until those under way have ended. Questions are still answered."""
        self.is_finishing = True
        await self._quiet.wait()

    async def close(self) -> None:
        await self.doubts.close()
        endpoints = [*self.unproven, *self.proven]
        for endpoint in endpoints:
            endpoint.abort()
        for endpoint in endpoints:
            await endpoint.ended.wait()
