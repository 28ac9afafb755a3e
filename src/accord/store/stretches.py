"""Fingerprints of ranges of paths, kept up to date by the rows of the index that change.

The paths are cut into *stretches*, about `STRETCH_PATHS` next to each other, each with its fingerprint: a range's is that of whole
stretches, and of some rows at its two ends. A stretch that has grown is split, one that has shrunk is joined to a neighbour. They are a
table of the index, written in the transactions that change its rows, and the same in memory (some thousand for a million paths).

Whoever writes rows calls `load` before it and `changed` or `added` after it; `write` comes before the transaction's end. Once one was
rolled back, `forget`: what is in memory is read again. All under the index's lock. What a fingerprint is, is `model.fingerprints`'.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import apsw
import structlog

from accord.model.fingerprints import MARK_BYTES, Fingerprint, Span, Summary, summed
from accord.store.marked_rows import (
    NONE,
    Marked,
    MarkedRow,
    count_between,
    fingerprint_of,
    parts_of,
    path_below,
    portions,
    rows_between,
    sum_of,
    sums_upto,
)
from accord.store.running_sums import RunningSums

STRETCH_PATHS = 128
MAX_PATHS = 2 * STRETCH_PATHS
"""Beyond that a stretch is split."""
MIN_EDGES = 3
"""A range with so many stretches' edges within is cut there, without reading any row."""
PART_PATHS = 8
"""Of a range that is cut by its rows no part has fewer: naming those costs no more than their fingerprint and the next question."""
MIN_PATHS = STRETCH_PATHS // 4
"""Below that it is joined to a neighbour, if both together have no more than `STRETCH_PATHS`."""
CHECKED_STRETCHES = 8
"""So many are counted anew whenever they are read from the index: a table that does not fit the rows is made anew."""

SCHEMA = """
CREATE TABLE stretches (
    after TEXT PRIMARY KEY, paths INTEGER NOT NULL, deleted INTEGER NOT NULL, total BLOB NOT NULL
) WITHOUT ROWID, STRICT;
"""
_PUT = "INSERT OR REPLACE INTO stretches VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM stretches WHERE after = ?"

_log = structlog.get_logger("accord.store")


class Stretches:
    """`_afters[i]` < the paths of stretch i <= `_afters[i + 1]`. The first is '', the last has no end; empty: not loaded."""

    def __init__(self) -> None:
        self._afters: list[str] = []
        self._prints: list[Fingerprint] = []
        self._sums = RunningSums()
        self._whole = NONE
        self._changed: set[str] = set()
        self._gone: set[str] = set()

    def __len__(self) -> int:
        return len(self._afters)

    @property
    def is_unwritten(self) -> bool:
        return bool(self._changed or self._gone)

    def load(self, db: apsw.Connection) -> None:
        """From the index, unless it is here already."""
        if self._afters:
            return
        rows: list[Any] = db.execute("SELECT after, paths, deleted, total FROM stretches ORDER BY after").fetchall()
        self._afters = [row[0] for row in rows] or [""]
        self._prints = [Fingerprint(paths, int.from_bytes(total), deleted) for _, paths, deleted, total in rows] or [
            NONE
        ]
        self._whole = summed(self._prints)
        if not self._fits(db):
            _log.warning("the index's fingerprints do not fit its records; they are made anew")
            self.make_anew(db)

    def forget(self) -> None:
        """What is in memory may not be what is in the index."""
        self._afters, self._prints = [], []
        self._sums.changed(0)
        self._changed.clear()
        self._gone.clear()

    # Changing.

    def changed(self, db: apsw.Connection, path: str, before: Marked | None, after: Marked | None) -> None:
        """The row of `path` has gone from one to the other; None where there is none."""
        if before == after:
            return
        at = bisect_left(self._afters, path) - 1
        self._set(at, self._prints[at].minus(fingerprint_of(before)).plus(fingerprint_of(after)))
        self._keep_in_size(db, at)

    def added(self, db: apsw.Connection, rows: Sequence[MarkedRow]) -> None:
        """There are rows of paths that had none; in bulk, in their order, it takes less time."""
        if len(rows) > STRETCH_PATHS and self._added_run(db, rows):
            return
        touched: dict[int, list[MarkedRow]] = {}
        for row in rows:
            touched.setdefault(bisect_left(self._afters, row[0]) - 1, []).append(row)
        for at in sorted(touched, reverse=True):
            self._set(at, self._prints[at].plus(sum_of(touched[at])))
            self._keep_in_size(db, at)

    def _added_run(self, db: apsw.Connection, rows: Sequence[MarkedRow]) -> bool:
        """Whether they are next to each other, with no other between them: then only they are to be counted."""
        first, last = rows[0][0], rows[-1][0]
        at = bisect_left(self._afters, first) - 1
        upto = self._upto(at)
        if (upto is not None and last > upto) or count_between(db, first, last) != len(rows):
            return False
        high = sum_of(rows_between(db, last, upto))
        low = self._prints[at].minus(high)
        afters, prints = (
            ([self._afters[at], path_below(db, self._afters[at], first) or ""], [low])
            if low.paths
            else ([self._afters[at]], [])
        )
        parts = len(rows) // STRETCH_PATHS
        for start, stop in pairwise(len(rows) * number // parts for number in range(parts + 1)):
            prints.append(sum_of(rows[start:stop]))
            afters.append(rows[stop - 1][0])
        if high.paths:
            prints.append(high)
        else:
            afters.pop()
        self._replace(at, afters, prints)
        return True

    def recount(self, db: apsw.Connection, paths: Sequence[str]) -> None:
        """Nobody knows what has become of the rows of these."""
        for at in sorted({bisect_left(self._afters, path) - 1 for path in paths}, reverse=True):
            self._cut(db, at)

    def write(self, db: apsw.Connection) -> None:
        """What has changed, into the transaction under way."""
        if self._gone:
            db.executemany(_DELETE, [(after,) for after in self._gone])
            self._gone.clear()
        if self._changed:
            known = [(after, self._prints[bisect_left(self._afters, after)]) for after in self._changed]
            rows = [(after, one.paths, one.deleted, one.total.to_bytes(MARK_BYTES)) for after, one in known]
            db.executemany(_PUT, rows)
            self._changed.clear()

    def _set(self, at: int, fingerprint: Fingerprint) -> None:
        self._whole = self._whole.minus(self._prints[at]).plus(fingerprint)
        self._prints[at] = fingerprint
        self._sums.changed(at)
        self._changed.add(self._afters[at])

    def _keep_in_size(self, db: apsw.Connection, at: int) -> None:
        paths = self._prints[at].paths
        if paths > MAX_PATHS:
            self._cut(db, at)
        elif paths < MIN_PATHS and len(self._afters) > 1:
            self._join(at)

    def _cut(self, db: apsw.Connection, at: int) -> None:
        """By what its rows say, into as many as it should be."""
        rows = self._rows_of(db, at)
        parts = max(1, len(rows) // STRETCH_PATHS)
        starts = [len(rows) * number // parts for number in range(parts + 1)]
        afters = [self._afters[at], *(rows[start - 1][0] for start in starts[1:-1])]
        prints = [sum_of(rows[start:stop]) for start, stop in pairwise(starts)]
        self._replace(at, afters, prints)

    def _replace(self, at: int, afters: Sequence[str], prints: Sequence[Fingerprint]) -> None:
        self._whole = self._whole.minus(self._prints[at]).plus(summed(prints))
        self._afters[at : at + 1] = afters
        self._prints[at : at + 1] = prints
        self._sums.changed(at)
        self._changed.update(afters)

    def _join(self, at: int) -> None:
        """With its smaller neighbour, if the two are not too large together."""
        neighbours = [one for one in (at - 1, at + 1) if 0 <= one < len(self._afters)]
        other = min(neighbours, key=lambda one: self._prints[one].paths)
        low, high = min(at, other), max(at, other)
        both = self._prints[low].plus(self._prints[high])
        if both.paths > STRETCH_PATHS:
            return
        gone = self._afters.pop(high)
        del self._prints[high]
        self._prints[low] = both
        self._sums.changed(low)
        self._changed.discard(gone)
        self._gone.add(gone)
        self._changed.add(self._afters[low])

    def make_anew(self, db: apsw.Connection) -> None:
        """By what all rows say: about a second for a million."""
        self._afters, self._prints = [""], []
        self._sums.changed(0)
        for portion in portions(db, STRETCH_PATHS):
            self._prints.append(sum_of(portion))
            self._afters.append(portion[-1][0])
        del self._afters[len(self._prints) or 1 :]
        self._prints = self._prints or [NONE]
        self._whole = summed(self._prints)
        self._changed = set(self._afters)
        self._gone = {after for (after,) in db.execute("SELECT after FROM stretches")} - self._changed

    # Telling.

    def whole(self, db: apsw.Connection) -> Fingerprint:
        self.load(db)
        return self._whole

    def fingerprints(self, db: apsw.Connection, spans: Sequence[Span]) -> list[Fingerprint]:
        """Of each range: what is up to its end without what is up to its beginning. Neighbours share an edge."""
        self.load(db)
        told = [span for span in spans if not _is_empty(span)]
        edges = {span.after for span in told} | {span.upto for span in told if span.upto is not None}
        upto = self._sums_upto(db, sorted(edges))

        def of(span: Span) -> Fingerprint:
            end = self._whole if span.upto is None else upto[span.upto]
            return end.minus(upto[span.after])

        return [NONE if _is_empty(span) else of(span) for span in spans]

    def _sums_upto(self, db: apsw.Connection, edges: Sequence[str]) -> dict[str, Fingerprint]:
        """What there is up to each edge. Of a stretch with edges within, rows are read once."""
        if edges != [""]:
            self._sums.reach(self._prints)
        told: dict[str, Fingerprint] = {}
        for at, group in groupby(edges, lambda edge: bisect_right(self._afters, edge) - 1):
            within = list(group)
            told |= sums_upto(db, self._afters[at], self._sums.of_first(at), within)
        return told

    def cut(self, db: apsw.Connection, span: Span, parts: int) -> list[Summary]:
        """The range in parts of about as many items, that cover it: whole stretches as long as there are some."""
        self.load(db)
        if _is_empty(span):
            return []
        low = bisect_right(self._afters, span.after)
        high = len(self._afters) if span.upto is None else bisect_left(self._afters, span.upto)
        if high - low < MIN_EDGES:
            rows = rows_between(db, span.after, span.upto)
            return parts_of(span, rows, min(parts, max(2, len(rows) // PART_PATHS)))
        edges = [span.after, *(self._afters[at] for at in self._edges(low, high, parts))]
        spans = [Span(after, upto) for after, upto in zip(edges, [*edges[1:], span.upto], strict=True)]
        return list(map(Summary, spans, self.fingerprints(db, spans)))

    def _edges(self, low: int, high: int, parts: int) -> Sequence[int]:
        """Of the stretches in [low, high) those to begin a part with."""
        if high - low < parts:
            return range(low, high)
        self._sums.reach(self._prints)
        paths = self._sums.paths
        begin, count = paths[low - 1], paths[high] - paths[low - 1]
        return sorted(
            {bisect_left(paths, begin + count * number // parts, low, high - 1) for number in range(1, parts)}
        )

    def _upto(self, at: int) -> str | None:
        return self._afters[at + 1] if at + 1 < len(self._afters) else None

    def _rows_of(self, db: apsw.Connection, at: int) -> list[MarkedRow]:
        return rows_between(db, self._afters[at], self._upto(at))

    def _fits(self, db: apsw.Connection) -> bool:
        """Whether the table can be believed: in order, and right about a few of its rows."""
        if self._afters[0] or any(one.paths < one.deleted or one.deleted < 0 for one in self._prints):
            return False
        step = max(1, len(self._afters) // CHECKED_STRETCHES)
        checked = {*range(0, len(self._afters), step), len(self._afters) - 1}
        return all(sum_of(self._rows_of(db, at)) == self._prints[at] for at in checked)


def _is_empty(span: Span) -> bool:
    return span.upto is not None and span.upto <= span.after
