"""Opening the index's file: its schema and version, and what is done when it is missing, broken, newer, or in use.

A broken file is moved aside and a new one begun: the digests come back by hashing the files. A new index is a new incarnation, so
that counters of the old one are never used again. So is one that was restored from a backup together with its folder: its counters
have gone back. What is in the tables is left to `index`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

import apsw
import structlog

from accord.errors import ConfigError, StoreFailed
from accord.store import standing, stretches
from accord.store.file_rows import fill_in
from accord.store.index import Index
from accord.store.index_rows import translated
from accord.store.todo import Todo
from accord.store.tombstones import floor_of

SCHEMA_VERSION = 3
INDEX_NAME = "index.db"
LOCK_NAME = "lock"
LIFE_NAME = "life"
"""A file that is never changed once it is made. Its change time, which no tool can set, tells a copy of the folder from the folder."""
_CACHE_KIB = 8 * 1024

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, dev INTEGER,
    hashed_at_ns INTEGER NOT NULL,
    digest BLOB,
    clock BLOB NOT NULL,
    executable INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    damaged TEXT,
    shared INTEGER NOT NULL,
    aside BLOB
) WITHOUT ROWID, STRICT;
CREATE TABLE blocks (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, blocks BLOB NOT NULL) STRICT;
"""

_SINCE_2 = """
CREATE INDEX files_digest ON files (digest) WHERE digest IS NOT NULL;
CREATE TABLE events (
    path TEXT NOT NULL, actor TEXT NOT NULL, counter INTEGER NOT NULL,
    digest BLOB,
    event BLOB NOT NULL,
    told INTEGER NOT NULL,
    superseded_ns INTEGER,
    PRIMARY KEY (path, actor, counter)
) WITHOUT ROWID, STRICT;
CREATE INDEX events_digest ON events (digest, superseded_ns) WHERE digest IS NOT NULL;
CREATE TABLE pending (id INTEGER PRIMARY KEY, intent BLOB NOT NULL) STRICT;
CREATE TABLE debts (
    server TEXT NOT NULL, path TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (server, path)
) WITHOUT ROWID, STRICT;
"""

_SINCE_3 = f"""
CREATE TABLE chunks (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, chunks BLOB NOT NULL) STRICT;
ALTER TABLE files ADD COLUMN deleted_ns INTEGER;
ALTER TABLE files ADD COLUMN mark BLOB;
ALTER TABLE files ADD COLUMN todo INTEGER NOT NULL DEFAULT 0;
CREATE INDEX files_mend ON files (path) WHERE todo & {Todo.MEND.value};
CREATE INDEX files_decide ON files (path) WHERE todo & {Todo.DECIDE.value};
CREATE INDEX files_deleted ON files (deleted_ns) WHERE deleted_ns IS NOT NULL;
{stretches.SCHEMA}{standing.SCHEMA}
"""

_log = structlog.get_logger("accord.store")


def lock_store(private: Path) -> int:
    """A file descriptor that holds the store for this process, until it is closed. Raises `ConfigError` if another holds it."""
    fd = os.open(private / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StoreFailed(f"The store {private.parent} cannot be locked: {error.strerror}.") from error
        raise ConfigError(
            f"Another server (process {holder or 'unknown'}) uses the folder {private.parent}."
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def open_index(private: Path, *, is_new_store: bool = False) -> Index:
    """The index of the store whose private folder this is. Raises `ConfigError` if a newer release wrote it, or `StoreFailed`."""
    file = private / INDEX_NAME
    existed = file.exists()
    connection, incarnation = _opened(file)
    if not existed and not is_new_store:
        _log.warning("index is missing; it is rebuilt from the files", index=str(file))

    def reopen(*, as_new: bool) -> tuple[apsw.Connection, str]:
        return _opened(file, as_new=as_new)

    index = Index(connection, incarnation, reopen)
    index.read(index.standing.load)
    index.floor = index.read(floor_of)
    return index


class _Broken(Exception):
    """The file is no index, or not a whole one."""


def _opened(file: Path, *, as_new: bool = False) -> tuple[apsw.Connection, str]:
    """What is there, or a new one in place of a broken one."""
    try:
        if as_new:
            raise _Broken("it failed again")
        return _open(file)
    except _Broken as broken:
        try:
            aside = _move_aside(file)
        except OSError as error:
            raise StoreFailed(f"The broken index {file} cannot be moved aside: {error.strerror}.") from error
        _log.warning(
            "index is damaged; it is rebuilt from the files", index=str(file), reason=str(broken), kept_as=aside
        )
    try:
        return _open(file)
    except _Broken as broken:
        raise StoreFailed(f"The index {file} cannot be made: {broken}.") from broken


def _open(file: Path) -> tuple[apsw.Connection, str]:
    try:
        connection = apsw.Connection(str(file))
    except apsw.Error as error:
        raise StoreFailed(f"The index {file} cannot be opened: {error}.") from error
    try:
        return connection, _prepare(connection, file)
    except (apsw.NotADBError, apsw.CorruptError, apsw.IOError) as error:
        connection.close()
        raise _Broken(str(error)) from error
    except apsw.Error as error:
        connection.close()
        with translated():
            raise
        raise AssertionError from error
    except BaseException:
        connection.close()
        raise


def _prepare(db: apsw.Connection, file: Path) -> str:
    """Check or create the tables; returns the incarnation."""
    db.set_busy_timeout(1000)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    db.pragma("cache_size", -_CACHE_KIB)
    version = db.pragma("user_version")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"The index {file} was written by a newer release (format {version}; this one knows {SCHEMA_VERSION})."
        )
    # Half a second for a million records, once the file is read. Not spared after an orderly end: files rot while nobody uses them,
    # and a page that turns out broken later costs the whole index then, with commits under way.
    checked = db.pragma("quick_check")
    if checked != "ok":
        raise _Broken(str(checked))
    life = _life_of(file.with_name(LIFE_NAME))
    if version == 0:
        if db.execute("SELECT count(*) FROM sqlite_schema").get:
            raise _Broken("it has tables, but no format number")
        return _create(db, life)
    incarnation = db.execute("SELECT value FROM meta WHERE key = 'incarnation'").get
    if not isinstance(incarnation, str):
        raise _Broken("it has lost its incarnation")
    if version < SCHEMA_VERSION:
        _carry_over(db, version, file)
    known = db.execute("SELECT value FROM meta WHERE key = 'life'").get
    if known == life:
        return incarnation
    if known is not None:
        incarnation = secrets.token_hex(8)
        _log.warning("the folder was copied, or restored from a backup; the index begins a new life", index=str(file))
    with db:
        _write_life(db, incarnation, life)
    return incarnation


def _create(db: apsw.Connection, life: str) -> str:
    incarnation = secrets.token_hex(8)
    with db:
        db.execute(_SCHEMA + _SINCE_2 + _SINCE_3)
        db.pragma("user_version", SCHEMA_VERSION)
        _write_life(db, incarnation, life)
    return incarnation


def _carry_over(db: apsw.Connection, version: int, file: Path) -> None:
    """From an older format, in one transaction: a crash leaves the older one."""
    _log.info("the index is carried over to a newer format", index=str(file), format=SCHEMA_VERSION)
    with db:
        if version < 2:
            db.execute("ALTER TABLE files ADD COLUMN aside BLOB")
            db.execute(_SINCE_2)
        db.execute(_SINCE_3)
        fill_in(db, time.time_ns())
        db.pragma("user_version", SCHEMA_VERSION)


def _write_life(db: apsw.Connection, incarnation: str, life: str) -> None:
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("incarnation", incarnation), ("life", life)])


def _life_of(file: Path) -> str:
    """Lost in a crash, it is made anew, and only costs another incarnation."""
    try:
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return str(os.stat(file, follow_symlinks=False).st_ctime_ns)
    except OSError as error:
        raise StoreFailed(f"The file {file} cannot be made or looked at: {error.strerror}.") from error


def _move_aside(file: Path) -> str:
    mark = f".broken-{time.time_ns()}"
    for suffix in ("", "-wal", "-shm"):
        part = file.with_name(file.name + suffix)
        if part.exists():
            os.rename(part, part.with_name(file.name + mark + suffix))
    return file.name + mark
