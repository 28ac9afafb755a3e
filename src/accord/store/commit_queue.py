"""Commits on their way to a thread: small ones that come at the same time are made durable together, and cost one turn of a thread.

For the event loop's thread. What is larger, or may have bytes to copy, has a thread to itself: nobody waits for it but whoever wants
it. On a slow disk a second batch does not wait for the first one's end: the kernel makes durable together what several threads ask for.

No two are under way at once whose paths are the same, or one above the other: each looks at the disk before it promises, and would
not see that the other is about to put a file where this one needs a folder.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from accord.errors import StoreFailed
from accord.model.placement import current_contents
from accord.model.versions import merge
from accord.store.port import SMALL_CONTENT_BYTES, Change, Committed

THREADS = 4
"""Each step of a commit gives the interpreter's lock away and waits for it again: with more threads they mostly wake each other."""
MAX_TOGETHER = 4
"""So many share one turn at most: the first is told only when the last is done."""
BATCHES = 2
"""So many are under way while the disk is quick: one waits for it while the other's Python runs."""
PATIENCE_S = 0.01
"""Whoever has waited for so long, and there is a thread left, waits no more."""

Outcome = list[Committed] | None | Exception
"""Of one commit: what `port.Store.commit` gives, or raises."""
_Result = asyncio.Future[list[Committed] | None]


class _Waiting(NamedTuple):
    changes: Sequence[Change]
    result: _Result
    is_small: bool


class CommitQueue:
    """`commit_all` is `committing.Committer`'s."""

    def __init__(self, commit_all: Callable[[Sequence[Sequence[Change]]], list[Outcome]]) -> None:
        self._commit_all = commit_all
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="accord-commit")
        self._waiting: deque[_Waiting] = deque()
        self._taken = _Places()
        """By those under way."""
        self._batches = 0
        """So many are under way, with small ones in them."""
        self._running = 0
        self._impatience: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._last: asyncio.Future[None] | None = None
        """Who closes waits for it."""

    async def commit(self, changes: Sequence[Change]) -> list[Committed] | None:
        """See `port.Store.commit`."""
        if self._is_closed:
            raise StoreFailed("This server is stopping.")
        loop = asyncio.get_running_loop()
        result: _Result = loop.create_future()
        self._waiting.append(_Waiting(changes, result, _is_small(changes)))
        self._go_on(loop)
        return await result

    async def close(self) -> None:
        """Returns once all that has come is done; nothing more is taken."""
        self._is_closed = True
        if self._running or self._waiting:
            self._last = asyncio.get_running_loop().create_future()
            await self._last
        await asyncio.to_thread(self._threads.shutdown)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and self._begin(loop, BATCHES):
            pass
        if self._waiting and self._impatience is None:
            self._impatience = loop.call_later(PATIENCE_S, self._wait_no_more, loop)
        if not (self._running or self._waiting) and self._last is not None and not self._last.done():
            self._last.set_result(None)

    def _wait_no_more(self, loop: asyncio.AbstractEventLoop) -> None:
        self._impatience = None
        if self._waiting:
            self._begin(loop, THREADS)
        self._go_on(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop, most_batches: int) -> bool:
        """Begin a batch, unless so many are under way already, or a large commit; whether there was one."""
        if self._batches >= most_batches and all(one.is_small for one in self._waiting):
            return False
        left: deque[_Waiting] = deque()
        batch: list[_Waiting] = []
        reserved = _Places()  # nobody overtakes whoever waits for the same place
        while self._waiting and len(batch) < MAX_TOGETHER:
            one = self._waiting.popleft()
            if one.result.done():
                continue  # nobody waits for it any more
            paths = [change.path for change in one.changes]
            goes = not (self._taken.touches(paths) or reserved.touches(paths))
            if goes and one.is_small and self._batches < most_batches:
                batch.append(one)
                self._taken.add(paths)
            elif goes and not one.is_small and not batch:
                batch.append(one)
                self._taken.add(paths)
                break
            else:
                left.append(one)
                reserved.add(paths)
        self._waiting.extendleft(reversed(left))
        if not batch:
            return False
        is_small = batch[0].is_small
        self._batches += is_small
        self._running += 1
        done = loop.run_in_executor(self._threads, self._commit_all, [one.changes for one in batch])
        done.add_done_callback(partial(self._ended, loop, batch))
        return True

    def _ended(
        self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting], done: asyncio.Future[list[Outcome]]
    ) -> None:
        self._running -= 1
        self._batches -= batch[0].is_small
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        outcomes = done.result() if error is None else [error] * len(batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            self._taken.remove([change.path for change in one.changes])
            if one.result.done():
                continue
            if isinstance(outcome, BaseException):
                one.result.set_exception(outcome)
            else:
                one.result.set_result(outcome)
        self._go_on(loop)


class _Places:
    """Paths, and which of them lie above or below others."""

    def __init__(self) -> None:
        self._paths: Counter[str] = Counter()
        self._above: Counter[str] = Counter()

    def add(self, paths: Collection[str]) -> None:
        self._paths.update(paths)
        self._above.update(folder for path in paths for folder in _folders_above(path))

    def remove(self, paths: Collection[str]) -> None:
        self._paths -= Counter(paths)
        self._above -= Counter(folder for path in paths for folder in _folders_above(path))

    def touches(self, paths: Collection[str]) -> bool:
        """Whether one of them is one of these, or above or below one."""
        if not self._paths:
            return False
        return any(
            path in self._paths or path in self._above or any(folder in self._paths for folder in _folders_above(path))
            for path in paths
        )


def _folders_above(path: str) -> Iterator[str]:
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def _is_small(changes: Sequence[Change]) -> bool:
    """Whether all the bytes that it takes come along, and are few."""
    return all(
        len(current_contents(merge(change.before, change.clock))) <= len(change.incoming)
        and all(one.size <= SMALL_CONTENT_BYTES for one in change.incoming)
        for change in changes
    )
