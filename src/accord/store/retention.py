"""Letting go of history: which superseded versions are kept is `model.history.expired`'s rule, applied a bounded portion at a time.

The rows are gone through in the order of the paths, over and over; after each round one folder of `.accord/versions/` is looked through
for what no row needs. Dropping a row is not waited for: forgotten in a crash, it is dropped again. Blocking; one call at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from itertools import groupby

from accord.model.history import Kept as KeptVersion
from accord.model.history import expired
from accord.store.history_rows import Superseded, forget, superseded_after
from accord.store.kept import FOLDERS, Kept
from accord.store.workshop import Workshop

PORTION_EVENTS = 1_000
MAX_PORTIONS = 20
"""So many portions in which nothing has expired are looked at in one unit."""


class Retention:
    def __init__(self, shop: Workshop, kept: Kept, keep_versions: int, keep_ns: int) -> None:
        self._shop = shop
        self._kept = kept
        self._keep_versions = keep_versions
        self._keep_ns = keep_ns
        self._after = ""
        self._folder = 0
        self._lock = threading.Lock()

    def expire(self) -> int:
        """See `port.Store.expire`."""
        with self._lock:
            for _ in range(MAX_PORTIONS):
                after = self._after
                rows = self._shop.index.read(partial(superseded_after, after=after, limit=PORTION_EVENTS))
                if not rows and not after:
                    break
                self._after = rows[-1].path if rows else ""
                gone = self._expired(rows)
                if gone:
                    self._let_go(gone)
                    return len(gone)
            swept = self._kept.sweep(self._folder, self._shop.now_ns() - self._keep_ns)
            self._folder = (self._folder + 1) % FOLDERS
            return swept

    def _expired(self, rows: Sequence[Superseded]) -> list[Superseded]:
        gone: list[Superseded] = []
        for path, group in groupby(rows, key=lambda one: one.path):
            versions = list(group)
            # Deletions are history too, but they take nobody's place: they cost no bytes.
            for some in ([one for one in versions if one.digest], [one for one in versions if not one.digest]):
                kept = [KeptVersion(path, one.dot, one.superseded_ns) for one in some]
                rule = expired(
                    kept, now_ns=self._shop.now_ns(), keep_versions=self._keep_versions, keep_ns=self._keep_ns
                )
                dots = {one.dot for one in rule}
                gone += [one for one in some if one.dot in dots]
        return gone

    def _let_go(self, gone: Sequence[Superseded]) -> None:
        self._shop.index.batch(partial(forget, gone=gone))
        self._kept.drop_unneeded({one.digest for one in gone if one.digest is not None})
