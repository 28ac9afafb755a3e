"""Healing in the background: paths that a read here or on another server found lacking, brought up to date one after the other.

Bounded and deduplicated; what fails is left alone for a while, and then healed when a read finds it again. What bringing up to date
means is left to `engine.update`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from accord.engine.changes import ChangeHandler
from accord.model.names import FilePath

MAX_QUEUED_PATHS = 10_000
MAX_WORKERS = 2
PAUSE_AFTER_FAILURE_S = 10.0
MAX_REMEMBERED_FAILURES = 1_000

_log = structlog.get_logger("accord.heal")


class HealQueue:
    """The healings one server has been told of. `now_s` is a monotonic time."""

    def __init__(self, changes: ChangeHandler, *, now_s: Callable[[], float]) -> None:
        self._changes = changes
        self._now_s = now_s
        self._queued: dict[FilePath, None] = {}
        self._failed_at_s: dict[FilePath, float] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False

    def suggest(self, path: FilePath) -> None:
        """Heal `path` soon, if it still is to be healed by then. Does nothing when it is queued, failed lately, or there is no room."""
        if self._closed or path in self._queued or len(self._queued) >= MAX_QUEUED_PATHS:
            return
        if self._now_s() - self._failed_at_s.get(path, -PAUSE_AFTER_FAILURE_S) < PAUSE_AFTER_FAILURE_S:
            return
        self._queued[path] = None
        if len(self._workers) < MAX_WORKERS:
            worker = asyncio.get_running_loop().create_task(self._work(), name="healing")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def close(self) -> None:
        """Stop; what was being healed is dropped, and leaves nothing behind."""
        self._closed = True
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(set(self._workers))

    async def _work(self) -> None:
        while self._queued:
            path = next(iter(self._queued))
            del self._queued[path]
            reason = await self._changes.update(path)
            if reason is not None:
                _log.warning("not healed", path=path, reason=reason)
                self._remember_failure(path)

    def _remember_failure(self, path: FilePath) -> None:
        if len(self._failed_at_s) >= MAX_REMEMBERED_FAILURES:
            self._failed_at_s.pop(next(iter(self._failed_at_s)))
        self._failed_at_s[path] = self._now_s()
