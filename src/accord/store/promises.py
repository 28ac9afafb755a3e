"""The transaction of a commit: the records of all its paths, their history, what is yet to be done to the files, and who is owed it.

All of it is in one transaction, and several commits may share one. Everything is looked at before anything is written, so that a
commit that comes too late leaves nothing to take back. When a transaction is durable, and what happens when it fails, is `index`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import apsw

from accord.model.history import Event
from accord.model.names import FilePath, ServerName
from accord.model.versions import EMPTY_CLOCK
from accord.store.debts import Ledger, Owed
from accord.store.file_rows import FileRows
from accord.store.history_rows import note
from accord.store.intents import Intent, encode_intent
from accord.store.records import Record


class Put(NamedTuple):
    """The record that a path is to get, if it is still the `expected` one."""

    path: FilePath
    expected: Record | None
    record: Record
    events: Sequence[Event] = ()
    intent: Intent | None = None
    owed: tuple[ServerName, ...] = ()


class Promised(NamedTuple):
    """A put that is durable. `debt` is its number among the debts, `intent` the row of what is yet to be done (0: nothing)."""

    debt: int
    intent: int


class Job:
    """What one thread wants to be durable. After it is `done`, either an `error`, or a `result` (None: it came too late)."""

    __slots__ = ("done", "error", "now_ns", "owed", "puts", "result")

    def __init__(self, puts: Sequence[Put], now_ns: int) -> None:
        self.puts = puts
        self.now_ns = now_ns
        self.done = False
        self.error: Exception | None = None
        self.result: list[Promised] | None = None
        self.owed: list[Owed] = []


def write_puts(
    db: apsw.Connection, job: Job, rows: FileRows, record_of: Callable[[FilePath], Record | None], debts: Ledger
) -> list[Promised] | None:
    """Within a transaction. `record_of` tells what the paths have by then."""
    if any(record_of(put.path) != put.expected for put in job.puts):
        return None
    promised = []
    job.owed = []
    for put in job.puts:
        rows.change(db, put.path, put.expected, put.record)
        before = put.expected.clock if put.expected is not None else EMPTY_CLOCK
        aside = put.expected.aside if put.expected is not None else ()
        if put.events or before != put.record.clock or aside != put.record.aside:
            note(db, put.path, before, put.record.clock, put.record.aside, put.events, job.now_ns)
        intent = 0
        if put.intent is not None:
            db.execute("INSERT INTO pending (intent) VALUES (?)", (encode_intent(put.intent),))
            intent = db.last_insert_rowid()
        number = debts.write(db, put.path, put.owed)
        job.owed.append((put.path, put.owed, number))
        promised.append(Promised(number, intent))
    return promised
