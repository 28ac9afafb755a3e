"""Hashings of large files under way: one a path, however many wait for it, each with its progress.

How a job is done is left to `examining`, in which order, to `hashing`. Thread-safe.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future

from accord.model.names import FilePath
from accord.model.verdict import Answer, Checking
from accord.store.examining import Examiner, Opened, TooLarge
from accord.store.hashing import SMALL_BYTES, HashingPool, Job, Progress
from accord.store.records import Stat

KEPT_ANSWERS = 4_096


class Hashing:
    """One job. Its future's result is an answer that stands instead of a digest, or None: recorded, look again."""

    __slots__ = ("job", "progress")

    def __init__(self, job: Job[Answer | None], progress: Progress) -> None:
        self.job = job
        self.progress = progress

    def checking(self) -> Checking:
        return Checking(self.progress.hashed_bytes, self.progress.total_bytes)


class PathJobs:
    def __init__(self, examiner: Examiner, pool: HashingPool) -> None:
        self._examiner = examiner
        self._pool = pool
        self._lock = threading.Lock()
        self._running: dict[tuple[FilePath, bool], Hashing] = {}
        self._unreadable: dict[FilePath, tuple[Stat, Answer]] = {}

    def hash(self, path: FilePath, *, urgent: bool, reread: bool = False, size: int = 0) -> Hashing:
        """Join the path's job, or begin one. `reread` hashes even what the stat data vouch for."""
        key = (path, reread)
        with self._lock:
            hashing = self._running.get(key)
            if hashing is None:
                progress = Progress()
                progress.total_bytes = size
                job = self._pool.submit(lambda: self._do(path, progress, reread), urgent=urgent)
                hashing = self._running[key] = Hashing(job, progress)
                begun = True
            else:
                begun = False
        if begun:
            hashing.job.future.add_done_callback(lambda _: self._ended(key))
        elif urgent:
            self._pool.hurry(hashing.job)
        return hashing

    def later(self, path: FilePath) -> Future[Answer | None]:
        """In the background."""
        return self.hash(path, urgent=False).job.future

    def unvouched(self, path: FilePath, stat: Stat, at_once: bool) -> Answer | None:
        """For listings: what a small file is, if it may be hashed `at_once`; otherwise queue it, and say what is known by now."""
        if at_once and stat.size <= SMALL_BYTES:
            held = self._examiner.look(path)
            if isinstance(held, Opened):
                os.close(held.fd)
                return held.record.present()
            if not isinstance(held, TooLarge):
                return held
        refused = self._unreadable.get(path)
        if refused is not None and refused[0] == stat:
            return refused[1]
        hashing = self._running.get((path, False))
        if hashing is None and self._pool.has_room():
            hashing = self.hash(path, urgent=False, size=stat.size)
            hashing.job.future.add_done_callback(lambda future: self._remember(path, stat, future))
        return hashing.checking() if hashing is not None else None

    def _do(self, path: FilePath, progress: Progress, reread: bool) -> Answer | None:
        held = self._examiner.hash_large(path, progress, reread=reread)
        if isinstance(held, Opened):
            os.close(held.fd)
            return None
        return held

    def _ended(self, key: tuple[FilePath, bool]) -> None:
        with self._lock:
            self._running.pop(key, None)

    def _remember(self, path: FilePath, stat: Stat, future: Future[Answer | None]) -> None:
        """That a file cannot be read is not asked again as long as it stays as it is; otherwise each listing would."""
        answer = None if future.cancelled() or future.exception() else future.result()
        if answer is not None and not isinstance(answer, Checking):
            if len(self._unreadable) >= KEPT_ANSWERS:
                self._unreadable.clear()
            self._unreadable[path] = (stat, answer)
