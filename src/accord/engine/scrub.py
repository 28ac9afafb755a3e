"""Scrubbing one server's store: every byte re-read by schedule, and when ordered, slowly enough to be in nobody's way.

The store reads and compares (`Inventory.scrub`); here it is decided when and how fast, and what is found is remembered, reported and
given to be healed. How far a run has come is noted in the store, so that it goes on there after a restart. An order interrupts the run
by schedule, which may take weeks; that one then goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from accord.background import begun, ended
from accord.engine.heal_queue import Urgency
from accord.engine.mending import Heals
from accord.engine.progress import RunProgress
from accord.engine.runs import EVERYTHING, RETRY_S, InThread, Order, Reports, Runs, files_in, stepwise, told_nobody
from accord.errors import AccordError
from accord.model.names import FilePath, Prefix
from accord.model.throttle import pause_s
from accord.quantities import NS_PER_S
from accord.store.inventory import Scope, ScrubStep
from accord.store.port import Store

NOTE: Final = "scrub"

_log = structlog.get_logger("accord.scrub")


class _Run(msgspec.Struct):
    """One that has not ended. `after` is the path that it goes on after."""

    order: int
    scope: str
    is_path: bool
    began_ns: int
    total_files: int = 0
    after: str | None = None
    files: int = 0
    bytes: int = 0
    findings: int = 0

    @classmethod
    def of(cls, order: Order, began_ns: int) -> _Run:
        return cls(order.number, str(order.scope), isinstance(order.scope, FilePath), began_ns)

    @property
    def what(self) -> Scope:
        return FilePath(self.scope) if self.is_path else Prefix(self.scope)

    @property
    def behind(self) -> FilePath | None:
        return None if self.after is None else FilePath(self.after)

    def take(self, step: ScrubStep) -> None:
        self.after = None if step.at is None else str(step.at)
        self.files += step.files
        self.bytes += step.read_bytes
        self.findings += len(step.findings)

    def progress(self, **how: object) -> RunProgress:
        figures = {
            name: getattr(self, name)
            for name in ("order", "scope", "began_ns", "total_files", "files", "bytes", "findings")
        }
        return msgspec.convert({**figures, **how}, RunProgress)


class _State(msgspec.Struct):
    """What is kept across restarts: the runs that have not ended, the one under way last; how the last one ended; and when everything
    was read last, or reading everything began to be due."""

    runs: list[_Run]
    last: RunProgress
    whole_ns: int


class Scrubber:
    """Scrubs one store. `every_s` None: only when ordered. `found` is told of every finding."""

    def __init__(
        self,
        store: Store,
        heals: Heals,
        *,
        every_s: float | None,
        bytes_per_s: float,
        share: float,
        now_ns: Callable[[], int],
        in_thread: InThread = asyncio.to_thread,
        found: Reports = told_nobody,
    ) -> None:
        self._store = store
        self._heals = heals
        self._every_s = every_s
        self._bytes_per_s = bytes_per_s
        self._share = share
        self._now_ns = now_ns
        self._in_thread = in_thread
        self._found = found
        self._orders = Runs(now_ns)
        self._state = _State([], RunProgress(), now_ns())
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = begun(self._work(), name="scrubbing")

    async def close(self) -> None:
        await ended(self._task)

    def order(self, number: int, scope: Scope) -> str | None:
        """See `engine.runs.Runs.order`."""
        return self._orders.order(number, scope)

    def progress(self) -> RunProgress:
        return self._orders.progress()

    async def _work(self) -> None:
        await self._recall()
        while True:
            order = self._orders.next()
            if order is None and not self._state.runs and self._due_in_s() == 0:
                order = Order(0, EVERYTHING)
            if order is not None:
                await self._begin(order)
            if not self._state.runs:
                await self._rest(self._due_in_s())
            elif not await self._go_on(self._state.runs[-1]):
                await self._rest(RETRY_S)

    async def _recall(self) -> None:
        try:
            raw = await self._store.noted(NOTE)
            if raw is not None:
                self._state = msgspec.json.decode(raw, type=_State)
        except (AccordError, msgspec.MsgspecError) as error:
            _log.warning("how far the scrub had come is not known", reason=str(error))
        self._state.whole_ns = min(self._state.whole_ns, self._now_ns())  # it may be from a clock that was set back
        self._orders.tell(self._state.last)
        self._note()

    def _note(self) -> None:
        self._store.note(NOTE, msgspec.json.encode(self._state).decode())

    def _due_in_s(self) -> float | None:
        if self._every_s is None:
            return None
        return max(0.0, self._every_s - (self._now_ns() - self._state.whole_ns) / NS_PER_S)

    async def _rest(self, at_most_s: float | None) -> None:
        """Until there is an order, or the time has passed."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._orders.news.wait()
        except TimeoutError:
            pass

    async def _begin(self, order: Order) -> None:
        if order.scope == EVERYTHING:
            self._state.runs = [
                run for run in self._state.runs if run.order
            ]  # it does what the one by schedule was to do
        run = _Run.of(order, self._now_ns())
        self._state.runs.append(run)
        try:
            run.total_files = await files_in(self._store, run.what)
        except AccordError as error:
            _log.info("files could not be counted", reason=error.detail)
        self._note()

    async def _go_on(self, run: _Run) -> bool:
        """Until it has ended, or gives way to an order. False where it is to be tried again after a while."""
        self._orders.tell(run.progress(running=True))
        try:
            async with aclosing(stepwise(self._store.scrub(run.what, run.behind), self._in_thread)) as steps:
                began_s = _now_s()
                async for step in steps:
                    took_s = _now_s() - began_s
                    self._take(run, step)
                    await self._pause(run, self._pause_s(step, took_s))
                    if not run.order and self._orders.is_waited_for:
                        return True
                    began_s = _now_s()
        except AccordError as failure:
            _log.warning("the scrub failed", scope=run.scope, reason=failure.detail)
            if not run.order:
                self._orders.tell(run.progress(running=True, error=failure.detail))
                return False
            self._ended(run, failure.detail)
        else:
            self._ended(run, None)
        return True

    def _take(self, run: _Run, step: ScrubStep) -> None:
        for finding in step.findings:
            self._store.note_finding(finding)
            self._found(run.order, finding)
            self._heals.suggest(finding.path, Urgency.SCRUB)
        run.take(step)
        self._note()
        self._orders.tell(run.progress(running=True))

    async def _pause(self, run: _Run, for_s: float) -> None:
        """Cut short by an order that the run gives way to."""
        if run.order:
            await asyncio.sleep(for_s)
        else:
            await self._rest(for_s)

    def _pause_s(self, step: ScrubStep, took_s: float) -> float:
        return pause_s(step.read_bytes, took_s, bytes_per_s=self._bytes_per_s, share=self._share)

    def _ended(self, run: _Run, error: str | None) -> None:
        self._state.runs.remove(run)
        self._state.last = run.progress(running=False, ended_ns=self._now_ns(), error=error)
        if error is None and run.what == EVERYTHING:
            self._state.whole_ns = self._now_ns()
            _log.info("scrubbed", files=run.files, bytes=run.bytes, findings=run.findings)
        self._note()
        self._orders.tell(self._state.last)
        if run.findings:
            self._heals.look()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
