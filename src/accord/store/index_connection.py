"""The index's one connection: its lock, its transactions, and what happens when one fails or the file is broken.

Transactions are begun by whoever writes first, and committed when it must be, or when a batch is due; what is noted elsewhere is
written along (debts, what stands, stretches). After a failure all of it is undone. A file that turns out broken is opened
anew, which moves it aside and begins another where that is needed. What is written is left to `index`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import apsw
import structlog

from accord.errors import StoreFailed
from accord.model.names import FilePath
from accord.store.debts import Ledger
from accord.store.index_rows import translation
from accord.store.known_records import KnownRecords
from accord.store.records import Record
from accord.store.standing import Standing
from accord.store.stretches import Stretches

BATCH_RECORDS = 16_384
BATCH_S = 0.5
REOPEN_PAUSE_S = 10.0
"""A broken file is opened anew at most so often."""

_FSYNC_CODES = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})
BROKEN = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.ConnectionClosedError, UnicodeDecodeError)

T = TypeVar("T")

_log = structlog.get_logger("accord.store")


class Reopen(Protocol):
    """Opens the index's file anew. `as_new`: it is broken although nothing shows, so begin another. Returns the incarnation too."""

    def __call__(self, *, as_new: bool) -> tuple[apsw.Connection, str]: ...


class IndexConnection:
    """What is under `_lock` is done within `_guarded`, and raises `StoreFailed` or `DiskFull`."""

    def __init__(self, connection: apsw.Connection, incarnation: str, reopen: Reopen) -> None:
        self.incarnation = incarnation
        self.failure: str | None = None
        """Why the last attempt to write failed; None once one succeeds."""
        self.unsound: str | None = None
        """A commit could not be synced: nothing is promised any more."""
        self.on_rebuilt: Callable[[], None] = _nothing
        self.debts = Ledger()
        self.standing = Standing()
        self.stretches = Stretches()
        self._db = connection
        self._reopen = reopen
        self._reopened_s = -REOPEN_PAUSE_S
        self._lock = threading.Lock()
        self._closed = False
        self._uncommitted = 0
        self._batch_began_s = 0.0
        self._cache = KnownRecords()
        self._batched: dict[FilePath, Record] = {}
        """Records that are in the cache, and not committed yet; at most `BATCH_RECORDS`."""

    def _begin(self, records: int) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
            self._uncommitted = 0
            self._batch_began_s = time.monotonic()
            self._write_again()
        self._uncommitted += records

    def _due(self) -> bool:
        return self._uncommitted >= BATCH_RECORDS or time.monotonic() - self._batch_began_s > BATCH_S

    def _commit(self) -> None:
        if self._db.in_transaction:
            struck = self.debts.strike_out(self._db) if self.debts.is_unwritten else None
            if self.standing.is_unwritten:
                self.standing.write(self._db)
            if self.stretches.is_unwritten:
                self.stretches.write(self._db)
            self._db.execute("COMMIT")
            self.failure = None
            if struck is not None:
                self.debts.struck(struck)
            self.standing.committed()
            self._batched.clear()
        self._uncommitted = 0

    def _write_again(self) -> None:
        """At the beginning of each transaction: what was batched before, and undone by a failure."""

    @property
    def _has_unwritten(self) -> bool:
        return self.debts.is_unwritten or self.standing.is_unwritten or self.stretches.is_unwritten

    def _guarded(self, work: Callable[[], T]) -> T:
        """Under the lock. `work` may be done again, with another file and an empty cache behind it."""
        with self._lock:
            try:
                try:
                    return work()
                except BROKEN as error:
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
                raise translation(error) from error
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
        self.standing.undone()
        self.stretches.forget()
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
        self._batched.clear()
        self.standing.undone()
        self.stretches.forget()
        self._db, incarnation = self._reopen(as_new=as_new)
        if incarnation != self.incarnation:
            self.incarnation = incarnation
            self.debts.begin_anew()
            self.on_rebuilt()
        return True


def _nothing() -> None:
    return None
