"""The first hashing: once after the start, in the background, every file that nothing vouches for is hashed and recorded.

Small files are hashed a folder's run at a time, straight from the walk's open folder, and their records written in bulk: this is what
makes ten thousand files a matter of a fraction of a second. Everything else (a file that has a record already, or is large) goes the
common way through `examining`. Requests never wait for any of this.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from stat import S_ISREG

import structlog
from blake3 import blake3

from accord.errors import StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import Answer, Damaged, Unreachable
from accord.store.confinement import READ_FLAGS, Confinement
from accord.store.examining import Examiner, Opened, TooLarge
from accord.store.hashing import HashingPool, own_buffer
from accord.store.index import Index
from accord.store.index_rows import Row, found_row
from accord.store.port import Indexing
from accord.store.records import RACY_WINDOW_NS, Judge, Stat, is_executable
from accord.store.survey import Survey
from accord.store.walk import Run, stat_in, walk_runs

RUNS_IN_FLIGHT = 8
TINY_BYTES = 64 * 1024
"""While files are smaller than this on average, one thread is faster than two: they would mostly hand the GIL to each other."""

MAX_LARGE_QUEUED = 256
PROGRESS_LOG_S = 5.0

_log = structlog.get_logger("accord.store")


@dataclass(frozen=True)
class _Tools:
    beneath: Confinement
    index: Index
    examiner: Examiner
    pool: HashingPool
    judge: Judge
    now_ns: Callable[[], int]


class FirstIndexing:
    """Runs in a thread of its own from `start` until it has been through the tree, or `stop`; and `again` when all is forgotten."""

    def __init__(
        self,
        beneath: Confinement,
        index: Index,
        examiner: Examiner,
        pool: HashingPool,
        judge: Judge,
        now_ns: Callable[[], int],
        hash_later: Callable[[FilePath], Future[Answer | None]],
    ) -> None:
        self._tools = _Tools(beneath, index, examiner, pool, judge, now_ns)
        self._hash_later = hash_later
        self._large: deque[Future[Answer | None]] = deque()
        self._room = threading.Semaphore(RUNS_IN_FLIGHT)
        self._counting = threading.Lock()
        self._found_files = self._hashed_files = self._hashed_bytes = 0
        self._survey = Survey()
        self._mean_bytes = 0  # of the last run; a guess for the next
        self._stopping = threading.Event()
        self.ended = threading.Event()
        self._running = threading.Lock()
        self._is_running = self._once_more = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="accord-indexing", daemon=True)
        self._is_running = True
        self._thread.start()

    def again(self) -> None:
        """The index has been begun anew: go through the tree once more. Does not wait, and touches no index."""
        with self._running:
            if self._thread is None or self._stopping.is_set():
                return
            self.ended.clear()
            if self._is_running:
                self._once_more = True
            else:
                self.start()

    def stop(self) -> None:
        """Ends it early; what it has hashed stays. Does not wait for runs that the pool has begun."""
        self._stopping.set()
        self._room.release(RUNS_IN_FLIGHT)
        with self._running:
            thread = self._thread
        if thread is not None:
            thread.join()

    def progress(self) -> Indexing:
        with self._counting:
            return Indexing(
                self.ended.is_set(),
                self._hashed_files,
                self._hashed_bytes,
                self._found_files,
                **vars(self._survey),
            )

    def _run(self) -> None:
        while True:
            self._survey = Survey()
            self._found_files = self._hashed_files = self._hashed_bytes = 0
            self._go_through()
            with self._running:
                if not self._once_more or self._stopping.is_set():
                    self._is_running = False
                    if not self._stopping.is_set():
                        self.ended.set()
                    return
                self._once_more = False

    def _go_through(self) -> None:
        began_s = logged_s = time.monotonic()
        running: list[Future[None]] = []
        low = ""
        for run in walk_runs(self._tools.beneath, survey=self._survey):
            self._room.acquire()
            if self._stopping.is_set():
                break
            self._found_files += len(run.paths)
            fd = _second(run.folder_fd) if self._mean_bytes >= TINY_BYTES else None
            if fd is None:
                self._index_run(run, low)
                self._room.release()
            else:
                running = [future for future in running if not future.done()]
                running.append(self._submit(Run(run.folder, fd, run.paths), low))
            low = run.paths[-1]
            if time.monotonic() - logged_s > PROGRESS_LOG_S:
                logged_s = time.monotonic()
                _log.info("hashing the files", hashed=self._hashed_files, found=self._found_files)
            self._wait_for_large(MAX_LARGE_QUEUED)
        wait(running)
        self._wait_for_large(0)
        self._end(began_s)

    def _wait_for_large(self, at_most: int) -> None:
        """Until no more than that many large files are queued."""
        while len(self._large) > at_most:
            wait([self._large.popleft()])

    def _end(self, began_s: float) -> None:
        try:
            self._tools.index.flush()
        except StoreFailed as error:
            _log.error("what was hashed could not be recorded", reason=error.detail)
        if not self._stopping.is_set():
            seconds = round(time.monotonic() - began_s, 3)
            counts = {"new": self._hashed_files, "found": self._found_files, "seconds": seconds}
            self._report(counts)

    def _report(self, counts: dict[str, float]) -> None:
        survey = self._survey
        if survey.unreadable:
            examples = survey.unreadable_examples
            _log.warning(
                "the files are hashed, but some could not be read",
                unread=survey.unreadable,
                examples=examples,
                **counts,
            )
        else:
            _log.info("all files are hashed", **counts)
        if survey.unnameable:
            names = survey.unnameable_examples
            _log.warning("names that Accord cannot use are left alone", names=survey.unnameable, examples=names)
        if survey.colliding:
            pairs = survey.colliding_examples
            _log.warning("names differ only in case or in Unicode form", names=survey.colliding, examples=pairs)

    def _submit(self, run: Run, low: str) -> Future[None]:
        future = self._tools.pool.submit(lambda: self._index_run(run, low), urgent=False).future

        def finished(done: Future[None]) -> None:
            os.close(run.folder_fd)
            self._room.release()
            if not done.cancelled() and (error := done.exception()) is not None:
                _log.error("files could not be hashed", folder=run.folder, exc_info=error)

        future.add_done_callback(finished)
        return future

    def _index_run(self, run: Run, low: str) -> None:
        """Records of the run lie between `low` (the last path before it) and its last path."""
        try:
            recorded = dict(self._tools.index.between(low, run.paths[-1]))
            rows: list[Row] = []
            for path in run.paths:
                if self._stopping.is_set():
                    break
                record = recorded.get(path)
                if record is None:
                    row = self._first_sight(run, path)
                    if row is not None:
                        rows.append(row)
                        continue
                else:
                    status = stat_in(run, path, self._survey)
                    if status is None or record.vouching() == Stat.of(status):
                        continue
                self._examine(path)
            self._tools.index.add(rows)
            hashed_bytes = sum(row[1] or 0 for row in rows)
            self._mean_bytes = hashed_bytes // (len(rows) or 1)
            self._count(len(rows), hashed_bytes)
        except StoreFailed as error:
            self._survey.note_unreadable(run.folder, error.detail)
            _log.error("files could not be recorded", folder=run.folder, reason=error.detail)

    def _first_sight(self, run: Run, path: FilePath) -> Row | None:
        """The record of a small file that stood still, in the form it is stored; None leaves it to the common way.

        One look at the stat data is enough, afterwards: that the last change was well before the reading began says that there
        was none during it.
        """
        try:
            fd = os.open(path[len(run.folder) :], READ_FLAGS, dir_fd=run.folder_fd)
        except OSError:
            return None
        try:
            began_ns = self._tools.now_ns()
            raw, count = _digest_small(fd)
            after = os.fstat(fd)
        except OSError:
            return None
        finally:
            os.close(fd)
        stat = Stat.of(after)
        if count != stat.size or began_ns - stat.ctime_ns <= RACY_WINDOW_NS or not S_ISREG(after.st_mode):
            return None
        author, executable = str(self._tools.judge.server), is_executable(after.st_mode)
        return found_row(path, stat, began_ns, raw, author, executable=executable)

    def _examine(self, path: FilePath) -> None:
        held = self._tools.examiner.look(path)
        if isinstance(held, TooLarge):
            size = held.size
            future = self._hash_later(path)
            future.add_done_callback(lambda done: self._hashed_large(path, size, done))
            self._large.append(future)
        elif isinstance(held, Opened):
            size = held.record.stat.size if held.record.stat else 0
            os.close(held.fd)
            self._count(1, size)
        elif isinstance(held, Unreachable | Damaged):
            self._survey.note_unreadable(path, held.reason)

    def _hashed_large(self, path: FilePath, size: int, done: Future[Answer | None]) -> None:
        answer = None if done.cancelled() or done.exception() else done.result()
        if isinstance(answer, Unreachable | Damaged):
            self._survey.note_unreadable(path, answer.reason)
        else:
            self._count(1, size)

    def _count(self, files: int, size_bytes: int) -> None:
        with self._counting:
            self._hashed_files += files
            self._hashed_bytes += size_bytes


def _second(fd: int) -> int | None:
    """Another descriptor of the same folder; None where there are too many open: it is then done without."""
    try:
        return os.dup(fd)
    except OSError:
        return None


def _digest_small(fd: int) -> tuple[bytes, int]:
    """Of the bytes of a file of at most `SMALL_BYTES`; of a larger one, a number of bytes that is not its size."""
    content = os.pread(fd, TINY_BYTES, 0)
    if len(content) < TINY_BYTES:
        return blake3(content).digest(), len(content)
    buffer = own_buffer()
    count = os.preadv(fd, (buffer,), 0)
    return blake3(buffer[:count]).digest(), count
