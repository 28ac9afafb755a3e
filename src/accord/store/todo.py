"""What a record alone says is to be done about its path: a pure rule. What is done about it is left to the engine."""

from __future__ import annotations

from enum import IntFlag

from accord.store.records import Record


class Todo(IntFlag):
    """What a record alone says is to be done about its path."""

    MEND = 1
    """This server lacks something: the bytes of a current version, a copy that was lost or damaged, or it shows what is superseded."""
    DECIDE = 2
    """There are rivals: two or more current versions of different content."""


def todo_of(record: Record) -> Todo:
    entries = record.clock.entries
    if len(entries) == 1 and len(entries[0].versions) == 1 and record.damaged is None:  # nearly every record
        only = entries[0].versions[0].digest
        is_done = record.digest == only if record.stat is not None else only is None
        return Todo(0) if is_done else Todo.MEND
    current = {version.digest for _, version in record.clock.current()}
    decide = Todo.DECIDE if len(current) > 1 else Todo(0)
    there = record.digest if record.stat is not None and record.damaged is None else None
    lacking = current - {None, there, *record.aside}
    is_outdated = there is not None and bool(current) and there not in current
    is_empty = there is None and bool(current - {None})  # the rivals are kept aside, and nothing is at the path
    return decide | Todo.MEND if record.damaged is not None or lacking or is_outdated or is_empty else decide
