"""Healing on the way: a copy that this server lacks is taken in while it passes by to the client.

Healing moves known versions and never makes one. It is bounded, one at a time for each path, and no reader waits for it or fails
with it. What counts as lacking is decided here; the durable step itself is the store's.
"""

from __future__ import annotations

import asyncio

import structlog

from accord.errors import AccordError
from accord.model.names import FilePath
from accord.model.verdict import Absent, Answer, Damaged, Kind, Verdict
from accord.store.port import Staging, Store

MAX_HEALS_AT_ONCE = 16

_log = structlog.get_logger("accord.heal")


def lacks(verdict: Verdict, local: Answer) -> bool:
    """Whether this server, which answered `local`, should take in the one current version.

    Only what has one right answer: nothing is healed while there are rivals, and nothing that is in the way is replaced.
    """
    if verdict.kind not in (Kind.PARTIAL, Kind.STALE):
        return False
    match local:
        case Absent(obstacle=None) | Damaged():
            return True
        case _:
            return False


class Healer:
    """Takes in copies for one server's store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._busy: set[FilePath] = set()
        self._commits: set[asyncio.Task[None]] = set()

    def tee(self, verdict: Verdict, local: Answer) -> HealingTee | None:
        """What to pass the current version's bytes through, or None where there is nothing to heal."""
        if not lacks(verdict, local) or self._store.degraded() is not None:
            return None
        return HealingTee(self, self._store, verdict, local)

    async def settle(self) -> None:
        """Wait until everything that passed by completely is durable, or has failed."""
        while self._commits:
            await asyncio.wait(set(self._commits))

    def _commit(self, tee: HealingTee, staging: Staging) -> None:
        task = asyncio.get_running_loop().create_task(tee.commit(staging))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    def _enter(self, path: FilePath) -> bool:
        """Whether there is room, and nobody else is at this path."""
        if path in self._busy or len(self._busy) >= MAX_HEALS_AT_ONCE:
            return False
        self._busy.add(path)
        return True

    def _leave(self, path: FilePath) -> None:
        self._busy.discard(path)


class HealingTee:
    """One healing: staged while the bytes pass by, committed once they are proven."""

    def __init__(self, healer: Healer, store: Store, verdict: Verdict, local: Answer) -> None:
        self._healer = healer
        self._store = store
        self._verdict = verdict
        self._local = local
        self._staging: Staging | None = None
        self._entered = False
        self._ended = False

    async def write(self, block: bytes) -> None:
        if not self._entered:
            self._entered = self._healer._enter(self._verdict.path)
            self._ended = not self._entered
        if self._ended:
            return
        try:
            if self._staging is None:
                self._staging = await self._stage()
            await self._staging.write(block)
        except AccordError as error:
            _log.warning("not healed", path=self._verdict.path, reason=error.detail)
            await self.failed()

    def proven(self) -> None:
        if self._ended or self._staging is None:
            return
        self._ended = True
        self._healer._commit(self, self._staging)

    async def failed(self) -> None:
        if self._ended or not self._entered:
            return
        self._ended = True
        try:
            if self._staging is not None:
                await self._staging.abort()
        finally:
            self._healer._leave(self._verdict.path)

    async def commit(self, staging: Staging) -> None:
        try:
            kept = await staging.commit()
            event = "healed" if kept is not None else "not healed: the path changed meanwhile"
            _log.info(event, path=self._verdict.path, digest=str(self._verdict.version.version.digest))
        except AccordError as error:
            _log.warning("not healed", path=self._verdict.path, reason=error.detail)
            await staging.abort()
        finally:
            self._healer._leave(self._verdict.path)

    async def _stage(self) -> Staging:
        verdict = self._verdict
        return await self._store.stage(verdict.path, verdict.version.version, verdict.clock, replacing=self._local)
