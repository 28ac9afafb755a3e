"""Questions to the tables of what stands (`standing`): functions over a connection, to be run by the index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import apsw

from accord.model.findings import Finding, NameClash, Oddity
from accord.model.names import Digest, FilePath
from accord.model.verdict import Kind
from accord.store.inventory import Difference

MAX_CLASHES = 100_000
"""Of the last whole scan; what is more is not remembered."""
NOTE = "note:"
"""Notes are rows of the table `meta`, under their key after this."""


def differences(db: apsw.Connection, after: str, below: str, limit: int) -> list[Difference]:
    query = "SELECT path, kind, since_ns FROM differences WHERE path > ? AND path < ? ORDER BY path LIMIT ?"
    rows: list[Any] = db.execute(query, (after, below, limit)).fetchall()
    return [Difference(FilePath.trusted(path), Kind(kind), since_ns) for path, kind, since_ns in rows]


def count_differences(db: apsw.Connection, after: str, below: str) -> Mapping[Kind, int]:
    query = "SELECT kind, count(*) FROM differences WHERE path > ? AND path < ? GROUP BY kind"
    rows: list[Any] = db.execute(query, (after, below)).fetchall()
    return {Kind(kind): count for kind, count in rows}


def findings(db: apsw.Connection, after: str, below: str, limit: int) -> list[Finding]:
    """Of whole paths: about `limit`, and never none where there is one."""
    query = "SELECT * FROM findings WHERE path > ? AND path < ? ORDER BY path, oddity LIMIT ?"
    rows: list[Any] = db.execute(query, (after, below, limit + len(Oddity))).fetchall()
    if len(rows) > limit:
        last = rows[limit][0]
        rows = [row for row in rows if row[0] < last] or [row for row in rows if row[0] == last]
    return [
        Finding(FilePath.trusted(path), Oddity(oddity), since_ns, _digest(there), _digest(recorded), detail)
        for path, oddity, since_ns, there, recorded, detail in rows
    ]


def count_findings(db: apsw.Connection, after: str, below: str) -> Mapping[Oddity, int]:
    query = "SELECT oddity, count(*) FROM findings WHERE path > ? AND path < ? GROUP BY oddity"
    rows: list[Any] = db.execute(query, (after, below)).fetchall()
    return {Oddity(oddity): count for oddity, count in rows}


def count_estranged(db: apsw.Connection, after: str, below: str) -> int:
    query = (
        "SELECT count(*) FROM estranged WHERE path > ? AND path < ? "
        "AND NOT EXISTS (SELECT 1 FROM files WHERE files.path = estranged.path)"
    )
    return int(db.execute(query, (after, below)).get)


def count_clashes(db: apsw.Connection, after: str, below: str) -> int:
    return int(db.execute("SELECT count(*) FROM name_clashes WHERE path > ? AND path < ?", (after, below)).get)


def estranged(db: apsw.Connection, after: str, limit: int) -> list[FilePath]:
    query = (
        "SELECT path FROM estranged WHERE path > ? AND NOT EXISTS (SELECT 1 FROM files WHERE files.path = estranged.path) "
        "ORDER BY path LIMIT ?"
    )
    return [FilePath.trusted(path) for (path,) in db.execute(query, (after, limit))]


def is_estranged(db: apsw.Connection, path: FilePath) -> bool:
    return db.execute("SELECT 1 FROM estranged WHERE path = ?", (path,)).get is not None


def noted(db: apsw.Connection, key: str) -> str | None:
    value = db.execute("SELECT value FROM meta WHERE key = ?", (NOTE + key,)).get
    return None if value is None else str(value)


def clashes(db: apsw.Connection, after: str, below: str, limit: int) -> list[NameClash]:
    query = "SELECT path, other FROM name_clashes WHERE path > ? AND path < ? ORDER BY path, other LIMIT ?"
    rows: list[Any] = db.execute(query, (after, below, limit)).fetchall()
    return [NameClash(path, other) for path, other in rows]


def renew_clashes(db: apsw.Connection, found: Iterable[NameClash]) -> None:
    """What a whole scan came upon, in place of what the last one did."""
    db.execute("DELETE FROM name_clashes")
    db.executemany("INSERT OR IGNORE INTO name_clashes VALUES (?, ?)", found)


def _digest(raw: bytes | None) -> Digest | None:
    return None if raw is None else Digest(raw)
