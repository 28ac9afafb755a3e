"""Deletions as rows of the index: which were known longest, and dropping them, with all that was remembered of their paths.

Functions over a connection, to be run by the index in one of its transactions. How long they are kept is decided by whoever asks.
"""

from __future__ import annotations

from typing import Any

import apsw

from accord.model.names import FilePath
from accord.model.versions import Clock

_FLOOR = "floor"
_OLDEST = (
    "SELECT path FROM files INDEXED BY files_deleted WHERE deleted_ns IS NOT NULL AND deleted_ns < ? AND size IS NULL "
    "ORDER BY deleted_ns LIMIT ?"
)


def known_since_before(db: apsw.Connection, older_than_ns: int, limit: int) -> list[FilePath]:
    """Paths without a copy, the oldest deletions first."""
    rows: list[Any] = db.execute(_OLDEST, (older_than_ns, limit)).fetchall()
    return [FilePath.trusted(path) for (path,) in rows]


def forget_history(db: apsw.Connection, path: FilePath) -> None:
    db.execute("DELETE FROM events WHERE path = ?", (path,))


def greatest_counter(clock: Clock, incarnation: str) -> int:
    """Of the events in it that were made in that life of the index; 0 where there is none."""
    own = [entry.counter for entry in clock.entries if incarnation in entry.actor.split("/")]
    return max(own, default=0)


def floor_of(db: apsw.Connection) -> int:
    return int(db.execute("SELECT value FROM meta WHERE key = ?", (_FLOOR,)).get or 0)


def write_floor(db: apsw.Connection, floor: int) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_FLOOR, str(floor)))
