"""Intents that the index holds: finished, struck out once that is durable, tried again where it failed, completed at start-up.

What came out of a path is moved into history without a sync of its own; its intent is struck out only after the folders of history
have been synced, with the index's next batch. Until then the next start would do it again, which does no harm. Thread-safe. Blocking.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

import apsw
import structlog

from accord.errors import IntegrityError, StoreFailed
from accord.model.names import Digest, FilePath
from accord.store.intents import Intent, decode_intent
from accord.store.kept import Kept
from accord.store.moving import End, Mover
from accord.store.renaming import OUT_PREFIX
from accord.store.workshop import Workshop

_log = structlog.get_logger("accord.store")


def _delete(db: apsw.Connection, rows: list[tuple[int]]) -> None:
    db.executemany("DELETE FROM pending WHERE id = ?", rows)


class Unfinished:
    def __init__(self, shop: Workshop, kept: Kept, mover: Mover) -> None:
        self._shop = shop
        self._kept = kept
        self._mover = mover
        self._lock = threading.Lock()
        self._finished: list[tuple[int, Digest | None]] = []
        self._failed: dict[int, Intent] = {}

    def finish(self, row: int, intent: Intent, *, is_new: bool = False) -> End:
        """`is_new`: see `Mover.finish`. Raises `StoreFailed` or `DiskFull`: it is kept, and tried again."""
        try:
            end = self._mover.finish(intent, is_new=is_new)
        except StoreFailed:
            with self._lock:
                self._failed[row] = intent
            raise
        with self._lock:
            self._failed.pop(row, None)
            self._finished.append((row, intent.old_digest))
        return end

    def retry(self, paths: Collection[FilePath] | None = None) -> None:
        """What failed before (of these paths) is done first. Raises as `finish`, once all were tried. Nothing is tried again after a
        failed sync."""
        if not self._failed:
            return
        self._shop.health.refuse_if_unfit()
        with self._lock:
            failed = sorted(self._failed.items())
        failures: list[StoreFailed] = []
        for row, intent in failed:
            if paths is None or intent.path in paths:
                try:
                    self.finish(row, intent)
                    self._forget_copy(intent)
                except StoreFailed as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    def strike_out(self) -> None:
        """With the index's next batch. Raises `StoreFailed`."""
        with self._lock:
            finished = list(self._finished)
        if not finished or self._shop.health.refusal() is not None:
            return
        self._kept.sync({digest for _, digest in finished if digest is not None and self._kept.has(digest)})
        rows = [(row,) for row, _ in finished]
        self._shop.index.batch(partial(_delete, rows=rows))
        with self._lock:
            del self._finished[: len(finished)]

    def complete(self) -> set[str]:
        """At start-up: everything that the index holds, in the order of the promises. Returns the names in staging that are still
        needed, because something failed."""
        rows: list[Any] = self._shop.index.read(
            lambda db: db.execute("SELECT id, intent FROM pending ORDER BY id").fetchall()
        )
        for row, raw in rows:
            try:
                intent = decode_intent(raw)
            except IntegrityError as error:
                _log.error("an unfinished write is lost", reason=error.detail)
                with self._lock:
                    self._finished.append((row, None))
                continue
            try:
                self.finish(row, intent)
                self._mover.sync_folder(intent.path)
                self._forget_copy(intent)
            except (StoreFailed, OSError) as error:
                _log.error("a write cannot be finished", path=intent.path, reason=str(error))
        self.strike_out()
        return {name for intent in self._failed.values() for name in (intent.name, OUT_PREFIX + intent.name)}

    def _forget_copy(self, intent: Intent) -> None:
        """The record still tells of what was at the path. Where there is nothing now, it is to say so; what is there will be looked
        at."""
        record = self._shop.index.get(intent.path)
        if record is None or record.stat is None or record.stat != intent.old:
            return
        try:
            is_there = self._shop.seen_at(intent.path) is not None
        except OSError:
            return
        if not is_there:
            gone = replace(record, stat=None, digest=None, damaged=None, executable=False)
            self._shop.index.replace(intent.path, record, gone, durable=False)
