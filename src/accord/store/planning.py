"""What a commit will do to each path: looked at, checked against what the change was decided on, and placed by `model.placement`.

Nothing is written here. Doing it is `committing`'s.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from accord.errors import Conflict, IntegrityError
from accord.model.names import Digest
from accord.model.placement import Placement, current_contents, place
from accord.model.verdict import EMPTY_FOLDER
from accord.model.versions import EMPTY_CLOCK, Clock, Version, merge
from accord.store.confinement import NotAFile
from accord.store.hashing import hash_open_file
from accord.store.incoming import FileIncoming
from accord.store.intents import Intent
from accord.store.kept import Kept
from accord.store.port import Change
from accord.store.records import Record, Stat, dated
from accord.store.workshop import Workshop

ERRORS = (OSError, NotAFile)


@dataclass
class Plan:
    """`there` is the good copy at the path, None for none; `seen`, the stat data of whatever file is there. `incoming` by digest.
    `staged` is what will go to the path, `brought` what was moved aside, both once that is prepared."""

    change: Change
    record: Record | None
    seen: Stat | None
    there: Digest | None
    clock: Clock
    placement: Placement
    incoming: Mapping[Digest, FileIncoming]
    contents: Mapping[Digest, Version]
    staged: FileIncoming | None = None
    staged_stat: Stat | None = None
    was_kept: bool = False
    intent: Intent | None = None
    deleted_ns: int | None = None
    brought: list[tuple[FileIncoming, Digest]] = field(default_factory=list)

    @property
    def comes(self) -> Digest | None:
        """What is to be put at the path, None for nothing."""
        return self.placement.at_path if self.placement.at_path != self.there else None

    @property
    def is_taken_out(self) -> bool:
        """Whether the path is to be without a file. A damaged copy stays as long as nothing is there in its stead."""
        is_over = self.placement.retires or not self.contents
        return self.seen is not None and self.placement.at_path is None and is_over

    @property
    def dressed(self) -> Version | None:
        """The content at the path stays, and is a version now that has another time, or another executable bit."""
        version = self.contents.get(self.there) if self.there is not None else None
        before = self.record.clock if self.record is not None else EMPTY_CLOCK
        if version is None or self.comes is not None or version in (told for _, told in before.current()):
            return None
        assert self.record is not None
        assert self.seen is not None
        is_as_told = (self.seen.mtime_ns, self.record.executable) == (version.modified_ns, version.executable)
        return None if is_as_told else version

    def promised(self) -> Record:
        """The record before anything has been done to the file."""
        aside = tuple(sorted(self.placement.aside))
        if self.record is None or self.seen is None:
            is_shared = self.record is not None and self.record.shared
            return Record(self.clock, aside=aside, shared=is_shared, deleted_ns=self.deleted_ns)
        return replace(self.record, clock=self.clock, aside=aside, deleted_ns=self.deleted_ns)


class Planner:
    def __init__(self, shop: Workshop, kept: Kept) -> None:
        self._shop = shop
        self._kept = kept

    def plan(self, change: Change) -> Plan | None:
        """None where somebody was faster. Raises `Conflict` where something is in the way, `OSError`."""
        path = change.path
        record = self._shop.index.get(path)
        known = record.clock if record is not None else EMPTY_CLOCK
        if known != change.before:
            return None
        seen = self._shop.seen_at(path)
        obstacle = seen if isinstance(seen, str) else None
        stat = seen if isinstance(seen, Stat) else None
        if stat is not None and not _is_vouched_for(record, stat):
            return None
        clock = merge(known, change.clock)
        incoming = _by_digest(change)
        there = record.digest if record is not None and stat is not None and record.damaged is None else None
        if there in incoming and clock == known and not self._is_sound(change, there):
            there = None
        contents = current_contents(clock)
        held = {digest for digest in contents if digest in incoming or self._kept.has(digest)}
        damaged = record.digest if record is not None and stat is not None and there is None else None
        placement = place(clock, there, held, damaged=damaged)
        if placement.at_path not in (None, there) and obstacle not in (None, EMPTY_FOLDER):
            raise Conflict(f"There is {obstacle} at '{path}'.", path=path)
        deleted_ns = dated(clock, record, self._shop.now_ns(), change.deleted_age_s)
        return Plan(change, record, stat, there, clock, placement, incoming, contents, deleted_ns=deleted_ns)

    def _is_sound(self, change: Change, digest: Digest | None) -> bool:
        """Somebody brings what is there already: is it? The disk may be unable to read it."""
        try:
            fd = self._shop.beneath.open_regular(change.path)
            try:
                return hash_open_file(fd)[0] == digest
            finally:
                os.close(fd)
        except ERRORS:
            return False


def _by_digest(change: Change) -> dict[Digest, FileIncoming]:
    incoming: dict[Digest, FileIncoming] = {}
    for one in change.incoming:
        if not isinstance(one, FileIncoming) or one.finished is None:
            raise IntegrityError("Only bytes that this store took in can be committed.", path=change.path)
        incoming.setdefault(one.finished, one)
    return incoming


def _is_vouched_for(record: Record | None, seen: Stat) -> bool:
    return record is not None and (record.vouching() == seen or record.known_damage(seen) is not None)
