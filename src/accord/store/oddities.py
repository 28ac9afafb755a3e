"""What is odd about a copy that changed behind Accord's back: named from the record before and the one after, and from what is there.

Only a name for people: what the change means was decided when it was recorded (`records`), and what is done about it is the engine's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from blake3 import blake3

from accord.errors import StoreFailed
from accord.model.findings import Finding, Oddity
from accord.model.names import DIGEST_BYTES, Digest, FilePath
from accord.store.confinement import NotAFile
from accord.store.hashing import own_buffer
from accord.store.history_rows import holders_of
from accord.store.kept import Kept
from accord.store.port import BLOCK_BYTES
from accord.store.records import ROT, Record
from accord.store.workshop import Workshop

MAX_WITNESSES = 4
"""So many other files that have the recorded content are asked whether what is there is its beginning."""
MAX_PROVEN_BYTES = 64 * 1024 * 1024
"""What is longer is not read once more just to be named: it counts as changed."""

_BLOCKS = "SELECT blocks FROM blocks WHERE digest = ?"


def oddity_of(before: Record | None, after: Record) -> Oddity | None:
    """What has become of a copy, by its record `before` it was looked at and `after`. None: it is what it should be, or new."""
    if after.damaged is not None:
        return Oddity.ROT if after.damaged == ROT else Oddity.UNREADABLE
    if before is not None and before.clock != after.clock:
        return Oddity.OUTSIDE
    is_current = any(version.digest == after.digest for _, version in after.clock.current())
    return None if is_current else Oddity.STALE


class Oddities:
    """Names what is odd, looking at bytes where that takes it. Blocking."""

    def __init__(self, shop: Workshop, kept: Kept) -> None:
        self._shop = shop
        self._kept = kept

    def finding(self, path: FilePath, before: Record | None, after: Record) -> Finding | None:
        oddity = oddity_of(before, after)
        if oddity is None:
            return None
        if oddity is Oddity.OUTSIDE and before is not None and self._is_truncated(path, before, after):
            oddity = Oddity.TRUNCATED
        there = after.digest if after.damaged is None else None
        recorded = before.digest if before is not None else after.digest
        detail = after.damaged or ""
        return Finding(path, oddity, self._shop.now_ns(), there, recorded, detail)

    def _is_truncated(self, path: FilePath, before: Record, after: Record) -> bool:
        """Whether what is there is how the recorded version began. Where nothing at hand can prove it, it is not said."""
        if before.stat is None or before.digest is None or after.stat is None or after.stat.size >= before.stat.size:
            return False
        size = after.stat.size
        if size == 0:
            return True
        if size > MAX_PROVEN_BYTES:
            return False
        try:
            fd = self._shop.beneath.open_regular(path)
            try:
                return self._begins_alike(fd, size, path, before.digest)
            finally:
                os.close(fd)
        except (OSError, NotAFile, StoreFailed):
            return False

    def _begins_alike(self, fd: int, size: int, path: FilePath, whole: Digest) -> bool:
        blocks: bytes | None = self._shop.index.read(lambda db: db.execute(_BLOCKS, (whole,)).get)
        if blocks is not None and size % BLOCK_BYTES == 0:
            return all(
                blake3(_part(fd, at * BLOCK_BYTES)).digest() == blocks[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]
                for at in range(size // BLOCK_BYTES)
            )
        return any(_is_beginning(fd, other, size) for other in self._witnesses(path, whole))

    def _witnesses(self, path: FilePath, whole: Digest) -> Iterator[int]:
        """Open files, closed as the next is asked for, that should have the recorded content."""
        kept = self._kept.open(whole)
        if kept is not None:
            yield from _lent(kept)
        for other in self._shop.index.read(partial(holders_of, digest=whole, limit=MAX_WITNESSES)):
            record = self._shop.index.get(other)
            if other == path or record is None or record.digest != whole or record.vouching() is None:
                continue
            try:
                fd = self._shop.beneath.open_regular(other)
            except (OSError, NotAFile):
                continue
            yield from _lent(fd)


def _lent(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _part(fd: int, offset: int) -> memoryview:
    buffer = own_buffer()
    return buffer[: os.preadv(fd, (buffer,), offset)]


def _is_beginning(fd: int, whole_fd: int, size: int) -> bool:
    return all(
        bytes(_part(fd, offset)) == bytes(_part(whole_fd, offset)[: size - offset])
        for offset in range(0, size, BLOCK_BYTES)
    )
