"""Reading every byte that is kept, and comparing it with its digest: at the paths, aside, and in history, in the order of the paths.

What stat data vouch for is read from the disk itself, not from the kernel's memory, and what was not in that memory before does not
stay there: a scrub neither believes the cache nor evicts what is served from it. A file that differs is hashed once more by
`examining`, whose rule says what it is; what is kept apart and differs goes to quarantine. No lock is held from one step to the next.
Blocking.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import apsw
from blake3 import blake3

from accord.model.findings import Finding, Oddity
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import FOLDER
from accord.store.condemning import condemn, forget_kept
from accord.store.confinement import NotAFile
from accord.store.directory_inventory import below
from accord.store.examining import Examiner, Opened
from accord.store.hashing import Progress, own_buffer
from accord.store.history_rows import kept_of
from accord.store.inventory import MAX_STEP_BYTES, Scope, ScrubStep
from accord.store.kept import Kept
from accord.store.obstacles import UNREADABLE_ERRNOS
from accord.store.oddities import Oddities, oddity_of
from accord.store.port import BLOCK_BYTES
from accord.store.records import Record, Stat
from accord.store.scanning import Scanning
from accord.store.workshop import Workshop

PORTION_PATHS = 1_000
FILES_A_STEP = 256

_PATHS = f"SELECT path FROM files WHERE path > ? AND path <= ? ORDER BY path LIMIT {PORTION_PATHS}"
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})


class _Read(NamedTuple):
    """What the bytes of an open file came to."""

    digest: Digest
    stat: Stat


@dataclass
class _Tally:
    at: FilePath | None
    files: int = 0
    read_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        return self.read_bytes >= MAX_STEP_BYTES or self.files >= FILES_A_STEP

    def step(self) -> ScrubStep:
        """And begin the next one."""
        step = ScrubStep(self.at, self.files, self.read_bytes, tuple(self.findings))
        self.files, self.read_bytes, self.findings = 0, 0, []
        return step


class Scrubbing:
    """See `store.inventory.Inventory.scrub`."""

    def __init__(self, shop: Workshop, kept: Kept, examiner: Examiner, oddities: Oddities, scanning: Scanning) -> None:
        self._shop = shop
        self._index = shop.index
        self._kept = kept
        self._examiner = examiner
        self._oddities = oddities
        self._scanning = scanning

    def steps(self, scope: Scope, after: FilePath | None) -> Iterator[ScrubStep]:
        self._shop.health.look()
        self._shop.health.refuse_if_unfit()
        tally = _Tally(after)
        if isinstance(scope, FilePath):
            yield from self._path(scope, tally, is_everything=False)
            scope = Prefix(scope) if self._is_folder(scope) else scope
        if isinstance(scope, Prefix):
            low, high = below(scope, after)
            while paths := self._index.read(partial(_paths, low=low, high=high)):
                for path in paths:
                    yield from self._path(path, tally, is_everything=not scope)
                    tally.at = path
                    if tally.is_enough:
                        yield tally.step()
                low = paths[-1]
        yield tally.step()

    def _is_folder(self, path: FilePath) -> bool:
        with suppress(OSError):
            return self._shop.seen_at(path) == FOLDER
        return False

    def _path(self, path: FilePath, tally: _Tally, *, is_everything: bool) -> Iterator[ScrubStep]:
        record = self._index.get(path)
        if record is None:
            return
        if record.stat is not None:
            yield from self._at_path(path, record, tally)
            tally.files += 1
        for digest in record.aside:
            yield from self._apart(path, digest, tally, is_rival=True)
        for digest, first in self._index.read(partial(kept_of, path=path)):
            # What is in the history of several paths is kept once, and read once.
            if digest not in record.aside and (first == path or not is_everything):
                yield from self._apart(path, digest, tally, is_rival=False)

    # At the path.

    def _at_path(self, path: FilePath, record: Record, tally: _Tally) -> Iterator[ScrubStep]:
        try:
            fd = self._shop.beneath.open_regular(path)
        except NotAFile:
            return  # a scan tells of that
        except OSError as error:
            if error.errno not in _NOT_THERE:
                tally.findings.append(self._unreadable(path, record.digest, error))
            return
        read = None
        try:
            stat = Stat.of(os.fstat(fd))
            if record.known_damage(stat) is None and record.vouching() != stat:
                yield from self._examined(path, tally)
                return
            if record.damaged is None:
                read = yield from _read(fd, tally)
        except OSError as error:
            if error.errno not in UNREADABLE_ERRNOS:
                tally.findings.append(self._unreadable(path, record.digest, error))
                return
        finally:
            os.close(fd)
        if read is None or (read.stat == record.stat and read.digest != record.digest):
            self._reread(path, record, tally)
        elif read.stat == record.stat and oddity_of(record, record) is None:
            self._index.standing.looked_good(path)

    def _examined(self, path: FilePath, tally: _Tally) -> Iterator[ScrubStep]:
        """Nothing vouches for it: it is looked at as a scan does."""
        for step in self._scanning.steps(path):
            tally.read_bytes += step.hashed_bytes
            tally.findings += step.findings
            if tally.is_enough or not (step.files or step.findings):  # it waits for the hashing of a large file
                yield tally.step()

    def _reread(self, path: FilePath, record: Record, tally: _Tally) -> None:
        """Once more, by the one rule: it may have been the reading, somebody may just have recorded something else, and what the disk
        could not read once, it may be able to read now. (News of the path's history say nothing of its bytes.)"""
        now = self._index.get(path)
        if now is None or (now.stat, now.digest, now.damaged) != (record.stat, record.digest, record.damaged):
            return
        record = now
        held = self._examiner.hash_large(path, Progress(), reread=True)
        if isinstance(held, Opened):
            os.close(held.fd)
        tally.read_bytes += record.stat.size if record.stat is not None else 0
        after = self._index.get(path)
        if after is not None and after.damaged is not None:
            finding = self._oddities.finding(path, record, after)
            tally.findings += [finding] if finding is not None else []

    # Aside, and in history.

    def _apart(self, path: FilePath, digest: Digest, tally: _Tally, *, is_rival: bool) -> Iterator[ScrubStep]:
        what = "the bytes that are kept of a rival" if is_rival else "the bytes that are kept of a former version"
        try:
            is_sound = yield from self._is_sound(digest, tally)
        except OSError as error:
            tally.findings.append(self._unreadable(path, digest, error, f"{what}: "))
            if error.errno in UNREADABLE_ERRNOS:
                condemn(self._index, self._kept, digest)
            return
        if is_sound is None and is_rival:
            forget_kept(self._index, self._kept, digest)
            record = self._index.get(path)
            if record is not None and digest not in record.aside:
                tally.findings.append(self._finding(path, Oddity.MISSING, digest, what))
        elif is_sound is False:
            condemn(self._index, self._kept, digest)
            tally.findings.append(self._finding(path, Oddity.ROT, digest, what))

    def _is_sound(self, digest: Digest, tally: _Tally) -> Generator[ScrubStep, None, bool | None]:
        """Read a second time where it differs: it may have been the reading. None where it is not kept (any more). Raises `OSError`."""
        for _ in range(2):
            fd = self._kept.open_or_raise(digest)
            if fd is None:
                return None
            try:
                read = yield from _read(fd, tally)
            finally:
                os.close(fd)
            if read.digest == digest:
                return True
            if self._kept.inode(digest) != read.stat.inode:
                return None
        return False

    def _finding(self, path: FilePath, oddity: Oddity, digest: Digest | None, detail: str) -> Finding:
        return Finding(path, oddity, self._shop.now_ns(), None, digest, detail)

    def _unreadable(self, path: FilePath, digest: Digest | None, error: OSError, what: str = "") -> Finding:
        return self._finding(path, Oddity.UNREADABLE, digest, f"{what}{os.strerror(error.errno or 0)}")


def _read(fd: int, tally: _Tally) -> Generator[ScrubStep, None, _Read]:
    """All bytes, in steps. Raises `OSError`."""
    hasher, offset = blake3(), 0
    with suppress(OSError):  # what is read ahead would be taken for what was in memory before
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    while True:
        is_in_memory = _is_in_memory(fd, offset)
        if is_in_memory:
            _let_go(fd, offset)
        buffer = own_buffer()
        count = os.preadv(fd, (buffer,), offset)
        hasher.update(buffer[:count])
        if not is_in_memory:
            _let_go(fd, offset)
        offset += count
        tally.read_bytes += count
        if not count:
            return _Read(Digest(hasher.digest()), Stat.of(os.fstat(fd)))
        if tally.read_bytes >= MAX_STEP_BYTES:
            yield tally.step()


def _is_in_memory(fd: int, offset: int) -> bool:
    """Whether the block at `offset` can be had without the disk, by its first byte; also where the file system cannot say."""
    try:
        os.preadv(fd, (bytearray(1),), offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _let_go(fd: int, offset: int) -> None:
    with suppress(OSError):
        os.posix_fadvise(fd, offset, BLOCK_BYTES, os.POSIX_FADV_DONTNEED)


def _paths(db: apsw.Connection, low: str, high: str) -> list[FilePath]:
    return [FilePath.trusted(path) for (path,) in db.execute(_PATHS, (low, high))]
