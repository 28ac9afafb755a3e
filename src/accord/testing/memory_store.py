"""A store in memory, for tests of what stands above a store. Keeps the contract of `store.port`, with nothing behind it.

What content on the disk means is left to the rules of the real store (`store.records`), what goes where to `model.placement`; the
test's hands on the disk are in `memory_hands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from accord.errors import ChangedWhileReading, Conflict, DiskFull, StoreFailed
from accord.model.history import Event, Remembered
from accord.model.listing import PAGE_PATHS, Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.placement import Placement, current_contents, others, place
from accord.model.verdict import EMPTY_FOLDER, Absent, Answer, Checking, Damaged, Deleted, Present, is_known
from accord.model.versions import EMPTY_CLOCK, Actor, Clock, OutsideChanges, Version, merge, server_actor
from accord.store.port import Change, Committed, Copy, Debts, Indexing, is_answer
from accord.store.records import Judge, Record, Seen, Sharing
from accord.testing.memory_bytes import MemoryCopy, MemoryFile, MemoryIncoming, digest_of
from accord.testing.memory_debts import MemoryDebts
from accord.testing.memory_hands import MemoryHands
from accord.testing.memory_history import MemoryHistory

_DAY_NS = 24 * 3600 * 1_000_000_000


class MemoryStore(MemoryHands):
    """See `port.Store`. `files` (at the paths), `records` and `kept` (the bytes of rivals and of history) may be looked at by tests;
    `open_copies` and `open_stagings` (incoming bytes that are neither used nor dropped) must come back to 0."""

    def __init__(
        self,
        server: ServerName,
        files: Mapping[str, bytes] | None = None,
        *,
        outside_changes: OutsideChanges = OutsideChanges.DISPUTE,
        keep_versions: int = 10,
        keep_ns: int = 30 * _DAY_NS,
    ) -> None:
        super().__init__()
        self.kept: dict[FilePath, dict[Digest, MemoryFile]] = {}
        self.open_copies = 0
        self.open_stagings = 0
        self.keep_versions, self.keep_ns = keep_versions, keep_ns
        self._history = MemoryHistory()
        self._judge = Judge(server, lambda: f"memory{self._lives}", outside_changes)
        self._debts = MemoryDebts()
        self._locks: dict[FilePath, asyncio.Lock] = {}
        for path, content in (files or {}).items():
            self.put_outside(path, content)

    # Looking.

    def glance(self, path: FilePath) -> Copy | Absent | None:
        if self.cold or path in self._answers:
            return None
        file, record = self.files.get(path), self.records.get(path)
        if file is None:
            gone = self._nothing(path)
            return gone if isinstance(gone, Absent) else None
        if record is None or record.vouching() != file.stat:
            return None
        return self._copy(path, file, record)

    def glance_answer(self, path: FilePath) -> Answer | None:
        if path not in self.files and not self.cold and path not in self._answers:
            return self._nothing(path)
        held = self.glance(path)
        return held if held is None or is_answer(held) else _closed(held)

    async def open(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Copy | Answer:
        await asyncio.sleep(0)
        if path in self._answers:
            return self._forced(path)
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
        kept = self.kept.get(copy.path, {}).get(copy.answer.digest)
        if kept is not None and digest_of(kept.content) != copy.answer.digest:
            self.quarantine.append(self.kept[copy.path].pop(copy.answer.digest).content)
        return await self.examine(copy.path, wait_s=0, reread=True)

    async def share(self, copy: Copy) -> None:
        record = self.records.get(copy.path)
        match self._judge.sharing(copy.answer, record):
            case Sharing.TOO_LATE:
                raise ChangedWhileReading("The file was changed while it was read.", path=copy.path)
            case Sharing.MARK if record is not None:
                self.records[copy.path] = replace(record, shared=True)

    def _look(self, path: FilePath, *, reread: bool = False) -> Copy | Answer:
        file, before = self.files.get(path), self.records.get(path)
        if file is None:
            return self._nothing(path)
        if before is not None and not reread:
            if before.damaged is not None and before.stat == file.stat:
                return self._damaged(path, before)
            if before.vouching() == file.stat:
                return self._copy(path, file, before)
        seen = Seen(file.stat, digest_of(file.content), file.executable, self._hashing_time(file))
        is_past = before is not None and seen.digest in self._history.superseded(path, before.clock)
        after = self.records[path] = self._judge.record(before, seen, is_past=is_past)
        if before is not None:
            self._remember(path, before.clock, after.clock)
        return self._damaged(path, after) if after.damaged is not None else self._copy(path, file, after)

    def _clock(self, path: FilePath) -> Clock:
        record = self.records.get(path)
        return EMPTY_CLOCK if record is None else record.clock

    def _others(self, path: FilePath, clock: Clock, there: Digest | None) -> tuple[Digest | None, ...]:
        return others(clock, self.kept.get(path, {}), there=there)

    def _nothing(self, path: FilePath) -> Absent | Deleted:
        clock = self._clock(path)
        obstacle = self.obstacle(path)
        if obstacle is None and clock.current() and not current_contents(clock):
            return Deleted(clock)
        return Absent(obstacle, clock, self._others(path, clock, None))

    def _forced(self, path: FilePath) -> Answer:
        answer = self._answers[path]
        if isinstance(answer, Absent) and answer.clock == EMPTY_CLOCK:
            return Absent(answer.obstacle, self._clock(path), self._others(path, self._clock(path), None))
        return answer

    def _damaged(self, path: FilePath, record: Record) -> Damaged:
        return Damaged(record.damaged or "", record.digest, record.clock, self._others(path, record.clock, None))

    def _copy(self, path: FilePath, file: MemoryFile, record: Record) -> MemoryCopy:
        assert record.digest is not None
        return MemoryCopy(self, path, self._present(path, file, record.digest), file)

    def _present(self, path: FilePath, file: MemoryFile, digest: Digest) -> Present:
        clock, stat = self._clock(path), file.stat
        there = self.records[path].digest if path in self.files else None
        aside = self._others(path, clock, there)
        return Present(digest, stat.size, stat.mtime_ns, clock, file.executable, aside)

    # Changing.

    @property
    def actor(self) -> Actor:
        return server_actor(*self._judge.life)

    def locked(self, *paths: FilePath) -> AbstractAsyncContextManager[None]:
        return self._locked(paths)

    @asynccontextmanager
    async def _locked(self, paths: Sequence[FilePath]) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for path in sorted(set(paths)):
                await stack.enter_async_context(self._locks.setdefault(path, asyncio.Lock()))
            yield

    async def receive(self, size: int | None) -> MemoryIncoming:
        self._require_sound()
        if self.capacity_bytes is not None and (size or 0) > self.capacity_bytes:
            raise DiskFull("There is no space left.")
        return MemoryIncoming(self)

    async def duplicate(self, path: FilePath | None, digest: Digest) -> MemoryIncoming | None:
        for one in (path,) if path is not None else sorted({*self.files, *self.kept}):
            record, file = self.records.get(one), self.files.get(one)
            is_there = file is not None and record is not None and record.digest == digest
            for candidate in (file if is_there else None, self.kept.get(one, {}).get(digest)):
                if candidate is not None and digest_of(candidate.content) == digest:
                    incoming = await self.receive(candidate.stat.size)
                    await incoming.write(candidate.content)
                    await incoming.finish()
                    return incoming
        return None

    async def commit(self, changes: Sequence[Change]) -> list[Committed] | None:
        await asyncio.sleep(0)
        self._require_sound()
        contents = [
            {one.digest: one.content for one in change.incoming if isinstance(one, MemoryIncoming)}
            for change in changes
        ]
        placements = [self._plan(change, content) for change, content in zip(changes, contents, strict=True)]
        if any(placement is None for placement in placements):
            return None
        made = [
            self._make(change, placement, content)
            for change, placement, content in zip(changes, placements, contents, strict=True)
            if placement is not None
        ]
        if self.fails_after_promise:
            raise StoreFailed("Putting it into its place failed.")
        return made

    def _plan(self, change: Change, contents: Mapping[Digest, bytes]) -> Placement | None:
        """Where everything goes, or None where somebody was faster. Raises `Conflict`."""
        path = change.path
        forced = self._forced(path) if path in self._answers else None
        if forced is None:
            file, record = self.files.get(path), self.records.get(path)
            if path in self._hashing_held or (file is not None and (record is None or record.stat != file.stat)):
                return None
            told = self._clock(path)
        else:
            told = forced.clock if is_known(forced) else EMPTY_CLOCK
        if told != change.before:
            return None
        held = {*self.kept.get(path, {}), *contents}
        there = self._good(path)
        clock = merge(merge(told, self._clock(path)), change.clock)
        placement = place(clock, there, held, damaged=self._damaged_there(path))
        obstacle = forced.obstacle if isinstance(forced, Absent) else self.obstacle(path)
        if placement.at_path not in (None, there) and obstacle not in (None, EMPTY_FOLDER):
            raise Conflict(f"There is {obstacle} at '{path}'.", path=path)
        return placement

    def _good(self, path: FilePath) -> Digest | None:
        """The digest of a good copy at the path."""
        record = self.records.get(path)
        is_good = path in self.files and record is not None and record.damaged is None and path not in self._answers
        return record.digest if is_good and record is not None else None

    def _damaged_there(self, path: FilePath) -> Digest | None:
        record, forced = self.records.get(path), self._answers.get(path)
        if isinstance(forced, Damaged):
            return forced.digest
        return record.digest if path in self.files and record is not None and record.damaged is not None else None

    def _make(self, change: Change, placement: Placement, contents: Mapping[Digest, bytes]) -> Committed:
        path, there, before = change.path, self._good(change.path), self._clock(change.path)
        clock = merge(merge(change.before, before), change.clock)
        self._rearrange(path, placement, before, clock, contents)
        for one in change.incoming:
            if isinstance(one, MemoryIncoming):
                one.end()
        self._history.learn(path, change.events)
        self._remember(path, before, clock)
        if placement.retires:
            self._history.retire(path, there, self.now_ns())
        held = self._look(path)
        now = held if is_answer(held) else _closed(held)
        assert is_known(now)
        return Committed(now, self._debts.owe(path, change.owed))

    def _rearrange(
        self, path: FilePath, placement: Placement, before: Clock, clock: Clock, contents: Mapping[Digest, bytes]
    ) -> None:
        there, was_shared = self._good(path), path in self.records and self.records[path].shared
        kept, versions = self.kept.setdefault(path, {}), current_contents(clock)
        for digest in placement.aside - kept.keys():
            kept[digest] = self._dressed(contents[digest], versions[digest])
        if placement.at_path != there:
            gone = self.files.pop(path, None)
            if gone is not None and there is not None:
                kept[there] = gone
            elif gone is not None:
                self.quarantine.append(gone.content)
            if placement.at_path is not None:
                self._put(path, placement.at_path, versions[placement.at_path], contents)
        elif there is None and not versions and path in self.files:
            self.quarantine.append(self.files.pop(path).content)  # deleted, damaged as it was
        elif there in versions and versions[there] not in current_contents(before).values():
            self._put(path, there, versions[there], {there: self.files[path].content})
        forced = self._answers.get(path)
        if not isinstance(forced, Absent) or forced.obstacle == EMPTY_FOLDER:
            self._answers.pop(path, None)
        file, record = self.files.get(path), self.records.get(path)
        if file is not None and record is not None and record.stat == file.stat:
            self.records[path] = replace(record, clock=clock)  # the file stays, damaged as it may be
        else:
            self.records[path] = replace(self.recorded(file, clock) if file else Record(clock), shared=was_shared)

    def _put(self, path: FilePath, digest: Digest, version: Version, contents: Mapping[Digest, bytes]) -> None:
        """At the path; what was kept apart is moved there."""
        moved = self.kept[path].pop(digest, None)
        content = moved.content if moved is not None and digest not in contents else contents[digest]
        self.files[path] = self._dressed(content, version)

    def _dressed(self, content: bytes, version: Version) -> MemoryFile:
        return self.new_file(content, version.modified_ns, executable=version.executable)

    def _require_sound(self) -> None:
        if self.broken is not None:
            raise StoreFailed(f"This server no longer takes anything in: {self.broken}.")

    # Remembering.

    async def open_version(self, path: FilePath, digest: Digest) -> Copy | None:
        await asyncio.sleep(0)
        held = self._look(path) if path not in self._answers and path not in self._hashing_held else None
        if isinstance(held, MemoryCopy):
            if held.answer.digest == digest:
                return held
            held.close()
        file = self.kept.get(path, {}).get(digest)
        return None if file is None else MemoryCopy(self, path, self._present(path, file, digest), file)

    async def history(self, path: FilePath) -> list[Remembered]:
        there = self._good(path)
        have = {*self.kept.get(path, {}), *(() if there is None else (there,))}
        return self._history.told(path, self._clock(path), have)

    async def learn(self, path: FilePath, events: Sequence[Event]) -> None:
        self._history.learn(path, events)

    def _remember(self, path: FilePath, before: Clock, after: Clock) -> None:
        self._history.remember(path, before, after, now_ns=self.now_ns(), outside=f"{self.actor}/outside/")

    async def expire(self) -> int:
        count = 0
        for path, kept in self.kept.items():
            current = current_contents(self._clock(path))
            gone = self._history.outlived(
                path,
                kept.keys() - current.keys(),
                now_ns=self.now_ns(),
                keep_versions=self.keep_versions,
                keep_ns=self.keep_ns,
            )
            for digest in gone:
                del kept[digest]
            count += len(gone)
        return count

    def debts(self) -> Mapping[ServerName, Debts]:
        return self._debts.standing()

    async def owed(self, server: ServerName, limit: int, *, after: int = 0) -> list[tuple[FilePath, int]]:
        return self._debts.oldest(server, limit, after)

    def settle_debts(self, server: ServerName, settled: Sequence[tuple[FilePath, int]]) -> None:
        self._debts.settle(server, settled)

    # Listing.

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

    def _listed(self, path: FilePath) -> Answer:
        file = self.files.get(path)
        if path in self._answers:
            return self._forced(path)
        if file is None:
            return self._nothing(path)
        if path in self._hashing_held:
            return Checking(0, file.stat.size)
        held = self._look(path)
        return held if is_answer(held) else _closed(held)

    def indexing(self) -> Indexing:
        hashed = [file.stat.size for path, file in self.files.items() if path in self.records]
        return Indexing(len(hashed) == len(self.files), len(hashed), sum(hashed), len(self.files))

    def degraded(self) -> str | None:
        return self.broken

    def takes_in(self) -> bool:
        return self.broken is None

    async def close(self) -> None:
        return

    def lose_index(self) -> None:
        """As if it were deleted, and another one begun: what was kept apart cannot be told from rubbish any more."""
        self._lives += 1
        self.records, self.kept, self._history, self._debts = {}, {}, MemoryHistory(), MemoryDebts()


def _closed(copy: Copy) -> Present:
    copy.close()
    return copy.answer


if TYPE_CHECKING:
    from accord.store.port import Store

    def _keeps_the_contract(store: MemoryStore) -> Store:
        return store
