"""Threads that are none: what would be done in one is done on the simulated event loop, all at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from accord.store.hashing import BACKGROUND, URGENT, Job
from accord.testing.simulation.processes import PROCESS, Crash
from accord.testing.simulation.virtual_loop import VirtualLoop

T = TypeVar("T")


class _Flag(threading.Event):
    """Whoever waits for it holds up everything, but the threads that have been begun do their work meanwhile, and time passes."""

    loop: VirtualLoop
    begun: dict[_Worker, None]

    def wait(self, timeout: float | None = None) -> bool:
        process = PROCESS.get()
        for worker in [one for one in self.begun if one.process is process]:
            if not self.is_set():
                worker.join()
        if not self.is_set():
            assert timeout is not None, "nobody else could set it meanwhile"
            self.loop.advance(timeout)
        return self.is_set()


class _Worker:
    """A thread: its work is done on the loop, all at once, at the latest when somebody joins it. `begun` are those that have not yet
    done it."""

    loop: VirtualLoop
    begun: dict[_Worker, None]

    def __init__(self, target: Callable[[], None], name: str = "", daemon: bool = False) -> None:
        self._target: Callable[[], None] | None = target
        self.process = PROCESS.get()

    def start(self) -> None:
        self.begun[self] = None
        self.loop.call_soon(self.join)

    def join(self) -> None:
        target, self._target = self._target, None
        self.begun.pop(self, None)
        if target is None or (self.process is not None and not self.process.is_alive):
            return
        try:
            target()
        except Crash:
            return

    def is_alive(self) -> bool:
        return self._target is not None


class Threads:
    """Stands in for the module `threading`."""

    Lock, RLock, Condition, Semaphore, local = (
        threading.Lock,
        threading.RLock,
        threading.Condition,
        threading.Semaphore,
        threading.local,
    )

    def __init__(self, loop: VirtualLoop) -> None:
        begun: dict[_Worker, None] = {}
        self.Event = type("Flag", (_Flag,), {"loop": loop, "begun": begun})
        self.Thread = type("Worker", (_Worker,), {"loop": loop, "begun": begun})


class Pool:
    """As `hashing.HashingPool`: what a client waits for is done a moment later, what is in the background at once."""

    def __init__(self, loop: VirtualLoop, delay_s: Callable[[], float]) -> None:
        self._loop = loop
        self._delay_s = delay_s
        self._closed = False

    def submit(self, work: Callable[[], T], *, urgent: bool) -> Job[T]:
        job = Job(work, URGENT if urgent else BACKGROUND)
        if self._closed:
            job.future.cancel()
        elif urgent:
            self._loop.call_later(self._delay_s(), self._do, job)
        else:
            self._do(job)
        return job

    def hurry(self, job: Job[Any]) -> None:
        """It is done already."""

    def has_room(self) -> bool:
        return True

    def stop_taking(self) -> None:
        self._closed = True

    def close(self) -> None:
        self._closed = True

    def _do(self, job: Job[T]) -> None:
        work, job.work = job.work, None
        process = PROCESS.get()
        if work is None or (process is not None and not process.is_alive):
            return
        if self._closed or not job.future.set_running_or_notify_cancel():
            job.future.cancel()
            return
        _settle(job.future, work)


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    try:
        result = work()
    except Crash:
        return
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)
