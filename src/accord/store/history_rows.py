"""The history of paths as rows of the index: what is remembered of each event, and since when it has been superseded.

Functions over a connection, to be run by the index in one of its transactions. An event is written down as `accord.codec` has it. One
that nobody told (`told` 0) is what its actor's name says, and gives way to what somebody tells. `superseded_ns` is NULL while nothing
is known to supersede the event. What history lets go of is decided in `model.history`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from accord.codec import decode_events, encode_events
from accord.errors import IntegrityError
from accord.model.history import Event, superseded_by
from accord.model.names import Digest, FilePath
from accord.model.versions import Actor, Clock, Dot
from accord.store.records import event_by_its_actor

_ADD = "INSERT INTO events (path, actor, counter, digest, event, told, superseded_ns) VALUES (?, ?, ?, ?, ?, ?, ?)"
_ADD_TOLD = _ADD + " ON CONFLICT DO UPDATE SET event = excluded.event, told = 1 WHERE told = 0"
_ADD_UNTOLD = _ADD + " ON CONFLICT DO UPDATE SET superseded_ns = coalesce(superseded_ns, excluded.superseded_ns)"
_SUPERSEDE = "UPDATE events SET superseded_ns = ? WHERE path = ? AND actor = ? AND counter = ?"
_OPEN = "SELECT actor, counter FROM events WHERE path = ? AND superseded_ns IS NULL"


class Superseded(NamedTuple):
    """A superseded version, as `expire` looks at it."""

    path: FilePath
    dot: Dot
    digest: Digest | None
    superseded_ns: int


def note(
    db: apsw.Connection,
    path: FilePath,
    before: Clock,
    after: Clock,
    aside: Collection[Digest],
    events: Sequence[Event],
    now_ns: int,
) -> None:
    """The clock of `path` goes from `before` to `after`. Every version that is superseded by that, and every rival kept aside, gets a
    row: by these rows it is known later which bytes are still needed."""
    for event in events:
        _add(db, path, event, None, told=_is_told(event))
    for dot, version in superseded_by(before, after):
        _add(db, path, event_by_its_actor(dot, version), now_ns, told=False)
    if aside:
        for dot, version in after.current():
            if version.digest in aside:
                _add(db, path, event_by_its_actor(dot, version), None, told=False)
    _close(db, path, after, now_ns)


def learn(db: apsw.Connection, path: FilePath, clock: Clock, events: Sequence[Event], now_ns: int) -> None:
    """What others remember. When a version was superseded here is not known: at the latest, it is said, when the event that did it
    was made, so that what is learnt late does not push out what is kept."""
    current, context = {dot for dot, _ in clock.current()}, clock.context()
    ended: dict[Dot, int] = {}
    for event in events:
        for dot in event.supersedes:
            ended[dot] = max(event.at_ns, ended.get(dot, 0))
    for event in events:
        is_past = event.dot not in current and event.dot.counter <= context.get(event.dot.actor, 0)
        superseded_ns = min(now_ns, max(0, ended.get(event.dot, event.at_ns))) if is_past else None
        _add(db, path, event, superseded_ns, told=_is_told(event))


def _is_told(event: Event) -> bool:
    """Whether more is said of it than anybody could say who only knows the version."""
    return event != event_by_its_actor(event.dot, event.version)


def _add(db: apsw.Connection, path: FilePath, event: Event, superseded_ns: int | None, *, told: bool) -> None:
    actor, counter = event.dot
    row = (path, actor, counter, event.version.digest, encode_events([event]), int(told), superseded_ns)
    db.execute(_ADD_TOLD if told else _ADD_UNTOLD, row)


def _close(db: apsw.Connection, path: FilePath, after: Clock, now_ns: int) -> None:
    current, context = {dot for dot, _ in after.current()}, after.context()
    rows: list[Any] = db.execute(_OPEN, (path,)).fetchall()
    for actor, counter in rows:
        if (actor, counter) not in current and counter <= context.get(Actor(actor), 0):
            db.execute(_SUPERSEDE, (now_ns, path, actor, counter))


def remembered(db: apsw.Connection, path: FilePath) -> list[Event]:
    found: list[Event] = []
    for (raw,) in db.execute("SELECT event FROM events WHERE path = ?", (path,)):
        try:
            found += decode_events(raw)
        except IntegrityError:
            continue  # of a row that was damaged only its dot is left, which tells people nothing
    return found


def was_superseded(db: apsw.Connection, path: FilePath, digest: Digest) -> bool:
    """Whether a version of the path with that content is known to be superseded."""
    query = "SELECT 1 FROM events WHERE path = ? AND digest = ? AND superseded_ns IS NOT NULL LIMIT 1"
    return db.execute(query, (path, digest)).get is not None


def knows(db: apsw.Connection, path: FilePath, digest: Digest) -> bool:
    """Whether that was ever a version of the path."""
    return db.execute("SELECT 1 FROM events WHERE path = ? AND digest = ? LIMIT 1", (path, digest)).get is not None


def is_needed(db: apsw.Connection, digest: Digest, but_at: FilePath | None = None) -> bool:
    """Whether the history of any path, or the rivals aside of any (but of `but_at`), need the bytes kept."""
    if db.execute("SELECT 1 FROM events WHERE digest = ? AND superseded_ns IS NOT NULL LIMIT 1", (digest,)).get:
        return True
    query = (
        "SELECT 1 FROM events JOIN files USING (path) WHERE events.digest = ? AND superseded_ns IS NULL "
        "AND path IS NOT ? AND aside IS NOT NULL AND instr(aside, ?) LIMIT 1"
    )
    return db.execute(query, (digest, but_at, digest)).get is not None


def superseded_after(db: apsw.Connection, after: str, limit: int) -> list[Superseded]:
    """Superseded versions of the paths after `after`, whole paths, about `limit` of them; empty at the end."""
    query = (
        "SELECT path, actor, counter, digest, superseded_ns FROM events WHERE path {} ? AND superseded_ns IS NOT NULL "
        "ORDER BY path{}"
    )
    rows: list[Any] = db.execute(query.format(">", " LIMIT ?"), (after, limit)).fetchall()
    if len(rows) == limit:
        last = rows[-1][0]  # cut short, perhaps
        rows = [row for row in rows if row[0] != last] or db.execute(query.format("=", ""), (last,)).fetchall()
    return [Superseded(_path(path), Dot(Actor(a), n), _digest(digest), at) for path, a, n, digest, at in rows]


def forget(db: apsw.Connection, gone: Iterable[Superseded]) -> None:
    db.executemany(
        "DELETE FROM events WHERE path = ? AND actor = ? AND counter = ?",
        [(one.path, one.dot.actor, one.dot.counter) for one in gone],
    )


def holders_of(db: apsw.Connection, digest: Digest, limit: int) -> list[FilePath]:
    """Paths whose copy has, or had, that content."""
    rows: list[Any] = db.execute("SELECT path FROM files WHERE digest = ? LIMIT ?", (digest, limit)).fetchall()
    return [_path(path) for (path,) in rows]


def paths_of(db: apsw.Connection, digest: Digest, limit: int) -> list[FilePath]:
    """Paths whose history or rivals have, or had, that content."""
    query = "SELECT DISTINCT path FROM events WHERE digest = ? LIMIT ?"
    return [_path(path) for (path,) in db.execute(query, (digest, limit))]


def kept_of(db: apsw.Connection, path: FilePath) -> list[tuple[Digest, FilePath]]:
    """The contents in the history of a path, each with the first path of those that have it in their history."""
    first = (
        "SELECT min(path) FROM events AS every WHERE every.digest = events.digest AND every.superseded_ns IS NOT NULL"
    )
    query = f"SELECT DISTINCT digest, ({first}) FROM events WHERE path = ? AND digest IS NOT NULL AND superseded_ns IS NOT NULL"
    rows: list[Any] = db.execute(query, (path,)).fetchall()
    return [(Digest(digest), _path(first)) for digest, first in rows]


def _path(text: str) -> FilePath:
    return FilePath.trusted(text)


def _digest(raw: bytes | None) -> Digest | None:
    return None if raw is None else Digest(raw)
