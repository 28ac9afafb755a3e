"""The index: one SQLite file that keeps, for each path, the digest that stat data vouch for, and the clock.

One connection behind one lock. What only saves hashing again (first sights, refreshed stat data) is committed in batches, and kept in
memory alone where it cannot be written; what must not be forgotten once told (`commit`) is durable before that returns, or refused.
Commits are synced (WAL, synchronous=FULL). Threads that want one at the same time share one: whoever gets the lock first writes what
all of them want, and each that waited finds its own done.

A row that turns out broken is dropped. Its clock is lost, and so the incarnation is a new one, as it is for a new file: no counter is
used twice. A deletion that is dropped leaves a bound below which counters are not used again.

A bounded cache in memory answers the hot path without lock or disk. What records mean is left to `records`, how they are written to
`index_rows` and `file_rows`; the transaction of a commit to `promises`, the connection to `index_connection`, opening to `index_file`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import apsw
import structlog

from accord.errors import IntegrityError, StoreFailed
from accord.model.names import FilePath
from accord.store.file_rows import FileRows
from accord.store.index_connection import BATCH_RECORDS, BROKEN, IndexConnection, Reopen
from accord.store.index_rows import GET, RANGE, RANGE_RECORDS, Known, Row, record_of, translated, translation
from accord.store.promises import Job, Promised, Put, write_puts
from accord.store.records import Record
from accord.store.todo import todo_of
from accord.store.tombstones import forget_history, greatest_counter, known_since_before, write_floor

T = TypeVar("T")

_log = structlog.get_logger("accord.store")


class Index(IndexConnection):
    """Thread-safe. All methods but `known` and `distrust` may wait for the disk; they raise `StoreFailed` or `DiskFull`."""

    def __init__(self, connection: apsw.Connection, incarnation: str, reopen: Reopen) -> None:
        super().__init__(connection, incarnation, reopen)
        self.floor = 0
        """See `port.Store.floor`. Never goes back, though a transaction may."""
        self._rows = FileRows(self.stretches)
        self._waiting: list[Job] = []
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
            self._rows.change(self._db, path, expected, record)
            if self._due():
                self._commit()
            else:
                self._batch(path, record)
            self._remember(path, expected, record)
            return True

        try:
            return self._guarded(work)
        except StoreFailed:
            with self._lock:
                known = self.known(path)
                if known is None or known.record != expected:
                    raise
                self._remember(path, expected, record)
                self._batch(path, record)
            return True

    def _batch(self, path: FilePath, record: Record) -> None:
        if len(self._batched) < BATCH_RECORDS:
            self._batched[path] = record

    def _write_again(self) -> None:
        """The cache has gone on believing it: without this the rows would say something else until the next start."""
        for path, record in self._batched.items():
            known = self.known(path)
            if known is not None and known.record == record:
                self._rows.put(self._db, path, record)

    def commit(self, puts: Sequence[Put], now_ns: int) -> list[Promised] | None:
        """Write all of them, with all that belongs to them, durably; or None, and nothing, if any record is not the expected one."""
        (job,) = self.commit_all([puts], now_ns)
        if job.error is not None:
            raise job.error
        return job.result

    def commit_all(self, wanted: Sequence[Sequence[Put]], now_ns: int) -> list[Job]:
        """Each as `commit` does, in one transaction with the others: whether one came too late, or failed, is nothing to the others."""
        jobs = [Job(puts, now_ns) for puts in wanted]
        self._waiting += jobs
        try:
            for job in jobs:
                if not job.done:
                    self._write_or_fail(job)
        finally:
            for job in jobs:
                with suppress(ValueError):
                    self._waiting.remove(job)
        return jobs

    def _write_or_fail(self, job: Job) -> None:
        try:
            self._guarded(lambda: self._write_waiting(job))
        except Exception as error:  # noqa: BLE001 - it is nothing to those whose jobs are done
            job.error, job.done = error, True

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """A query. It sees what is not committed yet."""
        return self._guarded(lambda: work(self._db))

    def ask(self, work: Callable[[apsw.Connection], T]) -> T:
        """A query of what stands, or of ranges: what was noted is written first."""

        def write_and_work() -> T:
            if self.standing.is_unwritten:
                self._begin(0)
                self.standing.write(self._db)
            if self.standing.is_crowded:
                self._commit()
            return work(self._db)

        return self._guarded(write_and_work)

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
            self._rows.add(self._db, rows)
            if self._due():
                self._commit()
            for row in rows:
                self._cache.forget(row[0])
            if self.standing.has_news_of_copies:
                for row in rows:
                    self.standing.recorded(row[0], is_done=not row[-1], is_deed=True)

        self._guarded(work)

    def drop_tombstones(self, older_than_ns: int, limit: int) -> int:
        """Durably, with the next batch; says how many there were."""

        def work() -> int:
            paths = known_since_before(self._db, older_than_ns, limit)
            records = [(path, record) for path in paths if (record := self._load(path).record) and record.stat is None]
            self._begin(len(records))
            self.floor = max([self.floor, *(greatest_counter(one.clock, self.incarnation) for _, one in records)])
            write_floor(self._db, self.floor)
            for path, _ in records:
                self._rows.drop(self._db, path)
                forget_history(self._db, path)
                self._cache.forget(path)
                self.standing.forgotten(path)
            return len(records)

        return self._guarded(work)

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
            elif self._has_unwritten or (self._uncommitted and (not only_if_due or self._due())):
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
        self._rows.drop(self._db, path)
        self._db.execute("UPDATE meta SET value = ? WHERE key = 'incarnation'", (incarnation,))
        self._commit()
        self.incarnation = incarnation
        _log.warning("a record in the index is broken; its file is hashed again", path=path, reason=str(error))

    def _remember(self, path: FilePath, before: Record | None, record: Record) -> None:
        self._cache.remember(path, record)
        if self.standing.may_stand(path):
            is_deed = before is None or (before.clock, before.digest) != (record.clock, record.digest)
            self.standing.recorded(path, is_done=not todo_of(record), is_deed=is_deed)

    def _write_waiting(self, mine: Job) -> None:
        """Under the lock: what every waiting thread wants, in one transaction; one by one where that fails."""
        if mine.done:
            return
        if self.unsound is not None:
            raise StoreFailed(f"The index failed: {self.unsound}.")
        jobs = [job for job in list(self._waiting) if not job.done]  # the others' threads have not been told yet
        try:
            self._write_jobs(jobs)
        except Exception as error:
            if len(jobs) == 1 or isinstance(error, BROKEN):
                raise
            if isinstance(error, apsw.Error):
                self._fail(error)
            for job in jobs:
                self._write_alone(job)

    def _write_alone(self, job: Job) -> None:
        try:
            self._write_jobs([job])
        except BROKEN:
            raise
        except apsw.Error as error:
            self._fail(error)
            job.error, job.done = translation(error), True
            job.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 - it belongs to whoever wants the job
            job.error, job.done = error, True

    def _write_jobs(self, jobs: Sequence[Job]) -> None:
        # Before the transaction: a record that turns out broken ends it.
        known = {put.path: self._load(put.path).record for job in jobs for put in job.puts}
        self._begin(0)
        fresh: dict[FilePath, Record] = {}
        written = []
        try:
            for job in jobs:
                job.result = write_puts(
                    self._db, job, self._rows, lambda path: fresh.get(path) or known[path], self.debts
                )
                if job.result is not None:
                    written.append(job)
                    fresh.update((put.path, put.record) for put in job.puts)
            if written or not self._uncommitted:
                self._commit()
        except BaseException:
            self._roll_back()
            raise
        for job in written:
            for put in job.puts:
                self._remember(put.path, put.expected, put.record)
            self.debts.confirm(job.owed)
        for job in jobs:
            job.done = True
