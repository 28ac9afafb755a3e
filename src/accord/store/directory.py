"""The store that is a directory: the adapter of `port.Store` over the modules beside it.

What is decided on the event loop without waiting is here (`glance`); everything that may wait for the disk goes to threads and is done
by `examining`, `path_jobs`, `atomic`, `listing` and `indexing`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from stat import S_ISFIFO
from typing import TYPE_CHECKING, TypeVar

import structlog

from accord.errors import ChangedWhileReading, IntegrityError, StoreFailed
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Absent, Answer, Checking, Damaged, Deleted, Unreachable
from accord.model.versions import Clock, OutsideChanges, Version
from accord.store.atomic import StagedFile
from accord.store.copies import DirectoryCopy
from accord.store.examining import TRIES, Opened, TooLarge
from accord.store.hashing import hash_blocks
from accord.store.index import BATCH_S
from accord.store.index_rows import Known
from accord.store.listing import pages
from accord.store.parts import Parts, assemble
from accord.store.port import BLOCK_BYTES, Copy, Indexing, Staging, is_answer
from accord.store.records import ROT, Record, Sharing, Stat, same_stat
from accord.store.staging import DirectoryStaging
from accord.store.workshop import store_failure

LOOKING_THREADS = 16
CACHED_BLOCK_LISTS = 256
HELD_FIFOS = 64

T = TypeVar("T")

_log = structlog.get_logger("accord.store")


class DirectoryStore:
    """See `port.Store`. Made by `open_directory_store`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._beneath = parts.beneath
        self._index = parts.index
        self._examiner = parts.examiner
        self._jobs = parts.jobs
        self._judge = parts.judge
        self._fifos: dict[FilePath, int] = {}
        self._blocks: dict[Digest, tuple[Digest, ...]] = {}
        self._threads = ThreadPoolExecutor(LOOKING_THREADS, thread_name_prefix="accord-store")
        self._flushing = asyncio.create_task(self._keep_flushing())
        self._closed = False
        parts.indexing.start()

    def glance(self, path: FilePath) -> Copy | Absent | None:
        known = self._index.known(path)
        if known is None:
            return None
        vouching, present = known.vouching, known.present
        if vouching is None or present is None:
            return self._glance_gone(path, known.if_gone)
        fd = self._beneath.open_cached(path)
        if fd < 0:
            return known.if_gone if fd == -errno.ENOENT and isinstance(known.if_gone, Absent) else None
        status = os.fstat(fd)
        if not same_stat(vouching, status):
            self._let_go(path, known, fd, status.st_mode)
            return None
        return DirectoryCopy(path, present, fd, vouching, self._block_digests)

    def _let_go(self, path: FilePath, known: Known, fd: int, mode: int) -> None:
        """Something else has taken the place of the file. A FIFO was opened for reading by that, and may have a writer now, which
        closing would kill (SIGPIPE): it is kept open, what is written waiting for its true reader, and the path is not glanced at
        again. To look before opening would cost every read 2 to 3 us (a second look-up); what opening does to a device that
        replaced a known file stays as it is."""
        if not S_ISFIFO(mode):
            os.close(fd)
            return
        self._index.distrust(path, known)
        held = self._fifos.pop(path, None)
        self._fifos[path] = fd
        if held is not None:
            os.close(held)
        if len(self._fifos) > HELD_FIFOS:
            os.close(self._fifos.pop(next(iter(self._fifos))))

    def _glance_gone(self, path: FilePath, if_gone: Absent | Deleted) -> Absent | None:
        """Where nothing is known to vouch, only that nothing is there can be said; what is there may be a FIFO, whose writer must
        not take this look for a reader."""
        fd = self._beneath.probe_cached(path)
        if fd >= 0:
            os.close(fd)
        return if_gone if fd == -errno.ENOENT and isinstance(if_gone, Absent) else None

    def glance_answer(self, path: FilePath) -> Answer | None:
        known = self._index.known(path)
        if known is None:
            return None
        fd = self._beneath.probe_cached(path)
        if fd < 0:
            return known.if_gone if fd == -errno.ENOENT else None
        status = os.fstat(fd)
        os.close(fd)
        return known.present if known.vouching is not None and same_stat(known.vouching, status) else None

    async def open(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Copy | Answer:
        return await self._open(path, wait_s, reread)

    async def _open(self, path: FilePath, wait_s: float | None, reread: bool) -> Copy | Answer:
        """`wait_s` None waits as long as it takes."""
        deadline_s = None if wait_s is None else time.monotonic() + wait_s
        for _ in range(TRIES):
            held = await self._in_thread(partial(self._examiner.look, path, reread=reread))
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
        answer = _answer_of(await self._open(copy.path, None, True))
        _log.warning("a copy did not match its digest", path=copy.path, found=type(answer).__name__)
        return answer

    async def stage(self, path: FilePath, version: Version, clock: Clock, *, replacing: Answer) -> Staging:
        if not isinstance(replacing, Absent | Damaged):
            raise ValueError("only a missing or a damaged copy is replaced")
        if isinstance(replacing, Absent) and replacing.obstacle is not None:
            raise StoreFailed(f"There is {replacing.obstacle} at '{path}'.", path=path)
        staged = await self._in_thread(lambda: self._begin_staging(path, version, clock, replacing))
        return DirectoryStaging(staged, self._in_thread)

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

    def indexing(self) -> Indexing:
        return self._parts.indexing.progress()

    def degraded(self) -> str | None:
        return self._parts.shop.health.degraded()

    def takes_in(self) -> bool:
        return self._parts.shop.health.refusal() is None

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._flushing.cancel()
        with suppress(asyncio.CancelledError):
            await self._flushing
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._examiner.closing.set()
        self._parts.pool.stop_taking()
        self._parts.indexing.stop()
        self._parts.pool.close()
        self._threads.shutdown(wait=True)
        try:
            self._index.close()
        finally:
            for fd in self._fifos.values():
                os.close(fd)
            self._parts.private.close()
            self._beneath.close()

    def _copy(self, path: FilePath, held: Opened) -> DirectoryCopy:
        assert held.record.stat is not None
        return DirectoryCopy(path, held.record.present(), held.fd, held.record.stat, self._block_digests)

    def _begin_staging(self, path: FilePath, version: Version, clock: Clock, replacing: Absent | Damaged) -> StagedFile:
        seen = self._parts.shop.stat_of(path)
        record = self._index.get(path)
        overtaken = isinstance(replacing, Damaged) != (seen is not None) or _was_replaced(replacing, seen, record)
        return StagedFile(self._parts.shop, path, version, clock, seen, record, overtaken=overtaken)

    async def _block_digests(self, copy: DirectoryCopy) -> tuple[Digest, ...]:
        whole = copy.answer.digest
        if copy.answer.size <= BLOCK_BYTES:
            return (whole,) if copy.answer.size else ()
        blocks = self._blocks.get(whole) or await self._in_thread(lambda: self._index.blocks(whole))
        if blocks is None:
            blocks = await self._hash_blocks(copy)
            await self._in_thread(partial(self._index.keep_blocks, whole, blocks))
        if len(self._blocks) >= CACHED_BLOCK_LISTS:
            self._blocks.clear()
        self._blocks[whole] = blocks
        return blocks

    async def _hash_blocks(self, copy: DirectoryCopy) -> tuple[Digest, ...]:
        fd = copy.own_fd()  # the job may outlive a caller that stops waiting
        job = self._parts.pool.submit(lambda: _read_blocks(fd), urgent=True)
        job.future.add_done_callback(lambda _: os.close(fd))
        digest, blocks = await asyncio.wrap_future(job.future)
        if digest == copy.answer.digest:
            return blocks
        if copy.unchanged():
            raise IntegrityError("The copy no longer matches its digest.", path=copy.path)
        raise ChangedWhileReading("The file was changed while it was read.", path=copy.path)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _keep_flushing(self) -> None:
        """Batched records become durable within a bounded time, also when nothing more comes; and what is not in its place any
        more is noticed."""
        failing = None
        while True:
            await asyncio.sleep(BATCH_S)
            await self._in_thread(self._parts.shop.health.look)
            try:
                await self._in_thread(lambda: self._index.flush(only_if_due=True))
                failing = None
            except StoreFailed as error:
                if error.detail != failing:
                    failing = error.detail
                    _log.error("the index cannot be written", reason=failing)


def _was_replaced(replacing: Absent | Damaged, seen: Stat | None, record: Record | None) -> bool:
    """Whether the rot that was to be replaced is no longer what is there: another healing was faster."""
    if not isinstance(replacing, Damaged) or replacing.reason != ROT:
        return False
    return record is None or seen is None or record.known_damage(seen) is None


def _answer_of(held: Copy | Answer) -> Answer:
    if is_answer(held):
        return held
    held.close()
    return held.answer


def _read_blocks(fd: int) -> tuple[Digest, tuple[Digest, ...]]:
    try:
        return hash_blocks(fd)
    except OSError as error:
        raise store_failure(error, "reading a copy") from error


async def open_directory_store(
    root: Path,
    server: ServerName,
    *,
    outside_changes: OutsideChanges,
    now_ns: Callable[[], int] = time.time_ns,
    fsync: Callable[[int], None] = os.fsync,
    component_walk: bool = False,
    keep_days: int = 30,
) -> DirectoryStore:
    """The store in the folder `root`, which must exist; what is missing of the private folder is made.

    Raises `ConfigError` when another server uses it or a newer release wrote it, `StoreFailed` when it cannot be used. The first
    hashing goes on in the background. Damaged copies are kept for `keep_days` after they were replaced.
    `now_ns`, `fsync` and `component_walk` (do without openat2) are for tests.
    """
    return DirectoryStore(
        await asyncio.to_thread(assemble, root, server, outside_changes, now_ns, fsync, component_walk, keep_days)
    )


if TYPE_CHECKING:
    from accord.store.port import Store

    def _keeps_the_contract(store: DirectoryStore) -> Store:
        return store
