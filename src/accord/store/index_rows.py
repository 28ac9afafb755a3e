"""Records as rows of the index's table and as what is cached of them: the statements, and the translation both ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import apsw

from accord.codec import decode_clock, encode_clock, found_forms, mark_of
from accord.errors import DiskFull, StoreFailed
from accord.model.names import DIGEST_BYTES, Digest
from accord.model.verdict import Absent, Deleted, Present
from accord.store.records import Record, Stat
from accord.store.todo import todo_of

RANGE_RECORDS = 2_000

Row = tuple[
    str,
    int | None,
    int | None,
    int | None,
    int | None,
    int | None,
    int,
    bytes | None,
    bytes,
    int,
    int,
    str | None,
    int,
    bytes | None,
    int | None,
    bytes | None,
    int,
]
"""A record as it is stored: path, the five of `Stat`, hashed_at_ns, digest, clock, executable, deleted, damaged, shared, the digests
aside, one after the other, deleted_ns; and what follows from those: the mark (`codec.mark_of`; None where nothing is known), and what
is to be done (`todo.Todo`). `deleted` follows too."""

MARK: Final = 15
DELETED: Final = 10
"""Where a row has its mark, and whether it is a tombstone."""

_COLUMNS = (
    "path, size, mtime_ns, ctime_ns, inode, dev, hashed_at_ns, digest, clock, executable, deleted, damaged, shared, aside, "
    "deleted_ns"
)
_ALL_COLUMNS = f"{_COLUMNS}, mark, todo"
_HOLES = "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
GET = f"SELECT {_COLUMNS} FROM files WHERE path = ?"
PUT = f"INSERT OR REPLACE INTO files ({_ALL_COLUMNS}) VALUES ({_HOLES})"
NEW = f"INSERT INTO files ({_ALL_COLUMNS}) VALUES ({_HOLES})"
REFRESH = (
    "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, dev = ?, hashed_at_ns = ?, digest = ?, executable = ?, "
    "damaged = ?, todo = ? WHERE path = ?"
)
ADD = f"INSERT OR IGNORE INTO files ({_ALL_COLUMNS}) VALUES ({_HOLES})"
FILL = f"SELECT {_COLUMNS} FROM files WHERE path > ? ORDER BY path LIMIT ?"
RANGE = f"SELECT {_COLUMNS} FROM files WHERE path > ? AND path <= ? ORDER BY path LIMIT {RANGE_RECORDS}"


class Known(NamedTuple):
    """A cached record, ready for the hot path: the stat data that vouch and the answer they vouch for, or what an empty path means
    (but for the age of a deletion; None where a file should be there: what it means that it is not takes a longer look)."""

    record: Record | None
    vouching: Stat | None
    present: Present | None
    if_gone: Absent | Deleted | None


@contextmanager
def translated() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        raise translation(error) from error


def translation(error: Exception) -> StoreFailed:
    if isinstance(error, apsw.FullError):
        return DiskFull("There is no space left for the index.")
    return StoreFailed(f"The index failed: {error}.")


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
        b"".join(record.aside) or None,
        record.deleted_ns,
        mark_of(path, record.clock) or None,
        int(todo_of(record)),
    )


def refreshed(path: str, record: Record) -> tuple[object, ...]:
    """What `REFRESH` writes."""
    stat = record.stat or (None, None, None, None, None)
    todo, executable = int(todo_of(record)), int(record.executable)
    return (*stat, record.hashed_at_ns, record.digest, executable, record.damaged, todo, path)


def found_row(path: str, stat: Stat, hashed_at_ns: int, digest: bytes, author: str, *, executable: bool) -> Row:
    """What `row_of` gives for a file that was seen for the first time, in a third of the time."""
    clock, mark = found_forms(str(path), digest, stat.size, stat.mtime_ns, author, executable)
    return (path, *stat, hashed_at_ns, digest, clock, int(executable), 0, None, 0, None, None, mark, 0)


def record_of(row: Any) -> Record:
    """Of the columns that `GET` and `RANGE` read. Raises `IntegrityError` or `ValueError` for a row that was never written so."""
    (
        _,
        size,
        mtime_ns,
        ctime_ns,
        inode,
        dev,
        hashed_at_ns,
        digest,
        clock,
        executable,
        _,
        damaged,
        shared,
        aside,
        deleted_ns,
    ) = row
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
        _digests(aside or b""),
        bool(shared),
        deleted_ns,
    )


def _digests(joined: bytes) -> tuple[Digest, ...]:
    return tuple(Digest(joined[at : at + DIGEST_BYTES]) for at in range(0, len(joined), DIGEST_BYTES))
