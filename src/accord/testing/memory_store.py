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

from accord.errors import ChangedWhileReading, DiskFull, StoreFailed
from accord.model.history import Event, Remembered
from accord.model.listing import PAGE_PATHS, Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.placement import current_contents
from accord.model.verdict import Absent, Answer, Checking
from accord.model.versions import OutsideChanges
from accord.store.port import MAX_KEPT_BASES, Change, Committed, Copy, Debts, Indexing, is_answer
from accord.store.records import Judge, Sharing
from accord.testing.memory_bytes import MemoryBase, MemoryCopy, MemoryIncoming, digest_of
from accord.testing.memory_changes import MemoryChanges
from accord.testing.memory_looks import closed
from accord.testing.memory_scan import MemoryScan

_DAY_NS = 24 * 3600 * 1_000_000_000


class MemoryStore(MemoryChanges, MemoryScan):
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
        self.open_copies = 0
        self.open_stagings = 0
        self.keep_versions, self.keep_ns = keep_versions, keep_ns
        self._judge = Judge(server, lambda: self.incarnation, outside_changes, lambda: self.floor)
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
        return held if held is None or is_answer(held) else closed(held)

    def is_likely_new(self, path: FilePath) -> bool:
        return self.cold or path not in self.records

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
        return held if is_answer(held) else closed(held)

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

    # Changing.

    def locked(self, *paths: FilePath) -> AbstractAsyncContextManager[None]:
        return self._locked(paths)

    @asynccontextmanager
    async def _locked(self, paths: Sequence[FilePath]) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for path in sorted(set(paths)):
                await stack.enter_async_context(self._locks.setdefault(path, asyncio.Lock()))
            yield

    async def receive(self, size: int | None, *, is_read_soon: bool = True) -> MemoryIncoming:
        self._require_sound()
        if self.capacity_bytes is not None and (size or 0) > self.capacity_bytes:
            raise DiskFull("There is no space left.")
        return MemoryIncoming(self)

    async def duplicate(self, path: FilePath | None, digest: Digest) -> MemoryIncoming | None:
        for one in (path,) if path is not None else sorted({*self.files, *self.kept}):
            record, file = self.records.get(one), self.files.get(one)
            is_there = file is not None and record is not None and record.digest == digest
            kept = self.kept.get(one, {})
            if digest in kept and digest_of(kept[digest].content) != digest:
                self.quarantine.append(kept.pop(digest).content)
            for candidate in (file if is_there else None, kept.get(digest)):
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

    async def bases(self, path: FilePath) -> list[MemoryBase]:
        there, kept = self.files.get(path), self.kept.get(path, {})
        digests = dict.fromkeys(one.event.version.digest for one in await self.history(path))
        newest = [kept[digest] for digest in digests if digest in kept][:MAX_KEPT_BASES]
        return [MemoryBase(self, path, file) for file in (there, *newest) if file is not None]

    async def history(self, path: FilePath) -> list[Remembered]:
        there = self._good(path)
        have = {*self.kept.get(path, {}), *(() if there is None else (there,))}
        return self._history.told(path, self._clock(path), have)

    async def learn(self, path: FilePath, events: Sequence[Event]) -> None:
        self._history.learn(path, events)

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
        return held if is_answer(held) else closed(held)

    def indexing(self) -> Indexing:
        hashed = [file.stat.size for path, file in self.files.items() if path in self.records]
        return Indexing(len(hashed) == len(self.files), len(hashed), sum(hashed), len(self.files))

    def degraded(self) -> str | None:
        return self.broken

    def takes_in(self) -> bool:
        return self.broken is None

    async def close(self) -> None:
        return


if TYPE_CHECKING:
    from accord.store.port import Store

    def _keeps_the_contract(store: MemoryStore) -> Store:
        return store
