"""What is cached of the index: for each path asked for lately its record, ready for the hot path. Bounded; no lock for readers.

Written under the index's lock, so that an older record never takes a newer one's place.
"""

from __future__ import annotations

from accord.store.index_rows import Known
from accord.store.records import Record, nothing_there

CACHED_RECORDS = 16_384


class KnownRecords:
    def __init__(self) -> None:
        # Two generations make a cheap LRU: what is asked for moves to the young one; when that is full, the old one is forgotten.
        self._young: dict[str, Known] = {}
        self._old: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, path: str) -> Known | None:
        """None means "not cached". For the event loop."""
        known = self._young.get(path)
        if known is None:
            known = self._old.get(path)
            if known is not None:
                # Unlocked: should a writer be faster, it has put its own into the young generation, and that one stays.
                known = self._young.setdefault(path, known)
        return known

    def distrust(self, path: str, known: Known) -> None:
        """Let the hot path no longer believe that `known` may still be there, until something is recorded. For the event loop."""
        if self._young.get(path) is known:
            self._young[path] = known._replace(vouching=None, present=None)

    def remember(self, path: str, record: Record | None) -> Known:
        vouching = record.vouching() if record else None
        present = record.present() if record and vouching else None
        if_gone = None if record is not None and record.stat is not None else nothing_there(record, 0)
        known = Known(record, vouching, present, if_gone)
        if len(self._young) >= CACHED_RECORDS // 2:
            self._old, self._young = self._young, {}
        self._young[path] = known
        return known

    def forget(self, path: str) -> None:
        self._young.pop(path, None)
        self._old.pop(path, None)

    def clear(self) -> None:
        self._young, self._old = {}, {}
