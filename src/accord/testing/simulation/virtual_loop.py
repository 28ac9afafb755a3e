"""An event loop whose time is made up: when nothing is ready, its clock jumps to the next timer.

Nothing waits, no thread runs: what the code under test gives to a thread is done on the loop, a moment later. Futures and tasks are
numbered and hash by their number, so that the order in which sets of them are gone through follows from the seed, not from addresses.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from accord.testing.simulation.processes import PROCESS, Crash, Process

MAX_IDLE_S = 86_400.0
"""No loop of a server sleeps for longer; an idle wait beyond this is a deadlock."""

UNMEANT = (AttributeError, TypeError, AssertionError, LookupError, NameError, RuntimeError, OSError)
"""Errors that nobody raises on purpose, or lets through from below."""

T = TypeVar("T")


class Stuck(Exception):
    """Nothing is ready, and no timer is set: whoever is waited for never comes."""


class NumberedTask(asyncio.Task[Any]):
    """A task of one server, or of the world around them."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, number: int, owner: Process | None, **options: Any) -> None:
        self.number = number
        self.owner = owner
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class NumberedFuture(asyncio.Future[Any]):
    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class _Jump:
    """In the place of a selector: waiting is to move the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout_s: float | None) -> list[Any]:
        if timeout_s is None:
            raise Stuck("nothing is ready, and nothing will ever be")
        if timeout_s > 0:
            self._loop.advance(timeout_s)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """`thread_delay_s` tells how long a thread takes to get at its work."""

    def __init__(self, thread_delay_s: Callable[[], float]) -> None:
        super().__init__()
        self._selector = _Jump(self)
        self._clock_resolution = 1e-6
        self._now_s = 1000.0
        self._numbers = 0
        self._thread_delay_s = thread_delay_s
        self.set_task_factory(self._new_task)

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Time passes; timers that came due meanwhile are late."""
        self._now_s += seconds

    def create_future(self) -> asyncio.Future[Any]:
        self._numbers += 1
        return NumberedFuture(number=self._numbers, loop=self)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """`func` on the loop itself, a moment later. Raises `Crash` for a server that is gone."""
        process = PROCESS.get()
        if process is not None:
            process.require_alive()
        future = self.create_future()
        self.call_later(self._thread_delay_s(), self._work, future, process, func, args)
        return future

    def living(self, process: Process) -> list[NumberedTask]:
        """The tasks of a server that have not ended, in the order they were begun."""
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, NumberedTask) and task.owner is process]
        return sorted(tasks, key=lambda task: task.number)

    def _work(
        self, future: asyncio.Future[T], process: Process | None, func: Callable[..., T], args: tuple[Any, ...]
    ) -> None:
        """Work that nobody waits for any more is done all the same, as in a thread that has begun."""
        if process is not None and not process.is_alive:
            return
        try:
            result = func(*args)
        except Crash:
            return  # nobody is left to be told
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, context: contextvars.Context | None = None, **options: Any
    ) -> NumberedTask:
        self._numbers += 1
        owner = (context or contextvars.copy_context()).get(PROCESS)
        task = NumberedTask(coro, number=self._numbers, owner=owner, loop=self, context=context, **options)
        task.add_done_callback(self._look_at_the_end)
        return task

    def _look_at_the_end(self, task: asyncio.Future[Any]) -> None:
        """What no code means to raise is told at once, whoever takes it."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, UNMEANT) and not isinstance(error, TimeoutError):
            self.call_exception_handler({"message": "unmeant", "exception": error, "task": task})

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none: nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody needs waking: it never sleeps."""
