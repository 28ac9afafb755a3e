"""What the index remembers of one path, and when that vouches for what is on the disk: values and rules, without any I/O.

How records are kept is left to `index`; how stat data and digests are come by, to `confinement` and `hashing`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from accord.model.history import Deed, Event, superseded_by
from accord.model.names import Digest, ServerName
from accord.model.placement import others
from accord.model.verdict import Absent, Claim, Damaged, Deleted, Present
from accord.model.versions import (
    Clock,
    Dot,
    Life,
    OutsideChanges,
    Version,
    found,
    is_found,
    newest_outside,
    outside_change,
)
from accord.quantities import NS_PER_S

RACY_WINDOW_NS = 20_000_000
"""Two writes this close together may leave the same timestamps: kernels stamp files with a clock that ticks every 1 to 10 ms."""

_SIGNED_63_BITS = (1 << 63) - 1
ROT = "its bytes no longer match its digest, and nothing wrote to it"


class Stat(NamedTuple):
    """The stat data that a change to a file's content cannot leave as they were (but for the racy rule)."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    dev: int

    @classmethod
    def of(cls, seen: os.stat_result) -> Stat:
        return cls(
            seen.st_size,
            _bounded_ns(seen.st_mtime_ns),
            _bounded_ns(seen.st_ctime_ns),
            seen.st_ino & _SIGNED_63_BITS,  # SQLite's integers are signed
            seen.st_dev & _SIGNED_63_BITS,
        )


def same_stat(known: Stat, seen: os.stat_result) -> bool:
    """`Stat.of(seen) == known`, at half its cost where they are the same."""
    if known == (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, seen.st_dev):
        return True
    return known == Stat.of(seen)  # it is what was recorded, bounded


def _bounded_ns(moment_ns: int) -> int:
    """Any tool can set a modified time beyond the year 2262, where neither SQLite's integers nor MessagePack's go."""
    return max(-_SIGNED_63_BITS, min(moment_ns, _SIGNED_63_BITS))


def is_executable(mode: int) -> bool:
    """The bit that travels with a version: whether the owner may run the file."""
    return bool(mode & stat.S_IXUSR)


def is_racy(ctime_ns: int, hashed_at_ns: int) -> bool:
    """Whether a write during or after a hashing that began at `hashed_at_ns` could have left `ctime_ns` unchanged.

    A time well *after* the hashing (a clock that was set back) is as safe as one well before: a later write would not repeat it.
    """
    return abs(hashed_at_ns - ctime_ns) <= RACY_WINDOW_NS


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one path.

    `stat` and `digest` are of the copy last seen; without `stat` none was ever seen, or it was taken away (only its clock is known).
    `damaged` says why the copy with this very `stat` is bad. A record whose file is gone is a lost copy, unless it is `deleted`.
    `aside` are the rivals whose bytes are kept apart, sorted. `shared`: the bytes of this disk's newest outside version may be on
    another server. `deleted_ns`, of a record that is `deleted` only: since when this server has known of it, by its own clock.
    """

    clock: Clock
    stat: Stat | None = None
    digest: Digest | None = None
    hashed_at_ns: int = 0
    executable: bool = False
    damaged: str | None = None
    aside: tuple[Digest, ...] = ()
    shared: bool = False
    deleted_ns: int | None = None

    @property
    def deleted(self) -> bool:
        """Whether an empty path is a tombstone: every current version is a deletion."""
        return is_all_deleted(self.clock)

    def vouching(self) -> Stat | None:
        """The stat data that prove the digest without reading, or None where nothing can (racy, damaged, no copy)."""
        if self.stat is None or self.digest is None or self.damaged is not None:
            return None
        return None if is_racy(self.stat.ctime_ns, self.hashed_at_ns) else self.stat

    def present(self) -> Present:
        if self.stat is None or self.digest is None:
            raise ValueError("a record of no copy")
        beside = self.beside(self.digest)
        return Present(self.digest, self.stat.size, self.stat.mtime_ns, self.clock, self.executable, beside)

    def beside(self, there: Digest | None) -> tuple[Claim, ...]:
        """The current versions that an answer tells beside what is `there`."""
        entries = self.clock.entries
        if not self.aside and len(entries) == 1 and len(entries[0].versions) == 1 and there is not None:
            # Nearly every file: listings ask this of hundreds of thousands.
            return (None,) if entries[0].versions[0].digest is None else ()
        return others(self.clock, self.aside, there=there)

    def known_damage(self, seen: Stat) -> Damaged | None:
        """The flag holds as long as the stat data stay as they were."""
        if self.damaged is None or self.stat != seen:
            return None
        return Damaged(self.damaged, self.digest, self.clock, self.beside(None))


def is_all_deleted(clock: Clock) -> bool:
    """Whether every current version is a tombstone, and there is one."""
    current = clock.current()
    return bool(current) and all(version.digest is None for _, version in current)


def dated(clock: Clock, before: Record | None, now_ns: int, age_s: int = 0) -> int | None:
    """`Record.deleted_ns` under a new clock, learnt from somebody who has known of the deletion for `age_s`.

    Where nothing was known, the age counts on. Where there was content, the deletion is news, however old it is elsewhere: a third
    server may have taken that content from here, and is to hear of the deletion from here. That happens once, so that it ends.
    """
    if not is_all_deleted(clock):
        return None
    told_ns = max(0, now_ns - max(0, age_s) * NS_PER_S)  # whatever was told
    if before is None or not before.clock.entries:
        return told_ns
    if before.deleted_ns is None:
        return now_ns
    return before.deleted_ns if before.clock == clock else max(before.deleted_ns, told_ns)


def nothing_there(record: Record | None, now_ns: int, obstacle: str | None = None) -> Absent | Deleted:
    """What a path without a file means: a tombstone was put there by Accord; anything else that is gone is a lost copy, not a
    deletion. `obstacle` is what is there instead."""
    if record is None:
        return Absent(obstacle)
    if obstacle is None and record.deleted:
        return Deleted(record.clock, age_s(record, now_ns))
    return Absent(obstacle, record.clock, record.beside(None))


def age_s(record: Record, now_ns: int) -> int:
    """For how long the deletion has been known. None that is not dated is any older than it is new."""
    return 0 if record.deleted_ns is None else max(0, now_ns - record.deleted_ns) // NS_PER_S


def unreadable(record: Record | None, reason: str) -> Damaged:
    """A copy that the disk cannot read."""
    if record is None:
        return Damaged(reason)
    return Damaged(reason, record.digest, record.clock, record.beside(None))


@dataclass(frozen=True, slots=True)
class Seen:
    """Content that was read and hashed while its stat data stood still. `hashed_at_ns` is when the reading began."""

    stat: Stat
    digest: Digest
    executable: bool
    hashed_at_ns: int


class Sharing(Enum):
    """What giving a copy's bytes to another server takes."""

    HARMLESS = "harmless"
    """Nothing: no outside change will supersede the version, or it is marked already."""
    MARK = "mark"
    """The record must say so first, durably: the next outside change then stands beside the version."""
    TOO_LATE = "too late"
    """The version has been superseded here already, as nobody else could have held it. It must not get out any more."""


class Judge(NamedTuple):
    """What makes records of what was seen: on whose behalf, and what a change behind Accord's back means there. `incarnation` is
    asked for each time: an index that had to be begun anew has another."""

    server: ServerName
    incarnation: Callable[[], str]
    policy: OutsideChanges
    floor: Callable[[], int] = lambda: 0

    @property
    def life(self) -> Life:
        return Life(self.server, self.incarnation())

    def record(self, before: Record | None, seen: Seen, *, is_past: bool = False) -> Record:
        """The record of a path after `seen`. Under stat data that vouch for another digest, it is rot; under others, a change.

        `is_past`: a known version of the path had this very content, and was superseded. It is that version, whoever put it there,
        and so stale: nothing happened but that a server fell behind.
        """
        if before is not None and before.vouching() == seen.stat and before.digest != seen.digest:
            return replace(before, damaged=ROT)
        if before is not None and _still_damaged(before, seen):
            return before
        clock = self._clock(before, seen, is_past)
        # Only an event of this disk makes a newest outside version that nobody else can hold yet.
        shared = before is not None and before.shared and clock == before.clock
        aside = before.aside if before is not None else ()
        deleted_ns = before.deleted_ns if before is not None and clock == before.clock else None
        return Record(
            clock, seen.stat, seen.digest, seen.hashed_at_ns, seen.executable, None, aside, shared, deleted_ns
        )

    def _clock(self, before: Record | None, seen: Seen, is_past: bool) -> Clock:
        version = Version(seen.digest, seen.stat.size, seen.stat.mtime_ns, str(self.server), seen.executable)
        if before is None:
            return found(version)
        if is_past or before.digest == seen.digest:
            return before.clock  # touched, restored or replaced by its equal: nothing happened to the content
        return outside_change(
            before.clock, before.digest, version, self.life, self.policy, shared=before.shared, floor=self.floor()
        )

    def can_supersede(self, clock: Clock, digest: Digest) -> bool:
        """Whether the next outside change would supersede the version of `digest`, were it not shared."""
        return digest in newest_outside(clock, self.life)

    def sharing(self, told: Present, record: Record | None) -> Sharing:
        """What must happen before bytes of the copy that was `told` of leave for another server; `record` is the path's now."""
        if not self.can_supersede(told.clock, told.digest):
            return Sharing.HARMLESS
        if record is None or all(version.digest != told.digest for _, version in record.clock.current()):
            return Sharing.TOO_LATE
        if record.shared or not self.can_supersede(record.clock, told.digest):
            return Sharing.HARMLESS
        return Sharing.MARK


def _still_damaged(before: Record, seen: Seen) -> bool:
    is_same_file = before.damaged is not None and before.stat == seen.stat
    return is_same_file and before.digest not in (None, seen.digest)


def makes_event(before: Record | None, after: Record) -> bool:
    """Whether `after` holds an event of this server's own: it must be durable before anybody hears of it, as a counter that was
    told and then forgotten in a crash would be given to other content."""
    return before is not None and before.clock != after.clock


def outside_events(before: Record | None, after: Record, at_ns: int) -> list[Event]:
    """What is to be remembered of a change that was found: an event for each version that `after` has and `before` had not."""
    if before is None or not makes_event(before, after):
        return []
    superseded = tuple(dot for dot, _ in superseded_by(before.clock, after.clock))
    known = {dot for dot, _ in before.clock.current()}
    return [
        Event(dot, version, at_ns, Deed.OUTSIDE, superseded)
        for dot, version in after.clock.current()
        if dot not in known
    ]


def event_by_its_actor(dot: Dot, version: Version) -> Event:
    """What can be said of a version that nobody told an event of: its actor's name tells who makes such."""
    deed = Deed.PUT
    if is_found(dot.actor):
        deed = Deed.FOUND
    elif version.digest is None:
        deed = Deed.DELETE
    elif "/outside/" in dot.actor:
        deed = Deed.OUTSIDE
    return Event(dot, version, version.modified_ns, deed)
