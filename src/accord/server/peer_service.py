"""Where other servers are answered: what all of their connections share, and how many there may be.

One connection is `peer_endpoint`'s. Ending is in two steps, so that a transfer under way need not break off: `finish`, then `close`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from accord.engine.changes import ChangeHandler
from accord.engine.peer_requests import PeerRequests
from accord.errors import AccordError
from accord.model.names import FilePath, ServerName
from accord.peers.handshake import Identity
from accord.server.peer_changes import Receiving
from accord.server.peer_doubts import Doubts
from accord.server.peer_endpoint import PeerEndpoint
from accord.store.port import Store

MAX_CONNECTIONS = 512
"""A peer uses up to 69 at its busiest (`peers.transfers`)."""
MAX_UNPROVEN = 64
"""So many connections may be in the middle of the handshake."""
GREETING_LIMIT_S = 5.0

T = TypeVar("T")

_log = structlog.get_logger("accord.peers")


class PeerService:
    """The answering side of one server. `known` are the other servers' names, `changes` is the engine that takes over what they
    changed, `requests` answers what else they ask of it. `accept` makes the protocol for one connection; `finish` waits for
    transfers and changes under way, `close` ends everything. `suggested` is told of paths that others have and this server may
    lack; `hash_wait_s` is the longest that anybody may make it wait for a digest."""

    def __init__(
        self,
        me: ServerName,
        cluster: str,
        key: bytes,
        known: Collection[ServerName],
        store: Store,
        *,
        changes: ChangeHandler,
        requests: PeerRequests,
        suggested: Callable[[FilePath], None] = lambda path: None,
        hash_wait_s: float = 10.0,
        greeting_limit_s: float = GREETING_LIMIT_S,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.me = Identity(cluster, me, key)
        self.known = frozenset(known)
        self.store = store
        self.requests = requests
        self.suggested = suggested
        self.hash_wait_s = hash_wait_s
        self.greeting_limit_s = greeting_limit_s
        self.random_bytes = random_bytes
        self.unproven: set[PeerEndpoint] = set()
        self.proven: set[PeerEndpoint] = set()
        self.doubts = Doubts(store, wait_s=hash_wait_s)
        self.receiving = Receiving(store, changes, self._keep)
        self.is_finishing = False
        self._kept: set[asyncio.Task[Any]] = set()
        self._transfers = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def accept(self) -> PeerEndpoint:
        return PeerEndpoint(self)

    @property
    def is_busy(self) -> bool:
        return len(self.unproven) > MAX_UNPROVEN or len(self.unproven) + len(self.proven) > MAX_CONNECTIONS

    @contextmanager
    def transferring(self) -> Iterator[None]:
        """While a file or a listing is sent, or a change taken over."""
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
        kept = list(self._kept)
        for task in kept:
            task.cancel()
        if kept:
            await asyncio.wait(kept)

    def _keep(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run what is seen through even if whoever asked for it goes away; only `close` breaks it off."""

        async def counted() -> T:
            with self.transferring():
                return await work

        task = asyncio.get_running_loop().create_task(counted(), name="a change from another server")
        self._kept.add(task)
        task.add_done_callback(self._done)
        task.add_done_callback(lambda _: work.close())  # Where it was broken off before it began.
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, AccordError):
            _log.info("a change from another server was not taken over", path=error.path, reason=error.detail)
        else:
            _log.error("taking over a change failed", exc_info=error)
