"""Locks by path, for who decides on changes: made when they are wanted, gone when nobody has or awaits them. For an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from accord.model.names import FilePath


class PathLocks:
    def __init__(self) -> None:
        self._locks: dict[FilePath, tuple[asyncio.Lock, int]] = {}

    def of(self, paths: Sequence[FilePath]) -> _Held:
        """A context in which all of them are held, always taken in the same order, so that nobody waits in a circle."""
        return _Held(self, sorted(set(paths)))

    async def take(self, path: FilePath) -> None:
        lock, users = self._locks.get(path, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[path] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._forget(path)
            raise

    def give_back(self, path: FilePath) -> None:
        lock, _ = self._locks[path]
        lock.release()
        self._forget(path)

    def _forget(self, path: FilePath) -> None:
        lock, users = self._locks.pop(path)
        if users > 1:
            self._locks[path] = (lock, users - 1)


class _Held:
    """A class, and not a generator in an exit stack: every write goes through here, at a third of the cost."""

    __slots__ = ("_locks", "_paths", "_taken")

    def __init__(self, locks: PathLocks, paths: Sequence[FilePath]) -> None:
        self._locks = locks
        self._paths = paths
        self._taken: list[FilePath] = []

    async def __aenter__(self) -> None:
        try:
            for path in self._paths:
                await self._locks.take(path)
                self._taken.append(path)
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        for path in self._taken:
            self._locks.give_back(path)
        self._taken.clear()
