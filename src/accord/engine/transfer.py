"""Proven bytes: content on its way out is hashed, and nothing leaves before it can still be taken back.

A body of one block is proven before its first byte is handed on. A longer one is handed on while it is hashed, its last block
withheld until the digest is right, so that a wrong whole never looks complete. Parts are proven block by block. Memory: a few
blocks a transfer.

Here is what a body is, and this server's own copy as one; the content that other servers hold is `engine.remote`'s. What a part is
proven with is found out in `engine.own_proofs`; where the bytes come from is decided in `engine.read`; taking them in on the way is
`engine.heal`'s; sending them, `server`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from blake3 import blake3

from accord.errors import IntegrityError, StoreFailed
from accord.model.names import Digest
from accord.store.port import BLOCK_BYTES, Copy

HASHING_THREADS = 2
INLINE_BYTES = 64 * 1024
"""Hashing less than this costs less than going to a thread for it."""

_hashing = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="accord-send")


class CopyFailed(IntegrityError):
    """This server's own copy turned out wrong while it was read; `engine.read` finds out what it is now, unless that `is_found_out`."""

    def __init__(self, copy: Copy, *, is_found_out: bool = False) -> None:
        super().__init__("This server's copy did not match its digest.", path=copy.path)
        self.copy = copy
        self.is_found_out = is_found_out


class BlockProofs(Protocol):
    """Finds out the digests of the blocks of a long copy: `engine.own_proofs`."""

    async def of(self, copy: Copy) -> Sequence[bytes]:
        """Raises `CopyFailed` and `StillChecking`."""
        ...


class Body(Protocol):
    """One version's content. `size` in bytes."""

    digest: Digest
    size: int

    def whole_now(self) -> bytes | None:
        """All of it, proven, if that takes no waiting. Raises `CopyFailed`."""
        ...

    def blocks(self) -> AsyncIterator[bytes]:
        """All of it, in order. Raises `CopyFailed` or another `AccordError`, before the last block at the latest."""
        ...

    def part(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes [start, stop), every one proven before it is handed on. Raises as `blocks`, and `StillChecking`."""
        ...


class Tee(Protocol):
    """Takes in what passes by. Never raises: what goes wrong with the taking in is no matter of the reader's."""

    async def write(self, block: bytes) -> None: ...

    def proven(self) -> None:
        """All of it passed by, and the digest is right."""
        ...

    async def failed(self) -> None: ...


def block_spans(start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The blocks that [start, stop) touches: (number, first byte wanted within it, end of what is wanted within it)."""
    for number in range(start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1 if stop > start else 0):
        base = number * BLOCK_BYTES
        yield number, max(start - base, 0), min(stop - base, BLOCK_BYTES)


class LocalBody:
    """The content of this server's own copy. `known` are the digests of its blocks, where they are proven already."""

    def __init__(self, copy: Copy, proofs: BlockProofs, *, known: Sequence[bytes] | None = None) -> None:
        self.digest = copy.answer.digest
        self.size = copy.answer.size
        self._copy = copy
        self._proofs = proofs
        self._known = known

    def whole_now(self) -> bytes | None:
        if self.size > BLOCK_BYTES:
            return None
        content = self._copy.read_now(0, self.size + 1)
        if content is None:
            return None
        if blake3(content).digest() != self.digest:
            raise CopyFailed(self._copy)
        return content

    async def blocks(self) -> AsyncIterator[bytes]:
        hasher = blake3()
        offset = 0
        withheld = b""
        # One block is read and hashed while the one before it is being sent.
        ahead = asyncio.ensure_future(self._read_hashed(hasher, offset))
        try:
            while block := await ahead:
                offset += len(block)
                if offset > self.size:
                    break  # it grew: what is withheld now may be the end of a whole that is not proven
                ahead = asyncio.ensure_future(self._read_hashed(hasher, offset))
                if withheld:
                    yield withheld
                withheld = block
        finally:
            ahead.cancel()
        if offset != self.size or hasher.digest() != self.digest:
            raise CopyFailed(self._copy)
        if withheld:
            yield withheld

    async def part(self, start: int, stop: int) -> AsyncIterator[bytes]:
        if self.size <= BLOCK_BYTES:
            async for whole in self.blocks():
                yield whole[start:stop]
            return
        digests = self._known if self._known is not None else await self._proofs.of(self._copy)
        for number, first, end in block_spans(start, stop):
            block = await self._read(number * BLOCK_BYTES, BLOCK_BYTES)
            if await hashed(block) != digests[number]:
                raise CopyFailed(self._copy)
            yield block[first:end]

    async def _read_hashed(self, hasher: blake3, offset: int) -> bytes:
        # One byte past the end is asked for, so that a file that grew is noticed.
        block = await self._read(offset, min(BLOCK_BYTES, self.size + 1 - offset))
        await asyncio.get_running_loop().run_in_executor(_hashing, hasher.update, block)
        return block

    async def _read(self, offset: int, length: int) -> bytes:
        """What the disk cannot read is as wrong as what does not match: another server may have it."""
        try:
            return await self._copy.read(offset, length)
        except StoreFailed as error:
            raise CopyFailed(self._copy) from error


class Hasher(Protocol):
    def update(self, piece: bytes | memoryview, /) -> object: ...


async def fed(hasher: Hasher, block: bytes | memoryview) -> None:
    """Hash `block` too; a large one in a thread."""
    if len(block) < INLINE_BYTES:
        hasher.update(block)
    else:
        await asyncio.get_running_loop().run_in_executor(_hashing, hasher.update, block)


async def hashed(block: bytes) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(_hashing, lambda: blake3(block).digest())


async def matching(pieces: Sequence[memoryview], digests: Sequence[Digest]) -> int:
    """How many of the pieces, from the first on, have the digests that they should have."""
    return await asyncio.get_running_loop().run_in_executor(_hashing, _matching, pieces, digests)


def _matching(pieces: Sequence[memoryview], digests: Sequence[Digest]) -> int:
    pairs = enumerate(zip(pieces, digests, strict=True))
    return next((number for number, (piece, digest) in pairs if blake3(piece).digest() != digest), len(pieces))
