"""Many files at once: workers with a client each, results in the order in which they are done, and an end at once on Ctrl-C.

What is done with one file is the commands' part. A worker that is in the middle of a transfer when the end comes is left behind: what
it was sending is dropped by the server, what it was receiving is continued by the next run.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from accord.client.blocking import Client

Task = TypeVar("Task")
Done = TypeVar("Done")

MAX_WAITING: Final = 1000
"""How many tasks and results may wait: a tree of any size is walked as it is worked off."""
POLL_S: Final = 0.2
"""How soon a worker that waits for its turn sees that it is over."""


class _Over:
    """No more of it."""


class _Broken:
    """A fault of the program in a worker, to be raised where it is seen."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause


def each(
    tasks: Iterable[Task], work: Callable[[Client, Task], Done], *, jobs: int, client: Callable[[], Client]
) -> Iterator[Done]:
    """`work` on every task. What it raises, and what `tasks` raises, ends everything; errors of one file belong into its result."""
    crew = _Crew(work, client)
    crew.start(tasks, jobs)
    try:
        yield from crew.results()
    finally:
        crew.stop.set()


class _Crew(Generic[Task, Done]):
    def __init__(self, work: Callable[[Client, Task], Done], client: Callable[[], Client]) -> None:
        self._work, self._client = work, client
        self._tasks: queue.Queue[Task | _Over] = queue.Queue(MAX_WAITING)
        self._done: queue.Queue[Done | _Over | _Broken] = queue.Queue(MAX_WAITING)
        self._workers = 0
        self.stop = threading.Event()

    def start(self, tasks: Iterable[Task], jobs: int) -> None:
        """Daemons, which do not hold the program up when it ends."""
        self._workers = jobs
        threading.Thread(target=self._hand_out, args=(tasks,), name="accord-tasks", daemon=True).start()
        for number in range(jobs):
            threading.Thread(target=self._run, name=f"accord-worker-{number}", daemon=True).start()

    def results(self) -> Iterator[Done]:
        running = self._workers
        while running:
            match self._done.get():
                case _Over():
                    running -= 1
                case _Broken(cause=cause):
                    raise cause
                case done:
                    yield done

    def _hand_out(self, tasks: Iterable[Task]) -> None:
        try:
            for task in tasks:
                self._put(self._tasks, task)
                if self.stop.is_set():
                    return
        except BaseException as cause:  # noqa: BLE001 - carried to the thread that waits for the results
            self._put(self._done, _Broken(cause))
        for _ in range(self._workers):
            self._put(self._tasks, _Over())

    def _run(self) -> None:
        try:
            with self._client() as client:
                while not self.stop.is_set():
                    task = self._tasks.get()
                    if isinstance(task, _Over):
                        break
                    self._put(self._done, self._work(client, task))
        except BaseException as cause:  # noqa: BLE001 - carried likewise
            self._put(self._done, _Broken(cause))
        self._put(self._done, _Over())

    def _put(self, where: queue.Queue[Any], what: object) -> None:
        while not self.stop.is_set():
            try:
                where.put(what, timeout=POLL_S)
                return
            except queue.Full:
                continue
