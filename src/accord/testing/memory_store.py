"""A store in memory, for tests of what stands above a store. Keeps the contract of `store.port`, with nothing behind it.

Its methods in the second half are the test's hands on the disk: changes behind Accord's back, rot, obstacles, slow hashing. What
those mean is left to the same rules (`store.records`) that the real store follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blake3 import blake3

from accord.errors import ChangedWhileReading, DiskFull, IntegrityError, StoreFailed
from accord.model.listing import PAGE_PATHS, Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Absent, Answer, Checking, Damaged, Deleted, Present
from accord.model.versions import EMPTY_CLOCK, Clock, OutsideChanges, Version, merge
from accord.store.port import BLOCK_BYTES, Copy, Indexing, is_answer
from accord.store.records import RACY_WINDOW_NS, Judge, Record, Seen, Sharing, Stat, nothing_there

_START_NS = 1_700_000_000_000_000_000


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).digest())


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    stat: Stat
    executable: bool = False


class MemoryCopy:
    """See `port.Copy`. Like an open file, it sees content written in place, and keeps content that was replaced."""

    def __init__(self, store: MemoryStore, path: FilePath, answer: Present, file: _File) -> None:
        self.path = path
        self.answer = answer
        self._store = store
        self._file = file
        self.is_closed = False

    def _now(self) -> _File:
        current = self._store.files.get(self.path)
        return current if current is not None and current.stat.inode == self._file.stat.inode else self._file

    def read_now(self, offset: int, length: int) -> bytes | None:
        if self._store.cold:
            return None
        return self._now().content[offset : offset + length]

    async def read(self, offset: int, length: int) -> bytes:
        await asyncio.sleep(0)
        return self._now().content[offset : offset + length]

    def unchanged(self) -> bool:
        return self._now().stat == self._file.stat

    async def block_digests(self) -> tuple[Digest, ...]:
        content = self._now().content
        if digest_of(content) != self.answer.digest:
            raise IntegrityError("The copy no longer matches its digest.", path=self.path)
        return tuple(digest_of(content[at : at + BLOCK_BYTES]) for at in range(0, len(content), BLOCK_BYTES))

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._store.open_copies -= 1


class MemoryStaging:
    """See `port.Staging`."""

    def __init__(self, store: MemoryStore, path: FilePath, version: Version, clock: Clock) -> None:
        self._store, self._path, self._version, self._clock = store, path, version, clock
        self._seen, self._record = store.files.get(path), store.records.get(path)
        self._is_shared = self._record is not None and self._record.shared
        self._content = bytearray()
        self._ended = False

    async def write(self, block: bytes) -> None:
        if self._ended:
            raise StoreFailed("This staging has already ended.", path=self._path)
        if self._store.capacity_bytes is not None and len(self._content) + len(block) > self._store.capacity_bytes:
            raise DiskFull("There is no space left.")
        if len(self._content) + len(block) > self._version.size:
            raise IntegrityError("More bytes came than the version has.", path=self._path)
        self._content += block

    async def commit(self) -> Present | None:
        if self._ended:
            raise StoreFailed("This staging has already ended.", path=self._path)
        await self.abort()
        content = bytes(self._content)
        if digest_of(content) != self._version.digest:
            raise IntegrityError("The bytes that came are not those of the version.", path=self._path)
        store, path = self._store, self._path
        if store.files.get(path) != self._seen or store.records.get(path) != self._record:
            return None
        if self._seen is not None:
            store.quarantine.append(self._seen.content)
        file = store.new_file(content, self._version.modified_ns, executable=self._version.executable)
        known = self._record.clock if self._record is not None else EMPTY_CLOCK
        store.files[path] = file
        store.records[path] = replace(store.recorded(file, merge(known, self._clock)), shared=self._is_shared)
        return store.records[path].present()

    async def abort(self) -> None:
        if not self._ended:
            self._ended = True
            self._store.open_stagings -= 1


class MemoryStore:
    """See `port.Store`. `files` and `records` may be looked at by tests; `open_copies` and `open_stagings` must come back to 0."""

    def __init__(
        self,
        server: ServerName,
        files: Mapping[str, bytes] | None = None,
        *,
        outside_changes: OutsideChanges = OutsideChanges.DISPUTE,
    ) -> None:
        self.files: dict[FilePath, _File] = {}
        self.records: dict[FilePath, Record] = {}
        self.quarantine: list[bytes] = []
        self.open_copies = 0
        self.open_stagings = 0
        self.cold = False
        """Nothing is in the caches: `glance` and `read_now` cannot say."""
        self.capacity_bytes: int | None = None
        self.broken: str | None = None
        self._judge = Judge(server, lambda: "memory", outside_changes)
        self._answers: dict[FilePath, Answer] = {}
        self._hashing_held: set[FilePath] = set()
        self._released = asyncio.Event()
        self._ticks = 0
        for path, content in (files or {}).items():
            self.put_outside(path, content)

    def glance(self, path: FilePath) -> Copy | Absent | None:
        if self.cold or path in self._answers:
            return None
        file, record = self.files.get(path), self.records.get(path)
        if file is None:
            gone = nothing_there(record)
            return gone if isinstance(gone, Absent) else None
        if record is None or record.vouching() != file.stat:
            return None
        return self._copy(path, file, record)

    def glance_answer(self, path: FilePath) -> Answer | None:
        if path not in self.files and not self.cold and path not in self._answers:
            return nothing_there(self.records.get(path))
        held = self.glance(path)
        return held if held is None or is_answer(held) else _closed(held)

    async def open(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Copy | Answer:
        await asyncio.sleep(0)
        if path in self._answers:
            return self._answers[path]
        if path in self._hashing_held:
            try:
                await asyncio.wait_for(self._released.wait(), wait_s)
            except TimeoutError:
                file = self.files.get(path)
                return Checking(0, file.stat.size if file else 0)
        return self._look(path, reread=reread)

    async def examine(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Answer:
        held = await self.open(path, wait_s=wait_s, reread=reread)
        return held if is_answer(held) else _closed(held)

    async def find_damage(self, copy: Copy) -> Answer:
        return await self.examine(copy.path, wait_s=0, reread=True)

    async def share(self, copy: Copy) -> None:
        record = self.records.get(copy.path)
        match self._judge.sharing(copy.answer, record):
            case Sharing.TOO_LATE:
                raise ChangedWhileReading("The file was changed while it was read.", path=copy.path)
            case Sharing.MARK if record is not None:
                self.records[copy.path] = replace(record, shared=True)

    async def stage(self, path: FilePath, version: Version, clock: Clock, *, replacing: Answer) -> MemoryStaging:
        if not isinstance(replacing, Absent | Damaged):
            raise ValueError("only a missing or a damaged copy is replaced")
        if self.broken is not None:
            raise StoreFailed(f"This server no longer takes anything in: {self.broken}.")
        obstacle = self._answers.get(path, replacing)
        if isinstance(obstacle, Absent) and obstacle.obstacle is not None:
            raise StoreFailed(f"There is {obstacle.obstacle} at '{path}'.", path=path)
        self.open_stagings += 1
        staging = MemoryStaging(self, path, version, clock)
        if isinstance(replacing, Absent):
            staging._seen = None
        return staging

    def walk(self, prefix: Prefix, after: FilePath | None) -> Iterator[list[Walked]]:
        page: list[Walked] = []
        for path in sorted({*self.files, *self.records}):
            if not path.startswith(prefix) or (after is not None and path <= after):
                continue
            answer = self._listed(path)
            if isinstance(answer, Absent):
                continue
            page.append(Walked(path, answer))
            if len(page) == PAGE_PATHS:
                yield page
                page = []
        if page:
            yield page

    def indexing(self) -> Indexing:
        hashed = [file.stat.size for path, file in self.files.items() if path in self.records]
        return Indexing(len(hashed) == len(self.files), len(hashed), sum(hashed), len(self.files))

    def degraded(self) -> str | None:
        return self.broken

    def takes_in(self) -> bool:
        return self.broken is None

    async def close(self) -> None:
        return

    # The test's hands on the disk.

    def put_outside(self, path: str, content: bytes, *, modified_ns: int | None = None, in_place: bool = False) -> None:
        """Write behind Accord's back: as a new file, or into the one that is there."""
        before = self.files.get(FilePath(path))
        file = self.new_file(content, modified_ns)
        if in_place and before is not None:
            file = _File(content, file.stat._replace(inode=before.stat.inode))
        self.files[FilePath(path)] = file

    def remove_outside(self, path: str) -> None:
        del self.files[FilePath(path)]

    def rot(self, path: str) -> None:
        """Another bit, under the same stat data."""
        file = self.files[FilePath(path)]
        flipped = bytes([file.content[0] ^ 1]) + file.content[1:]
        self.files[FilePath(path)] = _File(flipped, file.stat, file.executable)

    def answer_always(self, path: str, answer: Answer | None) -> None:
        """An obstacle, a file that cannot be read; None takes it away."""
        if answer is None:
            self._answers.pop(FilePath(path), None)
        else:
            self._answers[FilePath(path)] = answer

    def hold_hashing(self, path: str) -> None:
        """The path's content counts as still being hashed until `release_hashing`."""
        self.records.pop(FilePath(path), None)
        self._hashing_held.add(FilePath(path))
        self._released.clear()

    def release_hashing(self) -> None:
        self._hashing_held.clear()
        self._released.set()

    def put_tombstone(self, path: str, clock: Clock) -> None:
        self.files.pop(FilePath(path), None)
        self.records[FilePath(path)] = Record(clock, deleted=True)

    def new_file(self, content: bytes, modified_ns: int | None = None, *, executable: bool = False) -> _File:
        self._ticks += 1
        now_ns = _START_NS + self._ticks * RACY_WINDOW_NS
        mtime_ns = now_ns if modified_ns is None else modified_ns
        return _File(content, Stat(len(content), mtime_ns, now_ns, self._ticks, 1), executable)

    def recorded(self, file: _File, clock: Clock) -> Record:
        return Record(clock, file.stat, digest_of(file.content), self._hashing_time(file), file.executable)

    def _hashing_time(self, file: _File) -> int:
        return file.stat.ctime_ns + 2 * RACY_WINDOW_NS

    def _look(self, path: FilePath, *, reread: bool = False) -> Copy | Answer:
        file, before = self.files.get(path), self.records.get(path)
        if file is None:
            return nothing_there(before)
        if before is not None and not reread:
            damage = before.known_damage(file.stat)
            if damage is not None:
                return damage
            if before.vouching() == file.stat:
                return self._copy(path, file, before)
        seen = Seen(file.stat, digest_of(file.content), file.executable, self._hashing_time(file))
        after = self.records[path] = self._judge.record(before, seen)
        return after.known_damage(file.stat) or self._copy(path, file, after)

    def _listed(self, path: FilePath) -> Answer:
        file, record = self.files.get(path), self.records.get(path)
        if path in self._answers:
            return self._answers[path]
        if file is None:
            return Deleted(record.clock) if record is not None and record.deleted else Absent()
        if path in self._hashing_held:
            return Checking(0, file.stat.size)
        held = self._look(path)
        return held if is_answer(held) else _closed(held)

    def _copy(self, path: FilePath, file: _File, record: Record) -> MemoryCopy:
        self.open_copies += 1
        return MemoryCopy(self, path, record.present(), file)


def _closed(copy: Copy) -> Present:
    copy.close()
    return copy.answer


if TYPE_CHECKING:
    from accord.store.port import Staging, Store

    def _keeps_the_contract(store: MemoryStore, staging: MemoryStaging) -> tuple[Store, Staging]:
        return store, staging
