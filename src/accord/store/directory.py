"""The store that is a directory: the adapter of `port.Store` over the modules beside it.

What is answered on the event loop without waiting is `directory_glances`'; everything that may wait for the disk goes to threads and is
done by `examining`, `path_jobs`, `incoming`, `committing`, `remembering`, `listing` and `indexing`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from accord.background import begun, ended
from accord.errors import ChangedWhileReading, StoreFailed
from accord.model.history import Event, Remembered
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Answer, Checking, Unreachable
from accord.model.versions import Actor, OutsideChanges, server_actor
from accord.store.commit_queue import CommitQueue
from accord.store.committing import Committer
from accord.store.content_lists import ContentLists
from accord.store.copies import DirectoryCopy, FileBase
from accord.store.directory_glances import DirectoryGlances
from accord.store.directory_inventory import DirectoryInventory
from accord.store.examining import TRIES, Opened, TooLarge
from accord.store.incoming import FileIncoming, refuse_what_cannot_fit
from accord.store.index_connection import BATCH_S
from accord.store.inventory import ScanStep, Scope, ScrubStep, Space
from accord.store.listing import pages
from accord.store.parts import Parts, assemble
from accord.store.path_locks import PathLocks
from accord.store.port import Change, Committed, Copy, Debts, Indexing, is_answer
from accord.store.records import Sharing
from accord.store.remembering import Memory, OpenedKept
from accord.store.workshop import no_step

LOOKING_THREADS = 16

T = TypeVar("T")

_log = structlog.get_logger("accord.store")


class DirectoryStore(DirectoryInventory, DirectoryGlances):
    """See `port.Store`. Made by `open_directory_store`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._beneath = parts.beneath
        self._index = parts.index
        self._examiner = parts.examiner
        self._under_way = parts.under_way
        self._jobs = parts.jobs
        self._judge = parts.judge
        self._now_ns = parts.shop.now_ns
        self._fifos: dict[FilePath, int] = {}
        self._threads = ThreadPoolExecutor(LOOKING_THREADS, thread_name_prefix="accord-store")
        self._locks = PathLocks()
        self._lists = ContentLists(parts.index, parts.pool, parts.examiner.closing)
        self._memory = Memory(parts.shop, parts.kept, self._in_thread)
        self._committer = Committer(
            parts.shop, parts.kept, parts.unfinished, parts.examiner, self._in_thread, parts.under_way
        )
        self._commits = CommitQueue(self._committer.commit_all)
        self._flushing = begun(self._keep_flushing(), name="flushing")
        self._closed = False
        parts.indexing.start()

    async def open(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Copy | Answer:
        return await self._open(path, wait_s, reread)

    async def _open(self, path: FilePath, wait_s: float | None, reread: bool) -> Copy | Answer:
        """`wait_s` None waits as long as it takes."""
        deadline_s = None if wait_s is None else time.monotonic() + wait_s
        for _ in range(TRIES):
            held = await self._opened(partial(self._examiner.look, path, reread=reread))
            if isinstance(held, Opened):
                return self._copy(path, held)
            if not isinstance(held, TooLarge):
                return held
            hashing = self._jobs.hash(path, urgent=True, reread=reread, size=held.size)
            future = asyncio.wrap_future(hashing.job.future)
            timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            done, _ = await asyncio.wait((future,), timeout=timeout_s)
            if not done:
                return hashing.checking()
            if future.cancelled():
                return Unreachable("this server is stopping")
            answer = future.result()
            if answer is not None:
                return answer
            reread = False  # it has just been read
        return Checking(0, 0)

    async def examine(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Answer:
        return _answer_of(await self._open(path, wait_s, reread))

    async def find_damage(self, copy: Copy) -> Answer:
        is_kept = isinstance(copy, DirectoryCopy) and copy.is_kept
        if isinstance(copy, DirectoryCopy) and is_kept:
            await self._in_thread(partial(self._memory.condemn, copy))
        answer = _answer_of(await self._open(copy.path, None, not is_kept))  # the file at the path is then not in doubt
        _log.warning("a copy did not match its digest", path=copy.path, found=type(answer).__name__)
        return answer

    @property
    def actor(self) -> Actor:
        return server_actor(*self._judge.life)

    @property
    def floor(self) -> int:
        return self._index.floor

    def locked(self, *paths: FilePath) -> AbstractAsyncContextManager[None]:
        return self._locks.of(paths)

    async def receive(self, size: int | None, *, is_read_soon: bool = True) -> FileIncoming:
        refuse_what_cannot_fit(self._parts.shop, size)
        return FileIncoming(self._parts.shop, self._in_thread, is_read_soon=is_read_soon)

    async def duplicate(self, path: FilePath | None, digest: Digest) -> FileIncoming | None:
        return await self._opened(lambda: self._memory.duplicate(path, digest))

    async def commit(self, changes: Sequence[Change]) -> list[Committed] | None:
        return await self._commits.commit(changes)

    async def open_version(self, path: FilePath, digest: Digest) -> Copy | None:
        held = await self._opened(lambda: self._examiner.look(path))
        if isinstance(held, Opened):
            if held.record.digest == digest:
                return self._copy(path, held)
            os.close(held.fd)
        kept = await self._opened(lambda: self._memory.open_kept(path, digest))
        if kept is None:
            return None
        return DirectoryCopy(path, kept.answer, kept.fd, kept.stat, self._lists, is_kept=True)

    async def bases(self, path: FilePath) -> list[FileBase]:
        return await self._in_thread(lambda: self._memory.open_bases(path, self._lists))

    async def history(self, path: FilePath) -> list[Remembered]:
        return await self._in_thread(lambda: self._memory.history(path))

    async def learn(self, path: FilePath, events: Sequence[Event]) -> None:
        await self._in_thread(lambda: self._memory.learn(path, events))

    async def expire(self) -> int:
        return await self._in_thread(self._parts.retention.expire)

    def debts(self) -> Mapping[ServerName, Debts]:
        return self._index.debts.standing()

    async def owed(self, server: ServerName, limit: int, *, after: int = 0) -> list[tuple[FilePath, int]]:
        return self._index.debts.oldest(server, limit, after)

    def settle_debts(self, server: ServerName, settled: Sequence[tuple[FilePath, int]]) -> None:
        self._index.debts.settle(server, settled)

    async def share(self, copy: Copy) -> None:
        known = self._index.known(copy.path)
        if self._judge.sharing(copy.answer, known.record if known else None) is not Sharing.HARMLESS:
            await self._in_thread(partial(self._mark_shared, copy))

    def _mark_shared(self, copy: Copy) -> None:
        for _ in range(TRIES):
            record = self._index.get(copy.path)
            sharing = self._judge.sharing(copy.answer, record)
            if sharing is Sharing.HARMLESS:
                return
            if sharing is Sharing.TOO_LATE or record is None:
                break
            if self._index.replace(copy.path, record, replace(record, shared=True), durable=True):
                return
        raise ChangedWhileReading("The file was changed while it was read.", path=copy.path)

    def walk(self, prefix: Prefix, after: FilePath | None) -> Iterator[list[Walked]]:
        return pages(self._beneath, self._index, prefix, after, self._jobs.unvouched)

    def rescan(self, scope: Scope) -> Iterator[ScanStep]:
        return self._parts.scanning.steps(scope)

    def scrub(self, scope: Scope, after: FilePath | None) -> Iterator[ScrubStep]:
        return self._parts.scrubbing.steps(scope, after)

    def indexing(self) -> Indexing:
        return self._parts.indexing.progress()

    def degraded(self) -> str | None:
        return self._parts.shop.health.degraded()

    async def space(self) -> Space:
        return await self._in_thread(self._parts.shop.health.space)

    def takes_in(self) -> bool:
        return self._parts.shop.health.refusal() is None

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await ended(self._flushing)
        self._examiner.closing.set()
        await self._commits.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._parts.pool.stop_taking()
        self._parts.indexing.stop()
        self._parts.pool.close()
        self._threads.shutdown(wait=True)
        self._parts.shop.disk.shutdown(wait=True)
        try:
            with suppress(StoreFailed):
                self._parts.unfinished.strike_out()
            self._index.close()
        finally:
            for fd in self._fifos.values():
                os.close(fd)
            self._parts.private.close()
            self._beneath.close()

    def _copy(self, path: FilePath, held: Opened) -> DirectoryCopy:
        assert held.record.stat is not None
        return DirectoryCopy(path, held.record.present(), held.fd, held.record.stat, self._lists)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _opened(self, work: Callable[[], T]) -> T:
        """As `_in_thread`, for what has to be closed by whoever waits for it: if nobody does any more, it is closed here."""
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            done.add_done_callback(_drop_late)
            raise

    async def _keep_flushing(self) -> None:
        """Batched records become durable within a bounded time, also when nothing more comes; and what is not in its place any
        more is noticed."""
        failing = None
        while True:
            await asyncio.sleep(BATCH_S)
            try:
                await self._in_thread(self._parts.shop.health.look)
                await self._in_thread(self._flush)
                failing = None
            except StoreFailed as error:
                if error.detail != failing:
                    failing = error.detail
                    _log.error("what was promised cannot be finished yet", reason=failing)

    def _flush(self) -> None:
        try:
            self._parts.unfinished.retry()
        finally:  # what cannot be finished holds up nothing else
            self._parts.unfinished.strike_out()
            self._index.flush(only_if_due=True)


def _drop_late(done: asyncio.Future[Any]) -> None:
    if done.cancelled() or done.exception() is not None:
        return
    match done.result():
        case (Opened() | OpenedKept()) as held:
            os.close(held.fd)
        case FileIncoming() as incoming:
            with suppress(OSError):  # then the next start removes it
                incoming.end()
        case _:
            ...


def _answer_of(held: Copy | Answer) -> Answer:
    if is_answer(held):
        return held
    held.close()
    return held.answer


async def open_directory_store(
    root: Path,
    server: ServerName,
    *,
    outside_changes: OutsideChanges,
    now_ns: Callable[[], int] = time.time_ns,
    fsync: Callable[[int], None] = os.fsync,
    component_walk: bool = False,
    keep_versions: int = 10,
    keep_days: int = 30,
    step: Callable[[str], None] = no_step,
) -> DirectoryStore:
    """The store in the folder `root`, which must exist; what is missing of the private folder is made.

    Raises `ConfigError` when another server uses it or a newer release wrote it, `StoreFailed` when it cannot be used. The first
    hashing goes on in the background. Of what is superseded, the newest `keep_versions` of a path are kept for `keep_days`, and damaged
    copies for as long after they were replaced. `now_ns`, `fsync`, `component_walk` (do without openat2) and `step` are for tests.
    """
    work = partial(
        assemble, root, server, outside_changes, now_ns, fsync, component_walk, keep_days, keep_versions, step
    )
    return DirectoryStore(await asyncio.to_thread(work))


if TYPE_CHECKING:
    from accord.store.port import Store

    def _keeps_the_contract(store: DirectoryStore) -> Store:
        return store
