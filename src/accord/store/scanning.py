"""Finding what changed in the tree behind Accord's back: the walk's stat data against the index's, and a closer look where they differ.

Of an unchanged tree no content is read, and no record is made of its rows: both sides come as plain tuples in the order of the paths,
and a portion of them is compared at once. Only what differs is looked at by `examining`, which hashes and records it the common way. A
file that is gone becomes a lost copy: its record keeps clock and digest, and loses the stat data. Blocking.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection, Generator, Iterator, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import apsw

from accord.errors import StoreFailed
from accord.model.findings import Finding, NameClash, Oddity
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Absent, Answer, Damaged, Deleted, Unreachable
from accord.store.directory_inventory import below
from accord.store.examining import Examiner, Opened, TooLarge
from accord.store.index import Index
from accord.store.indexing import FirstIndexing
from accord.store.inventory import ScanStep, Scope
from accord.store.oddities import Oddities
from accord.store.path_jobs import PathJobs
from accord.store.records import RACY_WINDOW_NS, Record, Stat
from accord.store.standing_rows import MAX_CLASHES, findings, renew_clashes
from accord.store.survey import Survey
from accord.store.walk import SIGHTED_FILES, Sighted, sightings
from accord.store.workshop import Workshop

LOOKS_A_STEP = 64
HASHED_BYTES_A_STEP = 8 * 1024 * 1024
WAIT_A_STEP_S = 0.25
"""A step that has to wait (for the first hashing, for a large file) ends after this."""
PORTION_ROWS = 4 * SIGHTED_FILES

_VOUCHES = f"digest IS NOT NULL AND damaged IS NULL AND abs(hashed_at_ns - ctime_ns) > {RACY_WINDOW_NS}"
_ROWS = (
    f"SELECT path, size, mtime_ns, iif({_VOUCHES}, ctime_ns, NULL), inode, dev FROM files WHERE path > ? AND path <= ? "
    f"AND (size IS NOT NULL OR NOT deleted) ORDER BY path LIMIT {PORTION_ROWS}"
)
"""As `walk.Sighted`, but none that is equal to one where stat data do not vouch. Tombstones without a file are as they should be."""


class ScanSurvey(Survey):
    """Of one scan. `closed` are the folders that could not be read, in the order of the walk; whoever reads them takes them out."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[tuple[str, str]] = []
        self.clashes: list[NameClash] = []

    def note_unreadable(self, path: str, reason: str) -> None:
        super().note_unreadable(path, reason)
        if not path:
            raise StoreFailed(f"The folder of the files cannot be read: {reason}.")
        if path.endswith("/"):
            self.closed.append((path, reason))

    def note_clash(self, one: str, other: str) -> None:
        super().note_clash(one, other)
        if len(self.clashes) < MAX_CLASHES:
            self.clashes.append(NameClash(one, other))


@dataclass
class _Tally:
    """What the step under way has come upon."""

    folder: str = ""
    files: int = 0
    looks: int = 0
    hashed_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    found: list[FilePath] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        return self.looks >= LOOKS_A_STEP or self.hashed_bytes >= HASHED_BYTES_A_STEP

    def step(self) -> ScanStep:
        """And begin the next one."""
        step = ScanStep(self.folder, self.files, self.hashed_bytes, tuple(self.findings), tuple(self.found))
        self.files = self.looks = self.hashed_bytes = 0
        self.findings, self.found = [], []
        return step


class Scanning:
    """See `store.inventory.Inventory.rescan`."""

    def __init__(
        self, shop: Workshop, examiner: Examiner, jobs: PathJobs, indexing: FirstIndexing, oddities: Oddities
    ) -> None:
        self._shop = shop
        self._index: Index = shop.index
        self._examiner = examiner
        self._jobs = jobs
        self._indexing = indexing
        self._oddities = oddities

    def steps(self, scope: Scope) -> Iterator[ScanStep]:
        self._require_in_place()
        tally = _Tally()
        if isinstance(scope, FilePath):
            tally.folder, tally.files = scope.parent, 1
            yield from self._looked_at(scope, tally)
            if not self._is_file(scope):  # but a folder, or one that is gone
                yield from self._below(Prefix(scope), tally)
        else:
            while not self._indexing.ended.wait(WAIT_A_STEP_S):
                yield tally.step()
            yield from self._below(scope, tally)
        yield tally.step()

    def _is_file(self, path: FilePath) -> bool:
        with suppress(OSError):
            return isinstance(self._shop.seen_at(path), Stat)
        return False

    def _below(self, prefix: Prefix, tally: _Tally) -> Iterator[ScanStep]:
        survey = ScanSurvey()
        closed: set[str] = set()
        low, end = below(prefix, None)
        for sighted in _portions(sightings(self._shop.beneath, prefix, survey)):
            yield from self._compared(low, sighted[-1][0], sighted, survey, closed, tally)
            low = sighted[-1][0]
        yield from self._compared(low, end, [], survey, closed, tally)
        if not prefix:
            self._index.batch(partial(renew_clashes, found=survey.clashes))
        yield from self._looked_again(prefix, closed, tally)

    def _compared(
        self, low: str, high: str, sighted: Sequence[Sighted], survey: ScanSurvey, closed: set[str], tally: _Tally
    ) -> Iterator[ScanStep]:
        """The paths after `low` up to `high`, with all the files that are there. `closed` takes in the folders that cannot be read."""
        for folder, reason in survey.closed:
            closed.add(folder)
            tally.findings.append(self._unreadable(FilePath.trusted(folder.removesuffix("/")), None, reason))
        survey.closed.clear()
        while low < high:
            rows = self._index.read(partial(_rows, low=low, high=high))
            upto = rows[-1][0] if len(rows) == PORTION_ROWS else high
            count = bisect_right(sighted, upto, key=_path)
            tally.files += count
            tally.folder = upto.rpartition("/")[0] if upto != high or sighted else tally.folder
            if rows != sighted[:count]:
                odd = {row[0] for row in set(rows).symmetric_difference(sighted[:count])}
                for path in sorted(odd):
                    if not (closed and _is_below(path, closed)):
                        yield from self._looked_at(FilePath.trusted(path), tally)
            sighted, low = sighted[count:], upto
            yield tally.step()

    def _looked_at(self, path: FilePath, tally: _Tally) -> Iterator[ScanStep]:
        """A closer look at one path, whatever is there."""
        before = self._index.get(path)
        held = self._examiner.look(path)
        if isinstance(held, TooLarge):
            answer = yield from self._hashed(path, tally)
        elif isinstance(held, Opened):
            os.close(held.fd)
            answer = None
        else:
            answer = held
        self._judge(path, before, answer, tally)
        tally.looks += 1
        if tally.is_enough:
            yield tally.step()

    def _hashed(self, path: FilePath, tally: _Tally) -> Generator[ScanStep, None, Answer | None]:
        """Of a large file, in the background; what stands instead of a record, if anything does."""
        future = self._jobs.later(path)
        while not wait([future], WAIT_A_STEP_S).done:
            yield tally.step()
        if future.cancelled():
            raise StoreFailed("This server is stopping.")
        return future.result()

    def _judge(self, path: FilePath, before: Record | None, answer: Answer | None, tally: _Tally) -> None:
        """`answer` None: there is a copy, and the record says what it is."""
        after = self._index.get(path)
        finding = None
        match answer:
            case None if after is not None:
                finding = self._oddities.finding(path, before, after)
                if before is None:
                    tally.found.append(path)
                if after != before and after.stat is not None:
                    tally.hashed_bytes += after.stat.size
            case Damaged() if after is not None and after.damaged is not None:
                finding = self._oddities.finding(path, before, after)
            case Damaged(reason) | Unreachable(reason):
                self._require_index()
                finding = self._unreadable(path, after, reason)
            case Absent(obstacle) if after is not None:
                finding = self._lost(path, after, obstacle)
            case Deleted() if after is not None:
                finding = self._lost(path, after, None)
            case _:
                pass
        if finding is not None:
            tally.findings.append(finding)

    def _lost(self, path: FilePath, record: Record, obstacle: str | None) -> Finding | None:
        """There is no file where the index has one, or had one when it was lost."""
        if record.stat is None and record.digest is None:
            return None  # there was none
        if record.stat is not None:
            self._require_in_place()
            lost = replace(record, stat=None, digest=None if record.deleted else record.digest, damaged=None)
            if not self._index.replace(path, record, lost, durable=False):
                return None  # somebody has just put something there
        if record.deleted:
            return None  # what was put back after the deletion is gone again
        detail = f"there is {obstacle} in its place" if obstacle is not None else ""
        return Finding(path, Oddity.MISSING, self._shop.now_ns(), None, record.digest, detail)

    def _looked_again(self, prefix: Prefix, closed: Collection[str], tally: _Tally) -> Iterator[ScanStep]:
        """What could not be read in an earlier scan, and can be by now, is odd no more."""
        if prefix and prefix not in closed:
            self._index.standing.looked_good(prefix.removesuffix("/"))
        after, end = below(prefix, None)
        while found := self._index.ask(partial(findings, after=after, below=end, limit=PORTION_ROWS)):
            after = found[-1].path
            for path in {one.path for one in found if one.oddity is Oddity.UNREADABLE}:
                if f"{path}/" not in closed:
                    self._look_again(path)
            yield tally.step()

    def _look_again(self, path: FilePath) -> None:
        """A folder that the scan came through can be read, and nothing that is not there is unreadable."""
        held = self._examiner.look(path)
        if isinstance(held, Opened):
            can_be_read = _can_be_read(held.fd)
            os.close(held.fd)
        else:
            can_be_read = isinstance(held, Absent | Deleted)
        if can_be_read:
            self._index.standing.looked_good(path)

    def _unreadable(self, path: FilePath, record: Record | None, reason: str) -> Finding:
        recorded = record.digest if record is not None else None
        return Finding(path, Oddity.UNREADABLE, self._shop.now_ns(), None, recorded, reason)

    def _require_in_place(self) -> None:
        """Of a folder that is not in its place (unmounted, moved, removed) nothing is missing. Raises `StoreFailed`."""
        self._shop.health.look()
        self._shop.health.refuse_if_unfit()

    def _require_index(self) -> None:
        if self._index.failure is not None:
            raise StoreFailed(f"The index cannot be written: {self._index.failure}.")


def _portions(runs: Iterator[list[Sighted]]) -> Iterator[list[Sighted]]:
    """Those of many small folders together."""
    portion: list[Sighted] = []
    for run in runs:
        portion += run
        if len(portion) >= SIGHTED_FILES:
            yield portion
            portion = []
    if portion:
        yield portion


def _is_below(path: str, folders: Collection[str]) -> bool:
    return any(path[: at + 1] in folders for at, character in enumerate(path) if character == "/")


def _can_be_read(fd: int) -> bool:
    try:
        os.pread(fd, 1, 0)
    except OSError:
        return False
    return True


def _path(sighted: Sighted) -> str:
    return sighted[0]


def _rows(db: apsw.Connection, low: str, high: str) -> list[Any]:
    return db.execute(_ROWS, (low, high)).fetchall()
