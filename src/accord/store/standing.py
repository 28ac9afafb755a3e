"""What stands to be told or mended: differences, findings, estranged paths, and the engine's notes, as tables of the index.

All of it may be forgotten in a crash, so that noting it never waits: it is kept in memory until it was committed, with whatever comes
next. Whether anything may stand of a path is known from memory, at once and for every path (`may_stand`): by counters of hashes, which
now and then say yes where nothing does. `write` is within the index's transactions, under its lock; the rest is thread-safe. What the
words mean is in `inventory`, what is asked of the tables, in `standing_rows`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import apsw

from accord.model.findings import Finding, Oddity
from accord.model.names import FilePath
from accord.model.verdict import DIFFERENCES, NO_DIFFERENCE, Kind
from accord.store.standing_rows import NOTE

MAX_DIFFERENCES = 1_000_000
MAX_FINDINGS = 1_000_000
MAX_ESTRANGED = 1_000_000
"""What is more is not remembered: it is found again once there is room."""
MAX_UNWRITTEN = 16_384
"""So much is remembered from one commit to the next; what may not be found again by itself (estranged paths, notes) beyond that, and
whoever asks next has it committed."""

SCHEMA = """
CREATE TABLE differences (path TEXT PRIMARY KEY, kind TEXT NOT NULL, since_ns INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE findings (
    path TEXT NOT NULL, oddity TEXT NOT NULL, since_ns INTEGER NOT NULL, there BLOB, recorded BLOB, detail TEXT NOT NULL,
    PRIMARY KEY (path, oddity)
) WITHOUT ROWID, STRICT;
CREATE TABLE estranged (path TEXT PRIMARY KEY) WITHOUT ROWID, STRICT;
CREATE TABLE name_clashes (path TEXT NOT NULL, other TEXT NOT NULL, PRIMARY KEY (path, other)) WITHOUT ROWID, STRICT;
"""
_CELLS = 1 << 22
_MASK = _CELLS - 1
_FULL = 255
_LAST_BY_DEED = frozenset((Oddity.OUTSIDE, Oddity.TRUNCATED))
"""What a good look at the copy is no answer to: the change was made, whether the copy is sound or not."""
_ALL = frozenset(Oddity)
_LAST_BY_SIGHT = _ALL - _LAST_BY_DEED


class _Verdict(NamedTuple):
    kind: Kind | None
    since_ns: int


class _Found(NamedTuple):
    """Of one path: what is forgotten first, and what was found since."""

    forgotten: frozenset[Oddity]
    findings: Mapping[Oddity, Finding]


class _Estranged(NamedTuple):
    is_so: bool


class _Note(NamedTuple):
    value: str | None


_Key = tuple[type, str]
_Change = _Verdict | _Found | _Estranged | _Note


_ALWAYS = frozenset((_Estranged, _Note))


class Standing:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unwritten: dict[_Key, _Change] = {}
        self._in_transaction: dict[_Key, _Change] = {}
        self._cells = bytearray(_CELLS)
        self._kinds: Counter[Kind] = Counter()
        self._findings = self._estranged = 0
        self._is_loaded = False

    # Noting: from memory, without waiting.

    def may_stand(self, path: str) -> bool:
        """Whether any table may have something of the path."""
        return self._cells[hash(path) & _MASK] != 0 or (bool(self._unwritten) and self._is_unwritten_of(path))

    def _is_unwritten_of(self, path: str) -> bool:
        unwritten = self._unwritten
        return (_Verdict, path) in unwritten or (_Found, path) in unwritten or (_Estranged, path) in unwritten

    @property
    def has_news_of_copies(self) -> bool:
        """Whether there is anything that recording a path could forget."""
        return bool(self._findings or self._estranged or self._unwritten) or not self._is_loaded

    def note_verdict(self, path: FilePath, kind: Kind, now_ns: int) -> None:
        if kind in DIFFERENCES:
            self._note(_Verdict, path, _Verdict(kind, now_ns))
        elif kind in NO_DIFFERENCE and self.may_stand(path):
            self._note(_Verdict, path, _Verdict(None, now_ns))

    def note_finding(self, finding: Finding) -> None:
        with self._lock:
            before = self._unwritten.get((_Found, finding.path))
            known = before if isinstance(before, _Found) else _Found(frozenset(), {})
            earlier = known.findings.get(finding.oddity)
            if earlier is not None:
                finding = finding._replace(since_ns=earlier.since_ns)
            self._put(_Found, finding.path, _Found(known.forgotten, {**known.findings, finding.oddity: finding}))

    def recorded(self, path: str, *, is_done: bool, is_deed: bool) -> None:
        """Something was recorded of the path. `is_done`: nothing is to be mended or decided there any more; `is_deed`: it has become
        something else, and was not only looked at."""
        if self.may_stand(path):
            self._note(_Estranged, path, _Estranged(False))
            if is_done:
                self._forget_findings(path, _ALL if is_deed else _LAST_BY_SIGHT)

    def forgotten(self, path: FilePath) -> None:
        """Nothing is remembered of the path any more."""
        if self.may_stand(path):
            self._note(_Verdict, path, _Verdict(None, 0))
            self._note(_Estranged, path, _Estranged(False))
            self._forget_findings(path, _ALL)

    def looked_good(self, path: str) -> None:
        """A look, which found nothing new, found the copy as it should be."""
        if self.may_stand(path):
            self._forget_findings(path, _LAST_BY_SIGHT)

    def _forget_findings(self, path: str, oddities: frozenset[Oddity]) -> None:
        with self._lock:
            before = self._unwritten.get((_Found, path))
            known = before if isinstance(before, _Found) else _Found(frozenset(), {})
            left = {oddity: one for oddity, one in known.findings.items() if oddity not in oddities}
            self._put(_Found, path, _Found(known.forgotten | oddities, left))

    def deem_estranged(self, paths: Sequence[FilePath]) -> None:
        for path in paths:
            self._note(_Estranged, path, _Estranged(True))

    def note(self, key: str, value: str | None) -> None:
        self._note(_Note, key, _Note(value))

    def _note(self, table: type, key: str, change: _Change) -> None:
        with self._lock:
            self._put(table, key, change)

    def _put(self, table: type, key: str, change: _Change) -> None:
        if len(self._unwritten) < MAX_UNWRITTEN or table in _ALWAYS or (table, key) in self._unwritten:
            self._unwritten[table, key] = change

    # Keeping.

    @property
    def is_unwritten(self) -> bool:
        return bool(self._unwritten)

    @property
    def is_crowded(self) -> bool:
        return len(self._unwritten) >= MAX_UNWRITTEN

    def load(self, db: apsw.Connection) -> None:
        """What an earlier run left; unless it is here already."""
        if self._is_loaded:
            return
        cells = bytearray(_CELLS)
        for table in ("differences", "findings", "estranged"):
            for (path,) in db.execute(f"SELECT path FROM {table}"):
                _count(cells, path, 1)
        rows: list[Any] = db.execute("SELECT kind, count(*) FROM differences GROUP BY kind").fetchall()
        self._kinds = Counter({Kind(kind): count for kind, count in rows})
        self._findings = int(db.execute("SELECT count(*) FROM findings").get)
        self._estranged = int(db.execute("SELECT count(*) FROM estranged").get)
        self._cells, self._is_loaded = cells, True

    def undone(self) -> None:
        """A transaction was rolled back: what is known of the tables is out of date."""
        self._in_transaction.clear()
        self._is_loaded = False

    def write(self, db: apsw.Connection) -> None:
        """What was noted, into the transaction under way. It is noted until that was committed: a second time changes nothing."""
        self.load(db)
        with self._lock:
            changes = dict(self._unwritten)
        for (table, key), change in changes.items():
            if self._in_transaction.get((table, key)) is change:
                continue
            match change:
                case _Verdict():
                    self._write_verdict(db, key, change)
                case _Found():
                    self._write_findings(db, key, change)
                case _Estranged():
                    self._write_estranged(db, key, change)
                case _Note(value=None):
                    db.execute("DELETE FROM meta WHERE key = ?", (NOTE + key,))
                case _Note(value=str(value)):
                    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (NOTE + key, value))
        self._in_transaction.update(changes)

    def committed(self) -> None:
        with self._lock:
            for key, change in self._in_transaction.items():
                if self._unwritten.get(key) is change:
                    del self._unwritten[key]
        self._in_transaction.clear()

    def _write_verdict(self, db: apsw.Connection, path: str, verdict: _Verdict) -> None:
        known = db.execute("SELECT kind FROM differences WHERE path = ?", (path,)).get
        before = None if known is None else Kind(known)
        kind = verdict.kind
        if before is kind or (before is None and self._kinds.total() >= MAX_DIFFERENCES):
            return
        if kind is None:
            db.execute("DELETE FROM differences WHERE path = ?", (path,))
        elif before is None:
            db.execute("INSERT INTO differences VALUES (?, ?, ?)", (path, kind.value, verdict.since_ns))
        else:
            db.execute("UPDATE differences SET kind = ? WHERE path = ?", (kind.value, path))
        if before is not None:
            self._kinds[before] -= 1
        if kind is not None:
            self._kinds[kind] += 1
        _count(self._cells, path, (kind is not None) - (before is not None))

    def _write_findings(self, db: apsw.Connection, path: str, found: _Found) -> None:
        count = 0
        since = dict(_oddities(db, path))
        for oddity in found.forgotten & since.keys():
            db.execute("DELETE FROM findings WHERE path = ? AND oddity = ?", (path, oddity.value))
            del since[oddity]
            count -= 1
        for oddity, finding in found.findings.items():
            if oddity not in since and self._findings + count >= MAX_FINDINGS:
                continue
            count += oddity not in since
            since_ns = since.get(oddity, finding.since_ns)
            row = (path, oddity.value, since_ns, finding.there, finding.recorded, finding.detail)
            db.execute("INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?, ?, ?)", row)
        self._findings += count
        _count(self._cells, path, count)

    def _write_estranged(self, db: apsw.Connection, path: str, estranged: _Estranged) -> None:
        if estranged.is_so and self._estranged >= MAX_ESTRANGED:
            return
        db.execute(
            "INSERT OR IGNORE INTO estranged VALUES (?)" if estranged.is_so else "DELETE FROM estranged WHERE path = ?",
            (path,),
        )
        count = db.changes() if estranged.is_so else -db.changes()
        self._estranged += count
        _count(self._cells, path, count)

    def counted(self) -> Mapping[Kind, int]:
        """The differences of each kind, once what was noted is written."""
        return +self._kinds


def _oddities(db: apsw.Connection, path: str) -> list[tuple[Oddity, int]]:
    rows: list[Any] = db.execute("SELECT oddity, since_ns FROM findings WHERE path = ?", (path,)).fetchall()
    return [(Oddity(oddity), since_ns) for oddity, since_ns in rows]


def _count(cells: bytearray, path: str, change: int) -> None:
    """A cell that was full once stays so: it may stand for more than it can count."""
    at = hash(path) & _MASK
    if change and cells[at] != _FULL:
        cells[at] = max(0, min(cells[at] + change, _FULL))
