"""Rows of files as items with marks: read from the index, summed, cut into parts.

What is kept of the sums is left to `stretches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import apsw

from accord.model.fingerprints import SUM_MODULUS, Fingerprint, Item, Span, Summary
from accord.model.names import FilePath

_ROWS = "SELECT path, mark, deleted FROM files WHERE path > ? AND mark IS NOT NULL ORDER BY path"
_ROWS_UPTO = "SELECT path, mark, deleted FROM files WHERE path > ? AND path <= ? AND mark IS NOT NULL ORDER BY path"
_COUNT = "SELECT count(*) FROM files WHERE path >= ? AND path <= ? AND mark IS NOT NULL"
_BELOW = "SELECT max(path) FROM files WHERE path > ? AND path < ?"

Marked = tuple[bytes | None, int]
"""Of a row: its mark (None: it knows of nothing, and counts as none), and whether it is a tombstone (0 or 1)."""
MarkedRow = tuple[str, bytes, int]

NONE = Fingerprint()


def portions(db: apsw.Connection, rows: int) -> Iterator[list[MarkedRow]]:
    """All of them, so many at a time."""
    found: Any = db.execute(_ROWS, ("",))
    while portion := list(islice(found, rows)):
        yield portion


def count_between(db: apsw.Connection, first: str, last: str) -> int:
    """How many there are from `first` to `last`."""
    return int(db.execute(_COUNT, (first, last)).get)


def path_below(db: apsw.Connection, after: str, path: str) -> str | None:
    """The greatest path between the two."""
    below: str | None = db.execute(_BELOW, (after, path)).get
    return below


def items(db: apsw.Connection, span: Span, limit: int) -> list[Item]:
    if span.upto is None:
        rows = db.execute(f"{_ROWS} LIMIT ?", (span.after, limit))
    else:
        rows = db.execute(f"{_ROWS_UPTO} LIMIT ?", (span.after, span.upto, limit))
    return [Item(FilePath.trusted(path), mark) for path, mark, _ in rows]


def rows_between(db: apsw.Connection, after: str, upto: str | None) -> list[MarkedRow]:
    found: list[Any] = (
        db.execute(_ROWS, (after,)) if upto is None else db.execute(_ROWS_UPTO, (after, upto))
    ).fetchall()
    return found


def fingerprint_of(marked: Marked | None) -> Fingerprint:
    if marked is None or marked[0] is None:
        return NONE
    return Fingerprint(1, int.from_bytes(marked[0]), marked[1])


def sum_of(rows: Sequence[MarkedRow]) -> Fingerprint:
    total = deleted = 0
    for _, mark, is_deleted in rows:
        total += int.from_bytes(mark)
        deleted += is_deleted
    return Fingerprint(len(rows), total % SUM_MODULUS, deleted)


def sums_upto(db: apsw.Connection, after: str, known: Fingerprint, edges: Sequence[str]) -> dict[str, Fingerprint]:
    """What there is up to each edge, in order and close together, where `known` is what there is up to `after`."""
    if edges[-1] == after:
        return {after: known}
    rows = iter(rows_between(db, after, edges[-1]))
    sums: dict[str, Fingerprint] = {}
    paths, total, deleted = known
    ahead = next(rows, None)
    for edge in edges:
        while ahead is not None and ahead[0] <= edge:
            paths, total, deleted = paths + 1, total + int.from_bytes(ahead[1]), deleted + ahead[2]
            ahead = next(rows, None)
        sums[edge] = Fingerprint(paths, total % SUM_MODULUS, deleted)
    return sums


def parts_of(span: Span, rows: Sequence[MarkedRow], parts: int) -> list[Summary]:
    count = max(1, min(parts, len(rows)))
    starts = [len(rows) * number // count for number in range(count + 1)]
    edges = [span.after, *(rows[start - 1][0] for start in starts[1:-1])]
    spans = map(Span, edges, [*edges[1:], span.upto])
    return [Summary(one, sum_of(rows[start:stop])) for one, (start, stop) in zip(spans, pairwise(starts), strict=True)]
