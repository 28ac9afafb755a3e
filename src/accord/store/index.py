"""The index: one SQLite file that keeps, for each path, the digest that stat data vouch for, and the clock.

One connection behind one lock. What only saves hashing again (first sights, refreshed stat data) is committed in batches; what must
not be forgotten once told (events, staged versions) is committed at once. Commits are synced (WAL, synchronous=FULL).

A bounded cache in memory answers the hot path without lock or disk. What records mean is left to `records`; opening, and mending a
broken file, to `index_file`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import apsw

from accord.codec import decode_clock, encode_clock
from accord.errors import DiskFull, StoreFailed
from accord.model.names import DIGEST_BYTES, Digest, FilePath
from accord.model.verdict import Absent, Deleted, Present
from accord.store.records import Record, Stat, nothing_there

CACHED_RECORDS = 16_384
BATCH_RECORDS = 16_384
BATCH_S = 0.5
RANGE_RECORDS = 2_000
KEPT_BLOCK_LISTS = 20_000

Row = tuple[
    str, int | None, int | None, int | None, int | None, int | None, int, bytes | None, bytes, int, int, str | None, int
]
"""A record as it is stored: path, the five of `Stat`, hashed_at_ns, digest, clock, executable, deleted, damaged, shared."""

_COLUMNS = (
    "path, size, mtime_ns, ctime_ns, inode, dev, hashed_at_ns, digest, clock, executable, deleted, damaged, shared"
)
_MARKS = "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
_GET = f"SELECT {_COLUMNS} FROM files WHERE path = ?"
_PUT = f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES ({_MARKS})"
_ADD = f"INSERT OR IGNORE INTO files ({_COLUMNS}) VALUES ({_MARKS})"
_RANGE = f"SELECT {_COLUMNS} FROM files WHERE path > ? AND path <= ? ORDER BY path LIMIT {RANGE_RECORDS}"


class Known(NamedTuple):
    """A cached record, ready for the hot path: the stat data that vouch and the answer they vouch for, or what an empty path means."""

    record: Record | None
    vouching: Stat | None
    present: Present | None
    if_gone: Absent | Deleted


def row_of(path: str, record: Record) -> Row:
    stat = record.stat or (None, None, None, None, None)
    return (
        path,
        *stat,
        record.hashed_at_ns,
        record.digest,
        encode_clock(record.clock),
        int(record.executable),
        int(record.deleted),
        record.damaged,
        int(record.shared),
    )


def _record_of(row: Row) -> Record:
    _, size, mtime_ns, ctime_ns, inode, dev, hashed_at_ns, digest, clock, executable, deleted, damaged, shared = row
    stat = None
    if size is not None:
        stat = Stat(size, mtime_ns or 0, ctime_ns or 0, inode or 0, dev or 0)
    return Record(
        decode_clock(clock),
        stat,
        None if digest is None else Digest(digest),
        hashed_at_ns,
        bool(executable),
        damaged,
        bool(deleted),
        bool(shared),
    )


@contextmanager
def translated() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except apsw.FullError as error:
        raise DiskFull("There is no space left for the index.") from error
    except apsw.Error as error:
        raise StoreFailed(f"The index failed: {error}.") from error


class Index:
    """Thread-safe. All methods but `known` may wait for the disk; they raise `StoreFailed` or `DiskFull`."""

    def __init__(self, connection: apsw.Connection, incarnation: str) -> None:
        self.incarnation = incarnation
        self._db = connection
        self._lock = threading.Lock()
        self._uncommitted = 0
        self._batch_began_s = 0.0
        # Two generations make a cheap LRU: what is asked for moves to the young one; when that is full, the old one is forgotten.
        self._young: dict[str, Known] = {}
        self._old: dict[str, Known] = {}

    def known(self, path: str) -> Known | None:
        """From memory only: None means "not cached". For the event loop."""
        known = self._young.get(path)
        if known is None:
            known = self._old.get(path)
            if known is not None:
                # Unlocked: should a writer be faster, it has put its own into the young generation, and that one stays.
                known = self._young.setdefault(path, known)
        return known

    def get(self, path: FilePath) -> Record | None:
        known = self.known(path)
        if known is None:
            with self._lock:
                known = self._load(path)
        return known.record

    def replace(self, path: FilePath, expected: Record | None, record: Record, *, durable: bool) -> bool:
        """Write `record` if the path's is still `expected`; says whether it did. `durable` waits for the disk."""
        with self._lock, self._transaction():
            if self._load(path).record != expected:
                return False
            self._begin(1)
            self._db.execute(_PUT, row_of(path, record))
            if durable or self._due():
                self._commit()
            self._remember(path, record)
        return True

    def add(self, rows: Sequence[Row]) -> None:
        """First sights, in bulk; a path that has a record keeps it."""
        with self._lock, self._transaction():
            self._begin(len(rows))
            self._db.executemany(_ADD, rows)
            if self._due():
                self._commit()
            for row in rows:
                self._young.pop(row[0], None)
                self._old.pop(row[0], None)

    def between(self, after: str, upto: str) -> Iterator[tuple[FilePath, Record]]:
        """Records with `after` < path <= `upto`, in order; read in bounded portions."""
        while True:
            with self._lock, translated():
                rows: list[Any] = self._db.execute(_RANGE, (after, upto)).fetchall()
            for row in rows:
                yield FilePath.trusted(row[0]), _record_of(row)
            if len(rows) < RANGE_RECORDS:
                return
            after = rows[-1][0]

    def flush(self, *, only_if_due: bool = False) -> None:
        """Commit what is batched."""
        with self._lock, self._transaction():
            if self._uncommitted and (not only_if_due or self._due()):
                self._commit()

    def blocks(self, digest: Digest) -> tuple[Digest, ...] | None:
        with self._lock, translated():
            raw = self._db.execute("SELECT blocks FROM blocks WHERE digest = ?", (digest,)).get
        if raw is None:
            return None
        return tuple(Digest(raw[at : at + DIGEST_BYTES]) for at in range(0, len(raw), DIGEST_BYTES))

    def keep_blocks(self, digest: Digest, blocks: Sequence[Digest]) -> None:
        """They cost one pass over the file to make again, so the oldest are forgotten when there are too many."""
        with self._lock, self._transaction():
            self._begin(1)
            self._db.execute("INSERT OR IGNORE INTO blocks (digest, blocks) VALUES (?, ?)", (digest, b"".join(blocks)))
            newest = self._db.last_insert_rowid()
            self._db.execute("DELETE FROM blocks WHERE id <= ?", (newest - KEPT_BLOCK_LISTS,))

    def close(self) -> None:
        self.flush()
        with self._lock, translated():
            self._db.close()

    def _load(self, path: FilePath) -> Known:
        """Under the lock, so that an older record never takes a newer one's place in the cache."""
        known = self.known(path)
        if known is None:
            with translated():
                row: Row | None = self._db.execute(_GET, (path,)).fetchone()
            known = self._remember(path, None if row is None else _record_of(row))
        return known

    def _remember(self, path: str, record: Record | None) -> Known:
        vouching = record.vouching() if record else None
        present = record.present() if record and vouching else None
        known = Known(record, vouching, present, nothing_there(record))
        if len(self._young) >= CACHED_RECORDS // 2:
            self._old, self._young = self._young, {}
        self._young[path] = known
        return known

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
            self._db.execute("COMMIT")
        self._uncommitted = 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """What could not be written is forgotten in memory too, with everything batched before it."""
        try:
            with translated():
                yield
        except StoreFailed:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._uncommitted = 0
            self._young, self._old = {}, {}
            raise
