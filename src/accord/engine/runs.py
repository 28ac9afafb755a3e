"""What scans and scrubs have in common: orders that wait for their turn, what is told of the runs, and steps taken in threads.

What a run does is left to `engine.scan` and `engine.scrub`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from accord.engine.progress import RunProgress
from accord.model.findings import Finding
from accord.model.names import FilePath, Prefix
from accord.quantities import NS_PER_S
from accord.store.inventory import Inventory, Scope

MAX_WAITING_ORDERS: Final = 16
MAX_ENDED_ORDERS: Final = 16
SHOWN_S: Final = 10.0
"""An ordered run that has ended is told of for so long, whatever begins of itself meanwhile: whoever ordered it looks now and then."""
RETRY_S: Final = 60.0
"""After a run that failed the next one of itself begins no later than this."""

T = TypeVar("T")

EVERYTHING: Final = Prefix("")


class InThread(Protocol):
    """Runs `work`, which blocks, beside the event loop: `asyncio.to_thread`."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


class Reports(Protocol):
    """Who is told of each finding: of the run that was ordered with that number (0: by schedule)."""

    def __call__(self, number: int, finding: Finding, /) -> None: ...


def told_nobody(number: int, finding: Finding) -> None:
    """The store remembers it all the same."""


class Order(NamedTuple):
    """`number` 0: by schedule."""

    number: int
    scope: Scope


class Runs:
    """The orders of one kind of work, and what is told of its runs. `news` is set by each order."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._orders: deque[Order] = deque()
        self._ended: deque[int] = deque(maxlen=MAX_ENDED_ORDERS)
        self._shown = self._current = RunProgress()
        self._shown_until_ns = 0
        self.news = asyncio.Event()

    def order(self, number: int, scope: Scope) -> str | None:
        """Begin a run once those before it have ended: None, or why it cannot be."""
        if len(self._orders) >= MAX_WAITING_ORDERS:
            return f"{MAX_WAITING_ORDERS} orders are waiting already"
        self._orders.append(Order(number, scope))
        self.news.set()
        return None

    @property
    def is_waited_for(self) -> bool:
        return bool(self._orders)

    def next(self) -> Order | None:
        self.news.clear()
        return self._orders.popleft() if self._orders else None

    def tell(self, progress: RunProgress) -> None:
        """Of the run under way, or of how it ended."""
        self._current = progress
        if progress.order and not progress.running:
            self._ended.append(progress.order)
            self._shown_until_ns = self._now_ns() + int(SHOWN_S * NS_PER_S)
        if progress.order or self._now_ns() >= self._shown_until_ns:
            self._shown = progress

    def progress(self) -> RunProgress:
        if self._now_ns() >= self._shown_until_ns:
            self._shown = self._current
        return msgspec.structs.replace(self._shown, ended_orders=tuple(self._ended))


async def stepwise(steps: Iterator[T], in_thread: InThread) -> AsyncGenerator[T, None]:
    """Each step in a thread. Whoever leaves early waits for the one under way: it may hold what is being closed. Use with
    `contextlib.aclosing`."""

    async def one() -> T | None:
        return await in_thread(lambda: next(steps, None))

    while True:
        task = asyncio.ensure_future(one())
        try:
            step = await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
        if step is None:
            return
        yield step


async def files_in(store: Inventory, scope: Scope) -> int:
    """About how many a run of the scope has before it."""
    if isinstance(scope, FilePath):
        return 1
    count = await store.count(scope)
    return count.paths - count.deleted
