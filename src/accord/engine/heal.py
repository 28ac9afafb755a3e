"""Healing on the way: a copy that this server lacks is taken in while it passes by to the client.

Healing moves known versions and never makes one. It is bounded, one at a time for each path, and no reader waits for it or fails
with it; nor does a slow reader keep its place from others.
What counts as lacking is decided in `model.repair`; the durable step itself is the store's. What does not pass by in one body is
`engine.update`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeGuard

import structlog

from accord.background import begun
from accord.engine.strangers import IsStranger, is_left_alone, no_stranger
from accord.errors import AccordError, IntegrityError, Unavailable
from accord.model.names import FilePath
from accord.model.repair import lacks, needs
from accord.model.verdict import Absent, Answer, Kind, Known, Verdict
from accord.model.versions import EMPTY_CLOCK
from accord.store.port import Change, Incoming, Store

MAX_HEALS_AT_ONCE = 16
STALLED_S = 5.0
"""A healing that nothing has passed by to for so long gives way to another that wants its place."""

_log = structlog.get_logger("accord.heal")


def passes_by(local: Answer, verdict: Verdict) -> TypeGuard[Known]:
    """Whether the one current version is all that this server, which answered `local`, lacks."""
    return verdict.kind in (Kind.PARTIAL, Kind.STALE) and len(needs(verdict, local)) == 1 and lacks(verdict, local)


def nobody_told(path: FilePath) -> None:
    """Whoever reads the path next heals it."""


class Healer:
    """Takes in copies for one server's store. `now_s` is a monotonic time; `given_up` is told of paths that are still to be healed
    because the reader they passed by to was too slow."""

    def __init__(
        self,
        store: Store,
        *,
        now_s: Callable[[], float],
        given_up: Callable[[FilePath], None] = nobody_told,
        is_stranger: IsStranger = no_stranger,
    ) -> None:
        self.now_s = now_s
        self.is_stranger = is_stranger
        self._store = store
        self._given_up = given_up
        self._busy: dict[FilePath, HealingTee] = {}
        self._endings: set[asyncio.Task[None]] = set()

    def tee(self, verdict: Verdict, local: Answer) -> HealingTee | None:
        """What to pass the current version's bytes through, or None where there is nothing to heal."""
        if not passes_by(local, verdict) or not self._store.takes_in():
            return None
        return HealingTee(self, self._store, verdict, local)

    def makes_room(self, path: FilePath) -> bool:
        """Whether a tee for `path` would be let in now. Whoever makes no progress gives way."""
        holder = self._busy.get(path)
        if holder is not None:
            if holder.has_stalled:
                self._give_up(holder)
            return path not in self._busy
        if len(self._busy) >= MAX_HEALS_AT_ONCE:
            stalled = next((tee for tee in self._busy.values() if tee.has_stalled), None)
            if stalled is not None:
                self._give_up(stalled)
                self._given_up(stalled.path)
        return len(self._busy) < MAX_HEALS_AT_ONCE

    async def settle(self) -> None:
        """Wait until everything that passed by completely is durable, or has failed, and nothing half-way is left."""
        while self._endings:
            await asyncio.wait(set(self._endings))

    def _give_up(self, tee: HealingTee) -> None:
        _log.info("a slow reader's healing gives way", path=tee.path)
        self._leave(tee)
        self._end(tee.dropped())

    def _end(self, ending: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Conduct the end of a healing, whatever becomes of the reader."""
        task = begun(ending, name="the end of a healing")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task

    def _enter(self, tee: HealingTee) -> bool:
        if not self.makes_room(tee.path):
            return False
        self._busy[tee.path] = tee
        return True

    def _leave(self, tee: HealingTee) -> None:
        if self._busy.get(tee.path) is tee:
            del self._busy[tee.path]


class HealingTee:
    """One healing: staged while the bytes pass by, committed once they are proven.

    What it has begun to do with its staging is never interrupted: a reader that goes away meanwhile leaves the rest to the healer.
    """

    def __init__(self, healer: Healer, store: Store, verdict: Verdict, local: Known) -> None:
        self.path = verdict.path
        self._healer = healer
        self._store = store
        self._verdict = verdict
        self._local = local
        self._incoming: Incoming | None = None
        self._under_way: asyncio.Future[None] | None = None
        self._moved_at_s = 0.0
        self._entered = False
        self._ended = False

    @property
    def has_stalled(self) -> bool:
        """Nothing passes by: whoever it passes to is slow. A slow disk is no reason, nor is a commit."""
        at_work = self._ended or self._under_way is not None
        return not at_work and self._healer.now_s() - self._moved_at_s >= STALLED_S

    async def write(self, block: bytes) -> None:
        if not self._entered:
            self._entered = self._healer._enter(self)
            self._ended = not self._entered
        if self._ended:
            return
        self._under_way = asyncio.ensure_future(self._take(block))
        try:
            await asyncio.shield(self._under_way)
            self._under_way = None
        except AccordError as error:
            _log.warning("not healed", path=self.path, reason=error.detail)
            await self.failed()
        self._moved_at_s = self._healer.now_s()

    def proven(self) -> None:
        if self._ended or self._incoming is None:
            return
        self._ended = True
        self._healer._end(self._committed(self._incoming))

    async def failed(self) -> None:
        if self._ended or not self._entered:
            return
        await asyncio.shield(self._healer._end(self.dropped()))

    async def dropped(self) -> None:
        """Let go of the staging, once nothing is being done with it. Called once, by whoever ends it."""
        self._ended = True
        try:
            if self._under_way is not None:
                await asyncio.wait([self._under_way])
            if self._incoming is not None:
                await self._incoming.abort()
        except AccordError as error:
            _log.warning("a staging cannot be dropped", path=self.path, reason=error.detail)
        finally:
            self._healer._leave(self)

    async def _take(self, block: bytes) -> None:
        if self._incoming is None:
            if await self._is_left_alone():
                raise Unavailable("Only a server that was away for long has it.", path=self.path)
            self._incoming = await self._store.receive(self._verdict.version.version.size)
        await self._incoming.write(block)

    async def _is_left_alone(self) -> bool:
        """As in `engine.update`: what only a stranger has is not taken over."""
        local = self._local
        if not isinstance(local, Absent) or local.clock != EMPTY_CLOCK:
            return False
        return await is_left_alone(self._store, self.path, self._verdict.version.holders, self._healer.is_stranger)

    async def _committed(self, incoming: Incoming) -> None:
        verdict, digest = self._verdict, self._verdict.version.version.digest
        try:
            if await incoming.finish() != digest:
                raise IntegrityError("The bytes that came are not those of the version.", path=self.path)
            async with self._store.locked(self.path):
                done = await self._store.commit([Change(self.path, self._local.clock, verdict.clock, (incoming,))])
            event = "healed" if done is not None else "not healed: the path changed meanwhile"
            _log.info(event, path=self.path, digest=str(digest))
        except AccordError as error:
            _log.warning("not healed", path=self.path, reason=error.detail)
        finally:
            await incoming.abort()
            self._healer._leave(self)
