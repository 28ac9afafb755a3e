"""Writing the index's rows of files, with what follows from them: the fingerprints of ranges.

Every row goes through here, within a transaction of the index's. What a row means is left to `index_rows`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import apsw
import structlog

from accord.errors import IntegrityError
from accord.model.names import FilePath
from accord.store.index_rows import ADD, DELETED, FILL, MARK, NEW, PUT, REFRESH, Row, record_of, refreshed, row_of
from accord.store.marked_rows import Marked
from accord.store.records import Record, dated
from accord.store.stretches import Stretches

_MARKED = "SELECT mark, deleted FROM files WHERE path = ?"
_FILLED_AT_ONCE = 10_000
_LOGGED_EVERY_S = 5.0

_log = structlog.get_logger("accord.store")


class FileRows:
    def __init__(self, stretches: Stretches) -> None:
        self._stretches = stretches

    def put(self, db: apsw.Connection, path: FilePath, record: Record) -> None:
        self._put(db, path, row_of(path, record), may_be_new=False)

    def change(self, db: apsw.Connection, path: FilePath, before: Record | None, record: Record) -> None:
        """As `put`, where the row is `before`, or there is none: that spares a look at it."""
        if before is not None and _only_the_copy_changed(before, record):
            db.execute(REFRESH, refreshed(path, record))
            if db.changes():
                return
        self._put(db, path, row_of(path, record), may_be_new=before is None)

    def _put(self, db: apsw.Connection, path: FilePath, row: Row, *, may_be_new: bool) -> None:
        self._stretches.load(db)
        before = None
        if not (may_be_new and _inserted(db, row)):
            before = _marked(db, path)
            db.execute(PUT, row)
        self._stretches.changed(db, path, before, (row[MARK], row[DELETED]))

    def add(self, db: apsw.Connection, rows: Sequence[Row]) -> None:
        """A path that has a row keeps it."""
        self._stretches.load(db)
        before = db.total_changes()
        db.executemany(ADD, rows)
        if db.total_changes() - before == len(rows):
            self._stretches.added(db, [(row[0], mark, row[DELETED]) for row in rows if (mark := row[MARK])])
        else:
            self._stretches.recount(db, [row[0] for row in rows])

    def drop(self, db: apsw.Connection, path: str) -> None:
        self._stretches.load(db)
        before = _marked(db, path)
        db.execute("DELETE FROM files WHERE path = ?", (path,))
        self._stretches.changed(db, path, before, None)


def _only_the_copy_changed(before: Record, after: Record) -> bool:
    """The clock, and with it the mark, and all that goes with it are as they were."""
    if before.clock is not after.clock:
        return False
    return (before.aside, before.shared, before.deleted_ns) == (after.aside, after.shared, after.deleted_ns)


def _inserted(db: apsw.Connection, row: Row) -> bool:
    """False, and nothing done, where there is a row."""
    try:
        db.execute(NEW, row)
    except apsw.ConstraintError:
        return False
    return True


def _marked(db: apsw.Connection, path: str) -> Marked | None:
    row: Marked | None = db.execute(_MARKED, (path,)).fetchone()
    return row


def fill_in(db: apsw.Connection, now_ns: int) -> None:
    """What follows from the records of an older format, for all of them. Deletions count as just learnt. A record that is broken is
    left for whoever reads it."""
    after, rows, logged_s = "", 0, time.monotonic()
    while True:
        known: list[Any] = db.execute(FILL, (after, _FILLED_AT_ONCE)).fetchall()
        if not known:
            break
        filled = []
        for row in known:
            after = row[0]
            with suppress(IntegrityError, ValueError):
                record = record_of(row)
                record = replace(record, deleted_ns=dated(record.clock, None, now_ns))
                *_, deleted_ns, mark, todo = row_of(after, record)
                filled.append((deleted_ns, mark, todo, after))
        db.executemany("UPDATE files SET deleted_ns = ?, mark = ?, todo = ? WHERE path = ?", filled)
        rows += len(known)
        if time.monotonic() - logged_s > _LOGGED_EVERY_S:
            logged_s = time.monotonic()
            _log.info("carrying over the index", records=rows)
    stretches = Stretches()
    stretches.make_anew(db)
    stretches.write(db)
