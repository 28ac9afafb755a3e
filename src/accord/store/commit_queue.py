"""Commits on their way to a thread: small ones that come at the same time are made durable together, and cost one turn of a thread.

For the event loop's thread. What is larger, or may have bytes to copy, has a thread to itself: nobody waits for it but whoever wants
it. On a slow disk a second batch does not wait for the first one's end: the kernel makes durable together what several threads ask for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from accord.errors import StoreFailed
from accord.model.names import FilePath
from accord.model.placement import current_contents
from accord.store.port import SMALL_CONTENT_BYTES, Change, Committed

THREADS = 4
MAX_TOGETHER = 4
"""So many share one turn at most: the first is told only when the last is done."""
BATCHES = 2
"""So many are under way while the disk is quick: one waits for it while the other's Python runs."""
PATIENCE_S = 0.01
"""Whoever has waited for so long, and there is a thread left, waits no more."""

Outcome = list[Committed] | None | Exception
"""Of one commit: what `port.Store.commit` gives, or raises."""


_Result = asyncio.Future[list[Committed] | None]
_Waiting = tuple[Sequence[Change], _Result]


class CommitQueue:
    """`commit_all` is `committing.Committer`'s."""

    def __init__(self, commit_all: Callable[[Sequence[Sequence[Change]]], list[Outcome]]) -> None:
        self._commit_all = commit_all
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="accord-commit")
        self._waiting: deque[_Waiting] = deque()
        self._batches = 0
        """So many are under way."""
        self._impatience: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._last: asyncio.Future[None] | None = None
        """Who closes waits for it."""

    async def commit(self, changes: Sequence[Change]) -> list[Committed] | None:
        """See `port.Store.commit`."""
        if self._is_closed:
            raise StoreFailed("This server is stopping.")
        loop = asyncio.get_running_loop()
        if not _is_small(changes):
            (outcome,) = await loop.run_in_executor(self._threads, self._commit_all, [changes])
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        future: _Result = loop.create_future()
        self._waiting.append((changes, future))
        self._go_on(loop)
        return await future

    async def close(self) -> None:
        """Returns once all that has come is done; nothing more is taken."""
        self._is_closed = True
        if self._batches or self._waiting:
            self._last = asyncio.get_running_loop().create_future()
            await self._last
        await asyncio.to_thread(self._threads.shutdown)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and self._batches < BATCHES:
            self._begin(loop)
        if self._waiting and self._impatience is None:
            self._impatience = loop.call_later(PATIENCE_S, self._wait_no_more, loop)
        if not (self._batches or self._waiting) and self._last is not None and not self._last.done():
            self._last.set_result(None)

    def _wait_no_more(self, loop: asyncio.AbstractEventLoop) -> None:
        self._impatience = None
        if self._batches < THREADS:
            self._begin(loop)
        self._go_on(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        some: list[_Waiting] = []
        paths: set[FilePath] = set()
        while self._waiting and len(some) < MAX_TOGETHER:
            changes, future = self._waiting[0]
            own = {change.path for change in changes}
            if own & paths:
                break  # one after the other
            self._waiting.popleft()
            if not future.done():  # or nobody waits for it any more
                some.append((changes, future))
                paths |= own
        if not some:
            return
        self._batches += 1
        batch = loop.run_in_executor(self._threads, self._commit_all, [changes for changes, _ in some])
        batch.add_done_callback(partial(self._ended, loop, [future for _, future in some]))

    def _ended(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: Sequence[_Result],
        batch: asyncio.Future[list[Outcome]],
    ) -> None:
        self._batches -= 1
        error = asyncio.CancelledError() if batch.cancelled() else batch.exception()
        outcomes = batch.result() if error is None else [error] * len(futures)
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._go_on(loop)


def _is_small(changes: Sequence[Change]) -> bool:
    """Whether all the bytes that it takes come along, and are few."""
    return all(
        len(current_contents(change.clock)) <= len(change.incoming)
        and all(one.size <= SMALL_CONTENT_BYTES for one in change.incoming)
        for change in changes
    )
