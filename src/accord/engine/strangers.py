"""Servers that were away for so long that deletions may have been forgotten meanwhile: whom this server has last met when.

Tombstones are kept for a time, and then dropped. What only a server has that was away for longer may be a file that all others have
deleted since: it must not be spread. A server that was itself away is no judge of others: to it, nobody is a stranger, and what it has
missed it takes over. Nor is somebody who was never met: two directories that meet for the first time are merged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

import structlog

from accord.model.names import FilePath, ServerName
from accord.peers.port import Peers
from accord.quantities import NS_PER_S
from accord.store.inventory import Inventory

HERE_EVERY_S = 3600.0
"""How often it is written down that this server is at work."""
_HERE, _MET = "here", "met:"

_log = structlog.get_logger("accord.sync")

IsStranger = Callable[[ServerName], Awaitable[bool]]


async def no_stranger(server: ServerName) -> bool:
    """Nobody ever is."""
    return False


async def is_left_alone(
    store: Inventory, path: FilePath, knowing: Collection[ServerName], is_stranger: IsStranger
) -> bool:
    """Whether what only these servers know, and this one does not, may have been deleted while they were away. A stranger may be
    heard of before it is compared with. Once two know it, it is no longer only a stranger's."""
    if len(knowing) > 1:
        return False
    for server in knowing:
        if await is_stranger(server):
            store.deem_estranged([path])
            return True
    return await store.is_estranged(path)


class Strangers:
    """Who is one, for one server. `now_ns` is the time of day here (the others' clocks do not matter)."""

    def __init__(self, store: Inventory, peers: Peers, *, keep_tombstones_s: float, now_ns: Callable[[], int]) -> None:
        self._store = store
        self._peers = peers
        self._keep_ns = int(keep_tombstones_s * NS_PER_S)
        self._now_ns = now_ns
        self._here_ns: int | None = None
        self._met: dict[ServerName, str | None] = {}
        """As it is noted, since `begin`; nobody else notes it."""

    async def begin(self) -> None:
        """Before anything else: was this server itself away?"""
        for peer in self._peers.names:
            await self._noted(peer)
        noted = await self._store.noted(_HERE)
        if noted is not None and self._is_long_ago(noted):
            _log.warning("this server was away for longer than deletions are kept")
            for peer in self._peers.names:
                self._note_met(peer, None)
        self.still_here()

    def still_here(self) -> None:
        """Called now and then while this server is at work. What was noted under a clock that was set back since would hold for as
        long as that one was ahead: it counts as noted now."""
        now_ns = self._now_ns()
        if self._here_ns is None or abs(now_ns - self._here_ns) >= HERE_EVERY_S * NS_PER_S:
            self._here_ns = now_ns
            self._store.note(_HERE, str(now_ns))
        for peer, noted in self._met.items():
            if noted is not None and noted.isdigit() and int(noted) - now_ns >= HERE_EVERY_S * NS_PER_S:
                self.met(peer)

    def met(self, peer: ServerName) -> None:
        """Everything that `peer` knows was compared."""
        self._note_met(peer, str(self._now_ns()))

    async def is_stranger(self, peer: ServerName) -> bool:
        noted = await self._noted(peer)
        return noted is not None and self._is_long_ago(noted)

    async def _noted(self, peer: ServerName) -> str | None:
        if peer not in self._met:
            self._met.setdefault(peer, await self._store.noted(_MET + peer))
        return self._met[peer]

    def _note_met(self, peer: ServerName, when: str | None) -> None:
        self._met[peer] = when
        self._store.note(_MET + peer, when)

    def _is_long_ago(self, noted: str) -> bool:
        return noted.isdigit() and self._now_ns() - int(noted) > self._keep_ns
