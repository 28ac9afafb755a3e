"""What is known of long contents beside their digests: of their blocks, by which ranges are proven, and of their chunks, by which one
version is made out of another. Each costs one pass over the file, in the hashing pool, and is kept in the index under the digest of the
whole; the pass for the chunks finds the blocks as well.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import apsw

from accord.errors import ChangedWhileReading, IntegrityError, StoreFailed, Unavailable
from accord.model.chunks import ChunkList
from accord.model.names import Digest
from accord.store.block_digests import BlockDigests, RecentBlocks, hash_blocks
from accord.store.chunking import Cut, GivenUp, OpenFile, cut
from accord.store.copies import DirectoryCopy, FileBase
from accord.store.hashing import HashingPool
from accord.store.index import Index
from accord.store.path_locks import PathLocks
from accord.store.port import BLOCK_BYTES
from accord.store.workshop import store_failure

CACHED_BLOCK_LIST_BYTES = 16 * 1024 * 1024
"""The lists of 512 GiB of content, at 32 bytes a block."""
KEPT_BLOCK_LISTS = 20_000
KEPT_CHUNK_LISTS = 20_000
KEPT_CHUNK_LIST_BYTES = 64 * 1024 * 1024
"""The lists of some 500 GiB of content. Beyond that the oldest are forgotten, but never the last one."""
MAX_CUTS_AT_ONCE = 2
"""A pass for chunks takes a hashing thread for as long as it takes to read the file."""

T = TypeVar("T")


class ContentLists:
    """`closing` ends passes early."""

    def __init__(self, index: Index, pool: HashingPool, closing: threading.Event) -> None:
        self._index = index
        self._pool = pool
        self._closing = closing
        self._cached = RecentBlocks(CACHED_BLOCK_LIST_BYTES)
        self._proving = PathLocks()
        self._cutting = PathLocks()
        self._turns = asyncio.Semaphore(MAX_CUTS_AT_ONCE)

    async def blocks_of(self, copy: DirectoryCopy) -> BlockDigests:
        """See `port.Copy.block_digests`."""
        whole = copy.answer.digest
        if copy.answer.size <= BLOCK_BYTES:
            return BlockDigests(bytes(whole) if copy.answer.size else b"")
        known = self._cached.get(whole)
        if known is not None:
            return known
        async with self._proving.of([copy.path]):  # whoever wants the same meanwhile finds it done
            blocks = self._cached.get(whole) or await asyncio.to_thread(self._stored_blocks, whole)
            if blocks is None:
                digest, found = await self._pass(copy.own_fd(), self._hash)
                _require_match(copy, digest)
                await asyncio.to_thread(self._store, whole, found, None)
                blocks = found
            self._cached.keep(whole, blocks)
            return blocks

    async def chunks_of(self, copy: DirectoryCopy) -> ChunkList:
        """See `port.Copy.chunks`."""
        digest, chunks = await self._chunks(copy, copy.answer.digest)
        _require_match(copy, digest)
        return chunks

    async def chunks_near(self, base: FileBase) -> ChunkList:
        """See `port.Base.chunks`."""
        _, chunks = await self._chunks(base, base.digest)
        return chunks

    async def _chunks(self, file: DirectoryCopy | FileBase, digest: Digest | None) -> tuple[Digest, ChunkList]:
        """Those of `digest` if they are known, else those of the file's bytes, and what is their digest."""
        async with self._cutting.of([file.path]):  # whoever wants the same meanwhile finds it done
            known = None if digest is None else await asyncio.to_thread(self._stored_chunks, digest)
            if known is not None and digest is not None:
                return digest, known
            async with self._turns:
                found = await self._pass(file.own_fd(), self._cut)
            await asyncio.to_thread(self._store, found.digest, found.blocks, found.chunks)
            return found.digest, found.chunks

    async def _pass(self, fd: int, over: Callable[[int], T]) -> T:
        """`fd` is closed: the job may outlive a caller that stops waiting."""

        def work() -> T:
            try:
                return over(fd)
            except OSError as error:
                raise store_failure(error, "reading a copy") from error
            except GivenUp:
                raise Unavailable("This server is stopping.") from None

        job = self._pool.submit(work, urgent=True)
        job.future.add_done_callback(lambda _: os.close(fd))
        return await asyncio.wrap_future(job.future)

    def _cut(self, fd: int) -> Cut:
        return cut(OpenFile(fd, self._closing), os.fstat(fd).st_size)

    def _hash(self, fd: int) -> tuple[Digest, BlockDigests]:
        return hash_blocks(OpenFile(fd, self._closing))

    def _stored_blocks(self, digest: Digest) -> BlockDigests | None:
        raw = self._found("SELECT blocks FROM blocks WHERE digest = ?", digest)
        with suppress(ValueError):
            return BlockDigests(raw) if raw else None
        return None

    def _stored_chunks(self, digest: Digest) -> ChunkList | None:
        raw = self._found("SELECT chunks FROM chunks WHERE digest = ?", digest)
        with suppress(ValueError):
            return None if raw is None else ChunkList(raw)
        return None

    def _found(self, query: str, digest: Digest) -> bytes | None:
        found: bytes | None = self._index.read(lambda db: db.execute(query, (digest,)).get)
        return found

    def _store(self, digest: Digest, blocks: BlockDigests, chunks: ChunkList | None) -> None:
        """They cost one pass over the file to make again, so the oldest are forgotten when there are too many, and all where they
        cannot be written (the index then says so)."""
        with suppress(StoreFailed):
            if len(blocks) > 1:
                self._index.batch(partial(_put_blocks, digest=digest, blocks=blocks.joined))
            if chunks is not None:
                self._index.batch(partial(_put_chunks, digest=digest, chunks=chunks.packed))


def _require_match(copy: DirectoryCopy, digest: Digest) -> None:
    if digest == copy.answer.digest:
        return
    if copy.unchanged():
        raise IntegrityError("The copy no longer matches its digest.", path=copy.path)
    raise ChangedWhileReading("The file was changed while it was read.", path=copy.path)


def _put_blocks(db: apsw.Connection, digest: Digest, blocks: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO blocks (digest, blocks) VALUES (?, ?)", (digest, blocks))
    db.execute("DELETE FROM blocks WHERE id <= ?", (db.last_insert_rowid() - KEPT_BLOCK_LISTS,))


def _put_chunks(db: apsw.Connection, digest: Digest, chunks: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO chunks (digest, chunks) VALUES (?, ?)", (digest, chunks))
    newest = db.last_insert_rowid()
    db.execute("DELETE FROM chunks WHERE id <= ?", (newest - KEPT_CHUNK_LISTS,))
    total_bytes = "SELECT id, sum(length(chunks)) OVER (ORDER BY id DESC) AS total FROM chunks"
    too_many = f"SELECT id FROM ({total_bytes}) WHERE total > ? AND id < ?"
    db.execute(f"DELETE FROM chunks WHERE id IN ({too_many})", (KEPT_CHUNK_LIST_BYTES, newest))
