"""One server's listing: the files on the disk joined with the index, page by page, in the order of the paths.

Answers come from stat data and the index. Small files that nothing vouches for are hashed on the way, within `HASHING_S` a page, so
that new files are listed as what they are; the others are `Checking`. Blocking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from accord.model.listing import PAGE_PATHS, Walked
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Answer, Checking, Deleted
from accord.store.confinement import Confinement
from accord.store.index import Index
from accord.store.records import Record, Stat
from accord.store.walk import stat_in, walk_runs

Unvouched = Callable[[FilePath, Stat, bool], Answer | None]
"""Told of each file that nothing vouches for, and whether there is time to hash it now; may know an answer."""

HASHING_S = 0.5

_Found = tuple[FilePath, Stat | None]
_LAST = "\U0010ffff" * 64  # sorts after every segment


def pages(
    beneath: Confinement, index: Index, prefix: Prefix, after: FilePath | None, unvouched: Unvouched
) -> Iterator[list[Walked]]:
    page: list[Walked] = []
    low = max(prefix, after or "")
    for found in _batches(beneath, prefix, after):
        until_s = time.monotonic() + HASHING_S
        for walked in _joined(index, low, found[-1][0], found, unvouched, until_s):
            page.append(walked)
            if len(page) == PAGE_PATHS:
                yield page
                page = []
        low = found[-1][0]
    for path, record in index.between(low, prefix + _LAST):  # tombstones beyond the last file
        if record.deleted:
            page.append(Walked(path, Deleted(record.clock)))
        if len(page) == PAGE_PATHS:
            yield page
            page = []
    if page:
        yield page


def _batches(beneath: Confinement, prefix: Prefix, after: FilePath | None) -> Iterator[list[_Found]]:
    """Files with their stat data, about a page at a time: each batch is one range in the index."""
    batch: list[_Found] = []
    for run in walk_runs(beneath, prefix, after):
        for path in run.paths:
            status = stat_in(run, path)
            batch.append((path, None if status is None else Stat.of(status)))
        if len(batch) >= PAGE_PATHS:
            yield batch
            batch = []
    if batch:
        yield batch


def _joined(
    index: Index, low: str, high: str, found: list[_Found], unvouched: Unvouched, until_s: float
) -> Iterator[Walked]:
    records = index.between(low, high)
    record = next(records, None)
    for path, stat in found:
        while record is not None and record[0] < path:
            if record[1].deleted:
                yield Walked(record[0], Deleted(record[1].clock))
            record = next(records, None)
        mine = record[1] if record is not None and record[0] == path else None
        if stat is not None:
            yield Walked(path, _answer(path, stat, mine, unvouched, until_s))
        elif mine is not None and mine.deleted:
            yield Walked(path, Deleted(mine.clock))
        if mine is not None:
            record = next(records, None)


def _answer(path: FilePath, stat: Stat, record: Record | None, unvouched: Unvouched, until_s: float) -> Answer:
    if record is not None:
        # What is superseded may be about to be replaced by a commit that is under way: that takes a closer look.
        if record.vouching() == stat and any(version.digest == record.digest for _, version in record.clock.current()):
            return record.present()
        damage = record.known_damage(stat)
        if damage is not None:
            return damage
    return unvouched(path, stat, time.monotonic() < until_s) or Checking(0, stat.size)
