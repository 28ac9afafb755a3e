"""Locks by path, for who decides on changes: made when they are wanted, gone when nobody has or awaits them. For an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from accord.model.names import FilePath


class PathLocks:
    def __init__(self) -> None:
        self._locks: dict[FilePath, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, paths: Sequence[FilePath]) -> AsyncIterator[None]:
        """All of them, always taken in the same order, so that nobody waits in a circle."""
        async with AsyncExitStack() as stack:
            for path in sorted(set(paths)):
                await stack.enter_async_context(self._one(path))
            yield

    @asynccontextmanager
    async def _one(self, path: FilePath) -> AsyncIterator[None]:
        lock, users = self._locks.get(path, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[path] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks.pop(path)
            if users > 1:
                self._locks[path] = (lock, users - 1)
