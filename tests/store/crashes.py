"""A crash at any step of what a store does to its disk: everything stops there, and nothing is tidied up on the way out."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import apsw

from accord.store.directory import DirectoryStore


class Crash(BaseException):
    """The process is gone. Code that catches errors does not catch this one, and whatever it does on the way out fails too."""


class Steps:
    """Counts the steps; at the `fatal`-th, and ever after, there are no more."""

    def __init__(self, fatal: int | None = None) -> None:
        self.names: list[str] = []
        self.fatal = fatal

    def __call__(self, name: str) -> None:
        if self.fatal is None:
            return
        self.names.append(name)
        if len(self.names) >= self.fatal:
            raise Crash(name)

    @property
    def have_crashed(self) -> bool:
        return self.fatal is not None and len(self.names) >= self.fatal


async def abandon(store: DirectoryStore) -> None:
    """What the operating system does to a process that was killed: file descriptors are closed, locks given back, and that is all."""
    parts = store._parts
    store._closed = True
    store._flushing.cancel()
    with suppress(asyncio.CancelledError, Crash):
        await store._flushing
    parts.examiner.closing.set()
    parts.pool.stop_taking()
    await asyncio.to_thread(parts.indexing.stop)
    await asyncio.to_thread(parts.pool.close)
    await asyncio.to_thread(store._threads.shutdown)
    database = parts.index._db
    with suppress(apsw.SQLError):
        database.execute("ROLLBACK")
    database.close(True)
    for fd in store._fifos.values():
        os.close(fd)
    parts.private.close()
    parts.beneath.close()
