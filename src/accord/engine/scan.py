"""Scanning one server's directory: at start, by schedule, when ordered, and where hints say that something may have changed.

The store walks and compares (`Inventory.rescan`); here it is decided when, and what is found is remembered, reported and given to be
healed. One run at a time. A run that was interrupted just begins again: of what it has done nothing is left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Final

import structlog
from msgspec.structs import replace

from accord.background import begun, ended
from accord.engine.heal_queue import Urgency
from accord.engine.mending import Heals
from accord.engine.progress import RunProgress
from accord.engine.runs import EVERYTHING, RETRY_S, InThread, Order, Reports, Runs, files_in, stepwise, told_nobody
from accord.errors import AccordError, InvalidPath
from accord.model.findings import Finding
from accord.model.names import FilePath
from accord.model.verdict import Deleted, Present
from accord.store.hints import MAX_HINTS, Hints
from accord.store.inventory import Scope
from accord.store.port import Store

QUIET_S: Final = 1.0
"""A path that hints tell of is looked at once nothing more was told of it for so long: nobody means to keep a file that is only half
written."""
MAX_PATIENCE_S: Final = 60.0
"""... or once it has been waited for so long: a log file is written to all day."""
SHARE: Final = 0.5
"""A scan that nobody is waiting for works no more than this part of the time: it belongs to whoever reads and writes."""

_log = structlog.get_logger("accord.scan")


class Scanner:
    """Scans one store. `every_s` None: only at start, when ordered, and by hints. `found` is told of every finding."""

    def __init__(
        self,
        store: Store,
        heals: Heals,
        *,
        every_s: float | None,
        now_ns: Callable[[], int],
        in_thread: InThread = asyncio.to_thread,
        hints: Hints | None = None,
        found: Reports = told_nobody,
    ) -> None:
        self._store = store
        self._heals = heals
        self._every_s = every_s
        self._now_ns = now_ns
        self._in_thread = in_thread
        self._hints = hints
        self._found = found
        self._runs = Runs(now_ns)
        self._hinted: dict[str, tuple[float, float]] = {}
        self._has_missed_hints = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins with a scan of everything: nobody knows what happened while the server was down."""
        self._task = begun(self._work(), name="scanning")
        if self._hints is not None:
            self._hints.start(self._take_hints)

    async def close(self) -> None:
        if self._hints is not None:
            await self._hints.close()
        await ended(self._task)

    def order(self, number: int, scope: Scope) -> str | None:
        """See `engine.runs.Runs.order`."""
        return self._runs.order(number, scope)

    def progress(self) -> RunProgress:
        return self._runs.progress()

    async def _work(self) -> None:
        due_s: float | None = _now_s()
        while True:
            order = self._runs.next()
            if order is None and due_s is not None and _now_s() >= due_s:
                order = Order(0, EVERYTHING)
            if order is None:
                await self._look_at_hinted()
                await self._rest(due_s)
                continue
            succeeded = await self._run(order)
            if order.scope == EVERYTHING and succeeded:
                due_s = None if self._every_s is None else _now_s() + self._every_s
            elif not order.number:
                due_s = _now_s() + min(RETRY_S, self._every_s or RETRY_S)

    async def _rest(self, due_s: float | None) -> None:
        """Until there is something to do."""
        moments = [due_s, *(self._ripe_s(*told) for told in self._hinted.values())]
        next_s = min((moment for moment in moments if moment is not None), default=None)
        try:
            async with asyncio.timeout_at(next_s):
                await self._runs.news.wait()
        except TimeoutError:
            pass

    async def _run(self, order: Order) -> bool:
        """Whether it came to its end."""
        progress = RunProgress(running=True, scope=str(order.scope), order=order.number, began_ns=self._now_ns())
        self._runs.tell(progress)
        if order.scope == EVERYTHING:
            self._has_missed_hints = False
        error = None
        try:
            progress = replace(progress, total_files=await files_in(self._store, order.scope))
            async with aclosing(stepwise(self._store.rescan(order.scope), self._in_thread)) as steps:
                began_s = _now_s()
                async for step in steps:
                    progress = replace(
                        progress,
                        files=progress.files + step.files,
                        bytes=progress.bytes + step.hashed_bytes,
                        findings=progress.findings + len(step.findings),
                    )
                    self._runs.tell(progress)
                    self._report(order.number, step.findings, step.found)
                    await asyncio.sleep(0 if order.number else (_now_s() - began_s) * (1 / SHARE - 1))
                    began_s = _now_s()
        except AccordError as failure:
            error = failure.detail
            _log.warning("the scan failed", scope=str(order.scope), reason=error)
        self._runs.tell(replace(progress, running=False, ended_ns=self._now_ns(), error=error))
        if error is None and order.scope == EVERYTHING:
            self._heals.look()
            if progress.findings:
                _log.info("scanned", files=progress.files, findings=progress.findings)
        return error is None

    def _report(self, number: int, findings: Collection[Finding], found: Collection[FilePath]) -> None:
        for finding in findings:
            self._store.note_finding(finding)
            self._found(number, finding)
            self._heals.suggest(finding.path, Urgency.SCAN)
        for path in found:
            self._heals.suggest(path, Urgency.SCAN)

    # Hints.

    def _take_hints(self, paths: Collection[str] | None) -> None:
        if paths is None or len(self._hinted) + len(paths) > MAX_HINTS:
            self._hinted.clear()
            if not self._has_missed_hints:
                _log.info("more has changed than hints can tell; the next scan of everything finds it")
            self._has_missed_hints = True
            return
        now_s = _now_s()
        for path in paths:
            first_s, _ = self._hinted.get(path, (now_s, now_s))
            self._hinted[path] = (first_s, now_s)
        self._runs.news.set()

    def _ripe_s(self, first_s: float, last_s: float) -> float:
        return min(last_s + QUIET_S, first_s + MAX_PATIENCE_S)

    async def _look_at_hinted(self) -> None:
        now_s = _now_s()
        ripe = sorted(path for path, told in self._hinted.items() if self._ripe_s(*told) <= now_s)
        for path in ripe:
            if self._runs.is_waited_for:
                return
            self._hinted.pop(path, None)
            await self._look_at(path)

    async def _look_at(self, text: str) -> None:
        """Most are of what this server has just written itself: those cost no thread."""
        try:
            path = FilePath(text)
        except InvalidPath:
            return
        if isinstance(self._store.glance_answer(path), Present | Deleted):
            return
        try:
            async with aclosing(stepwise(self._store.rescan(path), self._in_thread)) as steps:
                async for step in steps:
                    self._report(0, step.findings, step.found)
        except AccordError as error:
            _log.info("a hint could not be followed", path=path, reason=error.detail)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
