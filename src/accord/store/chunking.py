"""Cutting content into chunks at places that its own bytes decide (FastCDC 2020), and hashing all that is to be known of it in the
same pass: the whole, the chunks, and the blocks that ranges are proven by.

Where to cut is part of the protocol: two servers find what they share only if both cut alike, and one that cuts otherwise shares
nothing, no worse. Why these sizes: decision 0010. Blocking; for the threads of the hashing pool.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from blake3 import blake3
from pyfastcdc import FastCDC

from accord.model.chunks import Chunk, ChunkList
from accord.model.names import Digest
from accord.store.block_digests import BlockDigests, BlockHasher, Readinto
from accord.store.port import BLOCK_BYTES

LEAST_CHUNK_BYTES = 64 * 1024
AVERAGE_CHUNK_BYTES = 256 * 1024
MOST_CHUNK_BYTES = 1024 * 1024
NORMALIZATION: Final = 2

FINE_CONTENT_BYTES = 16 * 1024**3
"""Longer content is cut `COARSER` times as coarsely, so that no list outgrows some MiB. A version on the other side of this border
shares nothing with one on this side."""
COARSER = 16


class Cut(NamedTuple):
    """What one pass found. The digest tells whether the chunks and blocks are those of the content that was meant."""

    digest: Digest
    chunks: ChunkList
    blocks: BlockDigests


class GivenUp(Exception):
    """The store is being closed."""


class OpenFile:
    """All bytes of an open file, from the start, without moving its position."""

    def __init__(self, fd: int, give_up: threading.Event) -> None:
        self._fd = fd
        self._give_up = give_up
        self._offset = 0

    def readinto(self, into: memoryview) -> int:
        if self._give_up.is_set():
            raise GivenUp
        count = os.preadv(self._fd, (into[:BLOCK_BYTES],), self._offset)
        self._offset += count
        return count


def cut(content: Readinto, size: int) -> Cut:
    """One pass over content of about `size` bytes. Memory: two chunks. Raises what `content` raises."""
    times = COARSER if size > FINE_CONTENT_BYTES else 1
    cutter = FastCDC(
        AVERAGE_CHUNK_BYTES * times,
        min_size=LEAST_CHUNK_BYTES * times,
        max_size=MOST_CHUNK_BYTES * times,
        normalized_chunking=NORMALIZATION,
    )
    whole, blocks = blake3(), BlockHasher()

    def hashed() -> Iterator[Chunk]:
        for chunk in cutter.cut_stream(content):
            whole.update(chunk.data)
            blocks.update(chunk.data)
            yield Chunk(chunk.length, Digest(blake3(chunk.data).digest()))

    chunks = ChunkList.of(hashed())
    return Cut(Digest(whole.digest()), chunks, blocks.digests())
