"""The index: one SQLite file that keeps, for each path, the digest that stat data vouch for, and the clock.

One connection behind one lock. What only saves hashing again (first sights, refreshed stat data) is committed in batches, and kept in
memory alone where it cannot be written; what must not be forgotten once told (`commit`) is durable before that returns, or refused.
Commits are synced (WAL, synchronous=FULL). Threads that want one at the same time share one: whoever gets the lock first writes what
all of them want, and each that waited finds its own done.

A file that turns out broken is opened anew, which moves it aside and begins another where that is needed. A row that turns out
broken is dropped. Either way clocks are lost, and so the incarnation is a new one: no counter is used twice.

A bounded cache in memory answers the hot path without lock or disk. What records mean is left to `records`, how they are written to
`index_rows`; the transaction of a commit to `promises`, opening, and mending a broken file, to `index_file`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import apsw
import structlog

from accord.errors import IntegrityError, StoreFailed
from accord.model.names import FilePath
from accord.store.debts import Ledger
from accord.store.index_rows import (
    ADD,
    GET,
    PUT,
    RANGE,
    RANGE_RECORDS,
    Known,
    Row,
    record_of,
    row_of,
    translated,
    translation,
)
from accord.store.known_records import KnownRecords
from accord.store.promises import Job, Promised, Put, write_puts
from accord.store.records import Record

BATCH_RECORDS = 16_384
BATCH_S = 0.5
REOPEN_PAUSE_S = 10.0
"""A broken file is opened anew at most so often."""

_FSYNC_CODES = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})
_BROKEN = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.ConnectionClosedError, UnicodeDecodeError)

T = TypeVar("T")

_log = structlog.get_logger("accord.store")


class Reopen(Protocol):
    """Opens the index's file anew. `as_new`: it is broken although nothing shows, so begin another. Returns the incarnation too."""

    def __call__(self, *, as_new: bool) -> tuple[apsw.Connection, str]: ...


class Index:
    """Thread-safe. All methods but `known` and `distrust` may wait for the disk; they raise `StoreFailed` or `DiskFull`."""

    def __init__(self, connection: apsw.Connection, incarnation: str, reopen: Reopen) -> None:
        self.incarnation = incarnation
        self.failure: str | None = None
        """Why the last attempt to write failed; None once one succeeds."""
        self.unsound: str | None = None
        """A commit could not be synced: nothing is promised any more."""
        self.on_rebuilt: Callable[[], None] = _nothing
        self.debts = Ledger()
        self._db = connection
        self._reopen = reopen
        self._reopened_s = -REOPEN_PAUSE_S
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._closed = False
        self._uncommitted = 0
        self._batch_began_s = 0.0
        self._cache = KnownRecords()
        self.known = self._cache.get
        self.distrust = self._cache.distrust

    def get(self, path: FilePath) -> Record | None:
        known = self.known(path)
        if known is None:
            known = self._guarded(lambda: self._load(path))
        return known.record

    def replace(self, path: FilePath, expected: Record | None, record: Record, *, durable: bool) -> bool:
        """Write `record` if the path's is still `expected`; says whether it did. `durable` waits for the disk. What is not durable
        holds no event, and is kept in memory where it cannot be written."""
        if durable:
            return self.commit([Put(path, expected, record)], 0) is not None

        def work() -> bool:
            if self._load(path).record != expected:
                return False
            self._begin(1)
            self._db.execute(PUT, row_of(path, record))
            if self._due():
                self._commit()
            self._cache.remember(path, record)
            return True

        try:
            return self._guarded(work)
        except StoreFailed:
            with self._lock:
                known = self.known(path)
                if known is None or known.record != expected:
                    raise
                self._cache.remember(path, record)
            return True

    def commit(self, puts: Sequence[Put], now_ns: int) -> list[Promised] | None:
        """Write all of them, with all that belongs to them, durably; or None, and nothing, if any record is not the expected one."""
        job = Job(puts, now_ns)
        self._waiting.append(job)
        try:
            self._guarded(lambda: self._write_waiting(job))
        finally:
            with suppress(ValueError):
                self._waiting.remove(job)
        if job.error is not None:
            raise translation(job.error) from job.error
        return job.result

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """A query. It sees what is not committed yet."""
        return self._guarded(lambda: work(self._db))

    def batch(self, work: Callable[[apsw.Connection], None]) -> None:
        """What may be forgotten in a crash: written now, committed with whatever comes next."""

        def begin_and_work() -> None:
            self._begin(1)
            work(self._db)

        self._guarded(begin_and_work)

    def add(self, rows: Sequence[Row]) -> None:
        """First sights, in bulk; a path that has a record keeps it."""

        def work() -> None:
            self._begin(len(rows))
            self._db.executemany(ADD, rows)
            if self._due():
                self._commit()
            for row in rows:
                self._cache.forget(row[0])

        self._guarded(work)

    def between(self, after: str, upto: str) -> Iterator[tuple[FilePath, Record]]:
        """Records with `after` < path <= `upto`, in order; read in bounded portions."""
        while True:
            low = after
            rows: list[Any] = self._guarded(lambda low=low: self._db.execute(RANGE, (low, upto)).fetchall())  # type: ignore[misc]
            for row in rows:
                try:
                    record = record_of(row)
                except (IntegrityError, ValueError) as error:
                    self._guarded(lambda row=row, error=error: self._drop(row[0], error))  # type: ignore[misc]
                else:
                    yield FilePath.trusted(row[0]), record
            if len(rows) < RANGE_RECORDS:
                return
            after = rows[-1][0]

    def flush(self, *, only_if_due: bool = False) -> None:
        """Commit what is batched. After a failure, see whether writing works again."""

        def work() -> None:
            if self.failure is not None and self.unsound is None:
                self._begin(0)
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('tried', ?)", (str(time.time_ns()),))
                self._commit()
            elif self.debts.is_unwritten or (self._uncommitted and (not only_if_due or self._due())):
                self._begin(0)
                self._commit()

        self._guarded(work)

    def close(self) -> None:
        try:
            self.flush()
        finally:
            with self._lock, translated():
                self._closed = True
                self._db.close(True)

    @property
    def settled(self) -> threading.Lock:
        """Held while the file may be moved aside."""
        return self._lock

    def _load(self, path: FilePath) -> Known:
        """Under the lock, so that an older record never takes a newer one's place in the cache."""
        known = self.known(path)
        if known is not None:
            return known
        row: Row | None = self._db.execute(GET, (path,)).fetchone()
        try:
            return self._cache.remember(path, None if row is None else record_of(row))
        except (IntegrityError, ValueError) as error:
            self._drop(path, error)
            return self._cache.remember(path, None)

    def _drop(self, path: str, error: Exception) -> None:
        """The row's clock is lost, with the counters that were used: they must not come again."""
        incarnation = secrets.token_hex(8)
        self._begin(1)
        self._db.execute("DELETE FROM files WHERE path = ?", (path,))
        self._db.execute("UPDATE meta SET value = ? WHERE key = 'incarnation'", (incarnation,))
        self._commit()
        self.incarnation = incarnation
        _log.warning("a record in the index is broken; its file is hashed again", path=path, reason=str(error))

    def _begin(self, records: int) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
            self._uncommitted = 0
            self._batch_began_s = time.monotonic()
        self._uncommitted += records

    def _due(self) -> bool:
        return self._uncommitted >= BATCH_RECORDS or time.monotonic() - self._batch_began_s > BATCH_S

    def _commit(self) -> None:
        if self._db.in_transaction:
            struck = self.debts.strike_out(self._db) if self.debts.is_unwritten else None
            self._db.execute("COMMIT")
            self.failure = None
            if struck is not None:
                self.debts.struck(struck)
        self._uncommitted = 0

    def _write_waiting(self, mine: Job) -> None:
        """Under the lock: what every waiting thread wants, in one transaction; one by one where that fails."""
        if mine.done:
            return
        if self.unsound is not None:
            raise StoreFailed(f"The index failed: {self.unsound}.")
        jobs = [job for job in list(self._waiting) if not job.done]  # the others' threads have not been told yet
        try:
            self._write_jobs(jobs)
        except apsw.Error as error:
            if len(jobs) == 1 or isinstance(error, _BROKEN):
                raise
            self._fail(error)
            for job in jobs:
                self._write_alone(job)

    def _write_alone(self, job: Job) -> None:
        try:
            self._write_jobs([job])
        except apsw.Error as error:
            if isinstance(error, _BROKEN):
                raise
            self._fail(error)
            job.error, job.done = error, True

    def _write_jobs(self, jobs: Sequence[Job]) -> None:
        self._begin(0)
        fresh: dict[FilePath, Record] = {}
        written = []
        try:
            for job in jobs:
                job.result = write_puts(
                    self._db, job, lambda path: fresh.get(path) or self._load(path).record, self.debts
                )
                if job.result is not None:
                    written.append(job)
                    fresh.update((put.path, put.record) for put in job.puts)
            if written or not self._uncommitted:
                self._commit()
        except BaseException:
            self._roll_back()
            raise
        for path, record in fresh.items():
            self._cache.remember(path, record)
        for job in written:
            self.debts.confirm(job.owed)
        for job in jobs:
            job.done = True

    def _guarded(self, work: Callable[[], T]) -> T:
        """Under the lock. `work` may be done again, with another file and an empty cache behind it."""
        with self._lock:
            try:
                try:
                    return work()
                except _BROKEN as error:
                    if not self._open_anew(error, as_new=False):
                        raise
                try:
                    return work()
                except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as error:
                    if not self._open_anew(error, as_new=True):
                        raise
                return work()
            except (apsw.Error, UnicodeDecodeError) as error:
                self._fail(error)
                with translated():
                    raise
                raise AssertionError from error
            except StoreFailed as failure:
                self.failure = failure.detail
                raise

    def _fail(self, error: Exception) -> None:
        """What was batched is undone. It stays in memory: it holds no event, so that forgetting it only means hashing again."""
        self.failure = str(error)
        if isinstance(error, apsw.Error) and getattr(error, "extendedresult", 0) in _FSYNC_CODES:
            self.unsound = "a write could not be made durable"
        self._roll_back()

    def _roll_back(self) -> None:
        with suppress(apsw.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        self.debts.undone()
        self._uncommitted = 0

    def _open_anew(self, error: Exception, *, as_new: bool) -> bool:
        """Whether the work is worth another try. Not after a failed sync, which is never tried again."""
        now_s = time.monotonic()
        recently = not as_new and now_s - self._reopened_s < REOPEN_PAUSE_S
        if self._closed or recently or getattr(error, "extendedresult", 0) in _FSYNC_CODES:
            return False
        self._reopened_s = now_s
        _log.error("the index failed; it is opened anew", reason=str(error))
        with suppress(apsw.Error):
            self._db.close(True)
        self._uncommitted = 0
        self._cache.clear()
        self._db, incarnation = self._reopen(as_new=as_new)
        if incarnation != self.incarnation:
            self.incarnation = incarnation
            self.debts.begin_anew()
            self.on_rebuilt()
        return True


def _nothing() -> None:
    return None
