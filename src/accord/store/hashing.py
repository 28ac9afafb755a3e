"""Hashing files, in threads of its own: what a client waits for goes first, and the background never takes every thread.

A block at a time, so that memory does not grow with the file; BLAKE3 releases the GIL for each. Whether the result is to be believed
is for the stat data before and after to say; what it means, for `records` and `examining`.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from blake3 import blake3

from accord.model.names import Digest
from accord.store.port import BLOCK_BYTES

SMALL_BYTES = BLOCK_BYTES
"""A file up to this size is hashed where it is met (a fraction of a millisecond); a larger one becomes a job."""

MAX_BACKGROUND_JOBS = 4_096
URGENT, BACKGROUND = 0, 1

T = TypeVar("T")

_buffers = threading.local()


class Progress:
    """How far one hashing has come. Written by one thread, read by any."""

    __slots__ = ("hashed_bytes", "total_bytes")

    def __init__(self) -> None:
        self.hashed_bytes = 0
        self.total_bytes = 0


def own_buffer() -> memoryview:
    """This thread's block: made once, as giving a fresh one to the kernel costs more than the copy into it."""
    try:
        buffer: memoryview = _buffers.block
    except AttributeError:
        buffer = _buffers.block = memoryview(bytearray(BLOCK_BYTES))
    return buffer


def hash_open_file(
    fd: int, progress: Progress | None = None, give_up: threading.Event | None = None
) -> tuple[Digest, int]:
    """The digest of all bytes and their number, from the start, without moving the file's position. Raises `OSError`.
    Once `give_up` is set it ends early: the number then falls short of the file's size."""
    hasher, buffer, offset = blake3(), own_buffer(), 0
    while count := os.preadv(fd, (buffer,), offset):
        if give_up is not None and give_up.is_set():
            break
        hasher.update(buffer[:count])
        offset += count
        if progress is not None:
            progress.hashed_bytes = offset
    return Digest(hasher.digest()), offset


class Job(Generic[T]):
    """Queued or running work; `future` has its outcome."""

    __slots__ = ("future", "urgency", "work")

    def __init__(self, work: Callable[[], T], urgency: int) -> None:
        self.work: Callable[[], T] | None = work
        self.future: Future[T] = Future()
        self.urgency = urgency

    def call_off(self) -> None:
        """It was not begun. Whoever waits with `concurrent.futures.wait` is told too: cancelling alone does not tell them."""
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()


class HashingPool:
    """Threads with a priority queue. At least three, of which the background may use all but one."""

    def __init__(self, threads: int | None = None) -> None:
        count = max(3, threads or (os.cpu_count() or 1) + 1)
        self._background_limit = count - 1
        self._background_running = 0
        self._order = itertools.count()
        self._queues: tuple[list[tuple[int, Job[Any]]], list[tuple[int, Job[Any]]]] = ([], [])
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"accord-hash-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], T], *, urgent: bool) -> Job[T]:
        """Queue `work`. After `close` it is cancelled at once."""
        job = Job(work, URGENT if urgent else BACKGROUND)
        with self._changed:
            if self._closed:
                job.call_off()
            else:
                heapq.heappush(self._queues[job.urgency], (next(self._order), job))
                self._changed.notify()
        return job

    def hurry(self, job: Job[Any]) -> None:
        """A client has begun to wait: a job that is still in the background's queue goes before all of those."""
        with self._changed:
            if job.work is not None and job.urgency == BACKGROUND and not self._closed:
                job.urgency = URGENT
                heapq.heappush(self._queues[URGENT], (next(self._order), job))
                self._changed.notify()

    def has_room(self) -> bool:
        """Whether the background's queue takes more. What is left out is found again by a later look."""
        return len(self._queues[BACKGROUND]) < MAX_BACKGROUND_JOBS

    def stop_taking(self) -> None:
        """Cancels what waits, and everything submitted from now on."""
        with self._changed:
            self._closed = True
            waiting = {job for queue in self._queues for _, job in queue if job.work is not None}
            for queue in self._queues:
                queue.clear()
            self._changed.notify_all()
        for job in waiting:
            job.call_off()

    def close(self) -> None:
        """Waits for running jobs to end; whoever submitted them tells them to end early."""
        self.stop_taking()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            taken = self._take()
            if taken is None:
                return
            job, work, in_background = taken
            if job.future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
                    job.future.set_exception(error)
                else:
                    job.future.set_result(result)
            if in_background:
                with self._changed:
                    self._background_running -= 1
                    self._changed.notify()
            del taken, job, work

    def _take(self) -> tuple[Job[Any], Callable[[], Any], bool] | None:
        with self._changed:
            while not self._closed:
                for urgency, queue in enumerate(self._queues):
                    in_background = urgency == BACKGROUND
                    if in_background and self._background_running >= self._background_limit:
                        continue
                    while queue:
                        _, job = heapq.heappop(queue)
                        work, job.work = job.work, None  # None: hurried, and already taken from the other queue
                        if work is not None:
                            self._background_running += in_background
                            return job, work, in_background
                self._changed.wait()
            return None
