"""Copies that another server got wrong bytes of: read anew here, one after the other, so that rot is known before the next reader.

Bounded and deduplicated. What a copy turns out to be, the store decides and remembers; nothing is answered.
"""

from __future__ import annotations

import asyncio

import structlog

from accord.background import begun, ended
from accord.errors import AccordError
from accord.model.names import FilePath
from accord.store.port import Store

MAX_QUEUED = 256

_log = structlog.get_logger("accord.peers")


class Doubts:
    """The paths that are doubted. One is read at a time, for at most `wait_s` before the next has its turn."""

    def __init__(self, store: Store, *, wait_s: float) -> None:
        self._store = store
        self._wait_s = wait_s
        self._queued: dict[FilePath, None] = {}
        self._worker: asyncio.Task[None] | None = None

    def take(self, path: FilePath) -> None:
        if len(self._queued) >= MAX_QUEUED:
            return
        self._queued[path] = None
        if self._worker is None:
            self._worker = begun(self._work(), name="doubts")

    async def close(self) -> None:
        self._queued.clear()
        await ended(self._worker)

    async def _work(self) -> None:
        try:
            while self._queued:
                path = next(iter(self._queued))
                del self._queued[path]
                try:
                    answer = await self._store.examine(path, wait_s=self._wait_s, reread=True)
                    _log.info("a doubted copy was read anew", path=path, found=type(answer).__name__.lower())
                except AccordError as error:
                    _log.warning("a doubted copy could not be read", path=path, reason=error.detail)
        finally:
            self._worker = None
