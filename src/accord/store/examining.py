"""Looking at one path: open it, let the index vouch for it, or hash it and record what it is. Blocking; for threads.

Decisions are in `records`; this performs them. Two looks at one path at once are harmless: a result is recorded only if the record
is still the one that was there when the look began, otherwise the look is repeated.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from accord.errors import StoreFailed
from accord.model.names import Digest, FilePath
from accord.model.placement import current_contents
from accord.model.verdict import EMPTY_FOLDER, FOLDER, Answer, Checking, Damaged, Unreachable
from accord.quantities import NS_PER_S
from accord.store.confinement import Confinement, NotAFile, require_regular
from accord.store.hashing import SMALL_BYTES, Progress, hash_open_file
from accord.store.history_rows import was_superseded
from accord.store.index import Index
from accord.store.kept import Kept
from accord.store.obstacles import answer_to
from accord.store.oddities import Oddities
from accord.store.promises import Put
from accord.store.records import (
    RACY_WINDOW_NS,
    Judge,
    Record,
    Seen,
    Stat,
    is_executable,
    makes_event,
    nothing_there,
    outside_events,
)
from accord.store.todo import todo_of
from accord.store.under_way import UnderWay
from accord.store.workshop import is_empty_tree

TRIES = 4
"""How often a file that changes while it is hashed is hashed again before the answer is that it is still being checked."""

SLOW_WRITE_NS_PER_BYTE = 10
MAX_WRITE_NS = 100_000_000
"""A file that never rests is waited for so long at each try, at most: its readers wait too."""


class Opened:
    """An open file and the record that says what is in it. Whoever has it closes `fd`."""

    __slots__ = ("fd", "record")

    def __init__(self, fd: int, record: Record) -> None:
        self.fd = fd
        self.record = record


class TooLarge:
    """The file must be hashed, and that is a job."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


class Examiner:
    """`now_ns` is the time that file timestamps are compared with."""

    def __init__(
        self,
        beneath: Confinement,
        index: Index,
        judge: Judge,
        now_ns: Callable[[], int],
        under_way: UnderWay,
        oddities: Oddities,
        kept: Kept,
    ) -> None:
        self._beneath = beneath
        self._index = index
        self._judge = judge
        self._now_ns = now_ns
        self._under_way = under_way
        self._oddities = oddities
        self._kept = kept
        self.closing = threading.Event()

    def look(
        self, path: FilePath, *, up_to_bytes: int = SMALL_BYTES, reread: bool = False
    ) -> Opened | Answer | TooLarge:
        """What is there; a file of at most `up_to_bytes` is hashed if it has to be. Never raises for the state of one file."""
        try:
            return self._look(path, up_to_bytes, reread, Progress())
        except StoreFailed as error:
            return Unreachable(f"this server's store failed: {error.detail}")

    def hash_large(self, path: FilePath, progress: Progress, *, reread: bool) -> Opened | Answer:
        """The job: hash the file whatever its size."""
        try:
            found = self._look(path, None, reread, progress)
            assert not isinstance(found, TooLarge)
            return found
        except StoreFailed as error:
            return Unreachable(f"this server's store failed: {error.detail}")

    def _look(
        self, path: FilePath, up_to_bytes: int | None, reread: bool, progress: Progress
    ) -> Opened | Answer | TooLarge:
        for _ in range(TRIES):
            if self.closing.is_set():
                break
            is_at_rest = self._under_way.wait(path)
            record = self._index.get(path)
            try:
                fd = self._beneath.open_regular(path)
            except NotAFile as error:
                record = self._gone(path, record)
                if error.obstacle == FOLDER and is_empty_tree(self._beneath, path):
                    return nothing_there(record, self._now_ns(), EMPTY_FOLDER)
                return answer_to(error, record, self._now_ns())
            except OSError as error:
                if is_at_rest and path in self._under_way:
                    continue
                if isinstance(error, FileNotFoundError):
                    record = self._gone(path, record)
                return answer_to(error, record, self._now_ns())
            kept = False
            try:
                found = self._judge_open(path, fd, record, up_to_bytes, reread, progress)
                if is_at_rest and path in self._under_way:
                    found = None  # what was read may be the promise's, and the file not yet
                kept = isinstance(found, Opened)
            except (OSError, NotAFile) as error:
                answer = answer_to(error, record, self._now_ns())
                if record is None or not isinstance(answer, Damaged):
                    return answer  # of what nobody has ever read here nothing can be said
                noted = self._note_damage(path, fd, record, answer.reason)
                if noted is None:
                    continue
                return noted
            finally:
                if not kept:
                    os.close(fd)
            if found is not None:
                return found
        return Checking(progress.hashed_bytes, progress.total_bytes)

    def _judge_open(
        self, path: FilePath, fd: int, record: Record | None, up_to_bytes: int | None, reread: bool, progress: Progress
    ) -> Opened | Answer | TooLarge | None:
        """None: it changed meanwhile; look again."""
        status = os.fstat(fd)
        require_regular(status.st_mode)
        stat = Stat.of(status)
        if record is not None and not reread:
            damage = record.known_damage(stat)
            if damage is not None:
                return damage
            if record.vouching() == stat:
                return Opened(fd, record)
        progress.total_bytes = stat.size
        if up_to_bytes is not None and stat.size > up_to_bytes:
            return TooLarge(stat.size)
        self._wait_out_the_race(stat)
        seen = self._hash(fd, stat, progress)
        return None if seen is None else self._record(path, fd, record, seen)

    def _hash(self, fd: int, stat: Stat, progress: Progress) -> Seen | None:
        began_ns = self._now_ns()
        digest, count = hash_open_file(fd, progress, self.closing)
        status = os.fstat(fd)
        if count != stat.size or Stat.of(status) != stat:
            return None
        return Seen(stat, digest, is_executable(status.st_mode), began_ns)

    def _record(self, path: FilePath, fd: int, before: Record | None, seen: Seen) -> Opened | Answer | None:
        after = self._judge.record(before, seen, is_past=self._is_past(path, before, seen.digest))
        if before is not None and after.digest != before.digest:
            with self._still_kept(after, after.digest) as after:
                return self._put_down(path, fd, before, after, seen.stat)
        return self._put_down(path, fd, before, after, seen.stat)

    def _put_down(
        self, path: FilePath, fd: int, before: Record | None, after: Record, stat: Stat
    ) -> Opened | Answer | None:
        if after != before:
            if not self._write_down(path, before, after):
                return None
            self._tell_apart(path, before, after)
        elif not todo_of(after):
            self._index.standing.looked_good(path)
        return after.known_damage(stat) or Opened(fd, after)

    def _gone(self, path: FilePath, before: Record | None) -> Record | None:
        """The record of a path at which no file is: what is kept of it elsewhere is a copy all the same."""
        if before is None:
            return None
        with self._still_kept(before, None) as after:
            if after == before:
                return before
            with suppress(StoreFailed):  # what cannot be written down is not counted on
                if self._write_down(path, before, after):
                    return after
        return before

    @contextmanager
    def _still_kept(self, record: Record, there: Digest | None) -> Iterator[Record]:
        """The record, and current versions aside whose bytes were lost at the path (`there` is what is left) and are kept for another
        path, or another time: nobody is to bury them unseen. They are not dropped meanwhile."""
        lost = current_contents(record.clock).keys() - {there, *record.aside}
        with self._kept.guarding(lost):
            kept = {digest for digest in lost if self._kept.has(digest)}
            yield replace(record, aside=tuple(sorted({*record.aside, *kept}))) if kept else record

    def _note_damage(self, path: FilePath, fd: int, before: Record, reason: str) -> Damaged | None:
        """That the disk cannot read a copy is remembered, whatever its stat data vouch for: it is to be healed. None where somebody was
        faster."""
        stat = Stat.of(os.fstat(fd))
        # Under other stat data than those recorded, what cannot be read may be anything.
        digest = before.digest if before.stat == stat else None
        after = replace(before, stat=stat, digest=digest, damaged=reason)
        if after != before:
            if not self._write_down(path, before, after):
                return None
            self._tell_apart(path, before, after)
        return after.known_damage(stat)

    def _is_past(self, path: FilePath, before: Record | None, digest: Digest) -> bool:
        if before is None or before.digest == digest or any(one.digest == digest for _, one in before.clock.current()):
            return False
        return self._index.read(lambda db: was_superseded(db, path, digest))

    def _tell_apart(self, path: FilePath, before: Record | None, after: Record) -> None:
        """Whoever comes upon an odd copy first makes it known; a scan would find nothing new any more."""
        finding = self._oddities.finding(path, before, after)
        if finding is not None:
            self._index.standing.note_finding(finding)

    def _write_down(self, path: FilePath, before: Record | None, after: Record) -> bool:
        is_kept = before is not None and before.aside != after.aside  # what is needed is known from what a commit notes
        if not makes_event(before, after) and after.damaged is None and not is_kept:
            return self._index.replace(path, before, after, durable=False)
        now_ns = self._now_ns()
        put = Put(path, before, after, outside_events(before, after, now_ns))
        return self._index.commit([put], now_ns) is not None

    def _wait_out_the_race(self, stat: Stat) -> None:
        """Hash only once a write would show in the timestamps. A write is stamped when it begins: a hash taken in its middle
        would otherwise be of a mixture that never was a version, and an event would be made of it. How long one call writes is
        not known; it is given `SLOW_WRITE_NS_PER_BYTE`."""
        window_ns = RACY_WINDOW_NS + min(stat.size * SLOW_WRITE_NS_PER_BYTE, MAX_WRITE_NS)
        age_ns = self._now_ns() - stat.ctime_ns
        if 0 <= age_ns <= window_ns:
            self.closing.wait((window_ns - age_ns + 1_000_000) / NS_PER_S)
