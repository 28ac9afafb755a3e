"""The BLAKE3 digests of the blocks of large copies, by which ranges are proven: made by one pass over the file, and kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import apsw

from accord.errors import ChangedWhileReading, IntegrityError, StoreFailed
from accord.model.names import DIGEST_BYTES, Digest
from accord.store.copies import DirectoryCopy
from accord.store.hashing import HashingPool, hash_blocks
from accord.store.index import Index
from accord.store.port import BLOCK_BYTES
from accord.store.workshop import store_failure

CACHED_BLOCK_LISTS = 256
KEPT_BLOCK_LISTS = 20_000


class BlockLists:
    def __init__(self, index: Index, pool: HashingPool) -> None:
        self._index = index
        self._pool = pool
        self._cached: dict[Digest, tuple[Digest, ...]] = {}

    async def of(self, copy: DirectoryCopy) -> tuple[Digest, ...]:
        """See `port.Copy.block_digests`."""
        whole = copy.answer.digest
        if copy.answer.size <= BLOCK_BYTES:
            return (whole,) if copy.answer.size else ()
        blocks = self._cached.get(whole) or await asyncio.to_thread(self._stored, whole)
        if blocks is None:
            blocks = await self._hash(copy)
            await asyncio.to_thread(self._store, whole, blocks)
        if len(self._cached) >= CACHED_BLOCK_LISTS:
            self._cached.clear()
        self._cached[whole] = blocks
        return blocks

    async def _hash(self, copy: DirectoryCopy) -> tuple[Digest, ...]:
        fd = copy.own_fd()  # the job may outlive a caller that stops waiting
        job = self._pool.submit(lambda: _read_blocks(fd), urgent=True)
        job.future.add_done_callback(lambda _: os.close(fd))
        digest, blocks = await asyncio.wrap_future(job.future)
        if digest == copy.answer.digest:
            return blocks
        if copy.unchanged():
            raise IntegrityError("The copy no longer matches its digest.", path=copy.path)
        raise ChangedWhileReading("The file was changed while it was read.", path=copy.path)

    def _stored(self, digest: Digest) -> tuple[Digest, ...] | None:
        query = "SELECT blocks FROM blocks WHERE digest = ?"
        raw = self._index.read(lambda db: db.execute(query, (digest,)).get)
        if raw is None or not raw or len(raw) % DIGEST_BYTES:
            return None
        return tuple(Digest(raw[at : at + DIGEST_BYTES]) for at in range(0, len(raw), DIGEST_BYTES))

    def _store(self, digest: Digest, blocks: Sequence[Digest]) -> None:
        """They cost one pass over the file to make again, so the oldest are forgotten when there are too many, and all where they
        cannot be written (the index then says so)."""
        with suppress(StoreFailed):
            self._index.batch(partial(_put, digest=digest, blocks=b"".join(blocks)))


def _put(db: apsw.Connection, digest: Digest, blocks: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO blocks (digest, blocks) VALUES (?, ?)", (digest, blocks))
    db.execute("DELETE FROM blocks WHERE id <= ?", (db.last_insert_rowid() - KEPT_BLOCK_LISTS,))


def _read_blocks(fd: int) -> tuple[Digest, tuple[Digest, ...]]:
    try:
        return hash_blocks(fd)
    except OSError as error:
        raise store_failure(error, "reading a copy") from error
