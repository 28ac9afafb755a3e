"""Healing in the background: paths that are to be brought up to date here, the most urgent first, several at once.

Bounded and deduplicated. What fails is tried again by itself, after longer and longer pauses, and at once when another server comes up.
The queue is memory: what survives a restart are the facts that fill it (the index's unmended paths, debts, fingerprints). What bringing
up to date means is left to `engine.update`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from enum import IntEnum
from itertools import islice
from typing import Protocol

import structlog

from accord.engine.progress import HealFailure, HealProgress
from accord.model.names import FilePath, ServerName

MAX_QUEUED_PATHS = 10_000
"""Of those that were suggested; beyond that the least urgent are let go, and found again by whoever found them."""
MAX_FOLLOWED_PATHS = 1_000
"""So many are queued by those who wait for their end; more wait for room."""
MAX_WAITING_PATHS = 10_000
"""So many that failed are remembered."""
MAX_WORKERS = 8
"""Mostly they wait for disks, and commits that come at the same time share one transaction."""
FIRST_PAUSE_S = 10.0
LAST_PAUSE_S = 600.0
MAX_TOLD_FAILURES = 20

_STOPPING = "this server is stopping"
_BROKE = "healing it failed in a way that nobody thought of; the log says how"

_log = structlog.get_logger("accord.heal")


class Urgency(IntEnum):
    """Who found that a path is to be healed: the smallest goes first."""

    READ = 0
    """Somebody reads it."""
    SCAN = 1
    """It changed behind Accord's back."""
    SCRUB = 2
    """Its copy is damaged, and nobody has asked for it."""
    SYNC = 3
    """Another server knows it differently."""


class Updates(Protocol):
    """The part of `engine.changes.ChangeHandler` that heals."""

    async def update(self, path: FilePath) -> str | None: ...


class _Job:
    """One path. `followers` are told how the next try ends (of one that is running, the one after); `again`: it was suggested
    while it was being healed."""

    __slots__ = ("again", "followers", "path", "reason", "timer", "tries", "urgency")

    def __init__(self, path: FilePath, urgency: Urgency) -> None:
        self.path = path
        self.urgency = urgency
        self.tries = 0
        self.reason = ""
        self.again: Urgency | None = None
        self.followers: list[asyncio.Future[str | None]] = []
        self.timer: asyncio.TimerHandle | None = None


class LooksAgain(Protocol):
    """Takes the verdict of a path anew. `tells`: whoever lacks something is told, as nobody else may know of it."""

    def __call__(self, path: FilePath, *, tells: bool) -> Awaitable[None]: ...


async def _no_look(path: FilePath, *, tells: bool) -> None:
    """Whoever reads the path next learns what became of it."""


class HealQueue:
    """The healings of one server. `look_again` is told of each path that is up to date now, before its followers are."""

    def __init__(self, updates: Updates, *, look_again: LooksAgain = _no_look) -> None:
        self._updates = updates
        self._look_again = look_again
        self._queued: dict[Urgency, dict[FilePath, _Job]] = {urgency: {} for urgency in Urgency}
        self._running: dict[FilePath, _Job] = {}
        self._waiting: dict[FilePath, _Job] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MAX_FOLLOWED_PATHS)
        self._paused = self._closed = False
        self._healed = self._dropped = 0

    def suggest(self, path: FilePath, urgency: Urgency = Urgency.READ) -> None:
        """Heal `path` soon, if it still is to be healed by then. Does nothing when it failed lately (it is tried again by itself)."""
        if not self._closed and path not in self._waiting:
            self._queue(path, urgency)
            self._let_go()
            self._start_workers()

    async def enqueue(self, path: FilePath, urgency: Urgency) -> asyncio.Future[str | None]:
        """Like `suggest`, waiting for room. The future never fails: it has how the next try ended, None or why not; for what failed
        lately, why that was."""
        await self._room.acquire()
        ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        ended.add_done_callback(lambda _: self._room.release())
        waiting = self._waiting.get(path)
        if self._closed or waiting is not None:
            ended.set_result(_STOPPING if waiting is None else waiting.reason)
        else:
            self._queue(path, urgency).followers.append(ended)
            self._start_workers()
        return ended

    def wake(self, server: ServerName | None = None) -> None:
        """`server` has come up: what failed is tried again now."""
        waiting, self._waiting = self._waiting, {}
        for job in waiting.values():
            if job.timer is not None:
                job.timer.cancel()
            self._queued[job.urgency][job.path] = job
        self._start_workers()

    def pause(self) -> None:
        """Begin nothing until `resume`. What is queued stays, and what is being healed comes to its end."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._start_workers()

    def progress(self) -> HealProgress:
        failures = islice(reversed(self._waiting.values()), MAX_TOLD_FAILURES)
        return HealProgress(
            queued=sum(map(len, self._queued.values())) + len(self._waiting),
            running=len(self._running),
            waiting=len(self._waiting),
            paused=self._paused,
            healed=self._healed,
            dropped=self._dropped,
            failures=tuple(HealFailure(path=str(job.path), reason=job.reason, tries=job.tries) for job in failures),
        )

    async def close(self) -> None:
        """Stop; what was being healed is dropped, and leaves nothing behind."""
        self._closed = True
        workers = set(self._workers)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)
        for job in self._waiting.values():
            if job.timer is not None:
                job.timer.cancel()
        for queued in self._queued.values():
            while queued:
                _tell(queued.popitem()[1].followers, _STOPPING)

    def _queue(self, path: FilePath, urgency: Urgency) -> _Job:
        """The path's job, queued at least as urgently as that. One that is running is run once more: what it had looked at may have
        changed since."""
        running = self._running.get(path)
        if running is not None:
            running.again = urgency if running.again is None else min(running.again, urgency)
            return running
        for queued in self._queued.values():
            job = queued.get(path)
            if job is not None:
                if urgency < job.urgency:
                    del queued[path]
                    job.urgency = urgency
                    self._queued[urgency][path] = job
                return job
        job = self._queued[urgency][path] = _Job(path, urgency)
        return job

    def _let_go(self) -> None:
        """Of what nobody follows the least urgent, where there is too much; of those the newest."""
        if sum(map(len, self._queued.values())) <= MAX_QUEUED_PATHS:
            return
        for urgency in reversed(Urgency):
            queued = self._queued[urgency]
            for path in reversed(queued):
                if not queued[path].followers:
                    del queued[path]
                    self._dropped += 1
                    return

    def _start_workers(self) -> None:
        wanted = min(MAX_WORKERS, sum(map(len, self._queued.values())) + len(self._running))
        while not (self._paused or self._closed) and len(self._workers) < wanted:
            worker = asyncio.get_running_loop().create_task(self._work(), name="healing")
            self._workers.add(worker)
            worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            _log.error("healing failed", exc_info=error)
        self._start_workers()  # also for what was queued when this one had just found nothing more

    async def _work(self) -> None:
        while not self._paused and (job := self._next()) is not None:
            self._running[job.path] = job
            followers, job.followers = job.followers, []
            reason: str | None = _BROKE
            try:
                reason = await self._updates.update(job.path)
                if reason is None:
                    await self._look_again(job.path, tells=job.urgency is Urgency.SCAN)
            finally:
                del self._running[job.path]
                reason = _STOPPING if self._closed and reason is _BROKE else reason
                self._ended(job, reason)
                _tell(followers, reason)

    def _next(self) -> _Job | None:
        for queued in self._queued.values():
            if queued:
                return queued.pop(next(iter(queued)))
        return None

    def _ended(self, job: _Job, reason: str | None) -> None:
        again, job.again = job.again, None
        if reason is None and again is not None and not self._closed:
            job.urgency, job.tries = again, 0
            self._queued[again][job.path] = job
            return
        if reason is None:
            self._healed += 1
        elif not self._closed:
            self._wait(job, reason)
        followers, job.followers = job.followers, []
        _tell(followers, reason)

    def _wait(self, job: _Job, reason: str) -> None:
        """Try it again later, of itself."""
        if not job.tries:
            _log.warning("not healed", path=job.path, reason=reason)
        pause_s = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(job.tries, 30))
        job.tries += 1
        job.reason = reason
        self._waiting[job.path] = job
        job.timer = asyncio.get_running_loop().call_later(pause_s, self._retry, job)
        if len(self._waiting) > MAX_WAITING_PATHS:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            if oldest.timer is not None:
                oldest.timer.cancel()
            self._dropped += 1

    def _retry(self, job: _Job) -> None:
        if self._waiting.pop(job.path, None) is job:
            self._queued[job.urgency][job.path] = job
            self._start_workers()


def _tell(followers: Sequence[asyncio.Future[str | None]], reason: str | None) -> None:
    for follower in followers:
        if not follower.done():
            follower.set_result(reason)
