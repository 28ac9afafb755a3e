"""Servers that were away for so long that deletions may have been forgotten meanwhile: whom this server has last met when.

Tombstones are kept for a time, and then dropped. What only a server has that was away for longer may be a file that all others have
deleted since: it must not be spread. A server that was itself away is no judge of others: to it, nobody is a stranger, and what it has
missed it takes over. Nor is somebody who was never met: two directories that meet for the first time are merged.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from accord.model.names import ServerName
from accord.peers.port import Peers
from accord.store.inventory import Inventory

HERE_EVERY_S = 3600.0
"""How often it is written down that this server is at work."""
_HERE, _MET = "here", "met:"
_NS = 1_000_000_000

_log = structlog.get_logger("accord.sync")


class Strangers:
    """Who is one, for one server. `now_ns` is the time of day here (the others' clocks do not matter)."""

    def __init__(self, store: Inventory, peers: Peers, *, keep_tombstones_s: float, now_ns: Callable[[], int]) -> None:
        self._store = store
        self._peers = peers
        self._keep_ns = int(keep_tombstones_s * _NS)
        self._now_ns = now_ns
        self._here_ns: int | None = None

    async def begin(self) -> None:
        """Before anything else: was this server itself away?"""
        noted = await self._store.noted(_HERE)
        if noted is not None and self._is_long_ago(noted):
            _log.warning("this server was away for longer than deletions are kept")
            for peer in self._peers.names:
                self._store.note(_MET + peer, None)
        self.still_here()

    def still_here(self) -> None:
        """Called now and then while this server is at work."""
        now_ns = self._now_ns()
        if self._here_ns is None or now_ns - self._here_ns >= HERE_EVERY_S * _NS:
            self._here_ns = now_ns
            self._store.note(_HERE, str(now_ns))

    def met(self, peer: ServerName) -> None:
        """Everything that `peer` knows was compared."""
        self._store.note(_MET + peer, str(self._now_ns()))

    async def is_stranger(self, peer: ServerName) -> bool:
        noted = await self._store.noted(_MET + peer)
        return noted is not None and self._is_long_ago(noted)

    def _is_long_ago(self, noted: str) -> bool:
        return noted.isdigit() and self._now_ns() - int(noted) > self._keep_ns
