"""What other servers missed: replayed to each, in the order of the changes, once it can be asked again.

A debt is a path, written down durably with the change itself (`store.port.Change.owed`). To replay it, the server is told to bring the
path up to date, and gets what it lacks itself (`engine.update`); so that a thousand changes of one path are one debt, and replaying one
twice does no harm. One task a server; what cannot be settled now is tried again, not all the time.
"""

from __future__ import annotations

import asyncio

import structlog

from accord.background import begun, ended
from accord.errors import AccordError
from accord.model.names import FilePath, ServerName
from accord.peers.port import Peers, PeerState
from accord.store.port import Store

PATHS_AT_ONCE = 128
RETRY_S = 15.0
"""A server that did not settle everything is tried again after this, or as soon as it comes up."""

_log = structlog.get_logger("accord.heal")


class Payer:
    """Settles the debts of one server. `pay` may be called at any time, for any of the other servers; it never waits."""

    def __init__(self, store: Store, peers: Peers) -> None:
        self._store = store
        self._peers = peers
        self._tasks: dict[ServerName, asyncio.Task[None]] = {}
        self._news = {name: asyncio.Event() for name in peers.names}
        self._closed = False

    def start(self) -> None:
        """Debts may be left from before."""
        for name in self._store.debts():
            self.pay(name)

    def pay(self, server: ServerName) -> None:
        """`server` may be owed something, or has come up."""
        news = self._news.get(server)
        if self._closed or news is None:
            return
        news.set()
        task = self._tasks.get(server)
        if task is None or task.done():
            self._tasks[server] = begun(self._work(server), name=f"debts to {server}")

    async def close(self) -> None:
        self._closed = True
        await ended(*self._tasks.values())

    async def _work(self, server: ServerName) -> None:
        """Until nothing is owed any more."""
        news = self._news[server]
        while server in self._store.debts():
            news.clear()
            if self._is_up(server):
                await self.replay(server)
            if server in self._store.debts():
                try:
                    async with asyncio.timeout(RETRY_S):
                        await news.wait()
                except TimeoutError:
                    pass

    async def replay(self, server: ServerName) -> None:
        """Once through everything that is owed now."""
        settled = failed = after = 0
        try:
            while owed := await self._store.owed(server, PATHS_AT_ONCE, after=after):
                after = owed[-1][1]
                reasons = await self._peers.update(server, [path for path, _ in owed])
                done = [debt for debt, reason in zip(owed, reasons, strict=True) if reason is None]
                self._store.settle_debts(server, done)
                settled += len(done)
                for (path, _), reason in zip(owed, reasons, strict=True):
                    if reason is not None:
                        failed += 1
                        self._failed(server, path, reason)
        except AccordError as error:
            _log.info("the rest of what is owed waits", peer=server, reason=error.detail)
        if settled or failed:
            _log.info("replayed what was missed", peer=server, settled=settled, failed=failed)

    def _failed(self, server: ServerName, path: FilePath, reason: str) -> None:
        _log.info("not brought up to date", peer=server, path=path, reason=reason)

    def _is_up(self, server: ServerName) -> bool:
        return any(one.name == server and one.state is PeerState.UP for one in self._peers.statuses())
