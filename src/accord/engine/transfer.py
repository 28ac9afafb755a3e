"""Proven bytes: content on its way out is hashed, and nothing leaves before it can still be taken back.

A body of one block is proven before its first byte is handed on. A longer one is handed on while it is hashed, its last block
withheld until the digest is right, so that a wrong whole never looks complete. Parts are proven block by block. Memory: a few
blocks a transfer.

Where the bytes come from is decided in `engine.read`; taking them in on the way is `engine.heal`'s; sending them, `server`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from blake3 import blake3

from accord.errors import (
    AccordError,
    ChangedWhileReading,
    IntegrityError,
    NoSuchVersion,
    PeerFailed,
    StillChecking,
)
from accord.model.names import Digest, FilePath, ServerName
from accord.peers.port import Peers
from accord.store.port import BLOCK_BYTES, Copy

HASHING_THREADS = 2

_hashing = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="accord-send")


class CopyFailed(IntegrityError):
    """This server's own copy turned out wrong while it was read; `engine.read` finds out what it is now."""

    def __init__(self, copy: Copy) -> None:
        super().__init__("This server's copy did not match its digest.", path=copy.path)
        self.copy = copy


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
    """The content of this server's own copy."""

    def __init__(self, copy: Copy, *, proof_wait_s: float) -> None:
        self.digest = copy.answer.digest
        self.size = copy.answer.size
        self._copy = copy
        self._proof_wait_s = proof_wait_s

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
        digests = await self._block_digests()
        for number, first, end in block_spans(start, stop):
            block = await self._copy.read(number * BLOCK_BYTES, BLOCK_BYTES)
            if await _hash(block) != digests[number]:
                raise CopyFailed(self._copy)
            yield block[first:end]

    async def _read_hashed(self, hasher: blake3, offset: int) -> bytes:
        # One byte past the end is asked for, so that a file that grew is noticed.
        block = await self._copy.read(offset, min(BLOCK_BYTES, self.size + 1 - offset))
        await asyncio.get_running_loop().run_in_executor(_hashing, hasher.update, block)
        return block

    async def _block_digests(self) -> Sequence[Digest]:
        proof = asyncio.ensure_future(self._copy.block_digests())
        try:
            return await asyncio.wait_for(asyncio.shield(proof), self._proof_wait_s)
        except TimeoutError:
            raise StillChecking(
                "The file is being checked as a whole before parts of it are sent.", path=self._copy.path
            ) from None
        except (ChangedWhileReading, IntegrityError):
            raise CopyFailed(self._copy) from None


class RemoteBody:
    """The content of one version as other servers hold it: from the first of `holders` that delivers.

    A holder that fails on the way is followed by the next at the byte where it stopped: the digest of the whole, which is checked
    before the last block goes out, makes sure that two versions are never spliced.
    """

    def __init__(
        self,
        peers: Peers,
        path: FilePath,
        digest: Digest,
        size: int,
        holders: Sequence[ServerName],
        *,
        tee: Tee | None = None,
    ) -> None:
        self.digest = digest
        self.size = size
        self._peers = peers
        self._path = path
        self._holders = holders
        self._tee = tee

    def whole_now(self) -> bytes | None:
        return None

    async def blocks(self) -> AsyncIterator[bytes]:
        try:
            handed_on = 0
            async for block in self._small() if self.size <= BLOCK_BYTES else self._large():
                handed_on += len(block)
                if self._tee is not None:
                    await self._tee.write(block)
                    if handed_on == self.size:
                        self._tee.proven()
                yield block
        except BaseException:
            if self._tee is not None:
                await self._tee.failed()
            raise

    async def part(self, start: int, stop: int) -> AsyncIterator[bytes]:
        if self.size <= BLOCK_BYTES:
            async for whole in self.blocks():
                yield whole[start:stop]
            return
        failures: list[PeerFailed | IntegrityError | NoSuchVersion] = []
        for holder in self._holders:
            try:
                async for block in self._peers.fetch(holder, self._path, self.digest, start=start, stop=stop):
                    start += len(block)
                    yield block
                if start >= stop:
                    return
                failures.append(PeerFailed(f"{holder} did not send all of the range.", path=self._path))
            except (PeerFailed, IntegrityError, NoSuchVersion) as failure:
                failures.append(failure)
        raise self._failure(failures[-1])

    async def _small(self) -> AsyncIterator[bytes]:
        """Whole from one holder or whole from the next; proven before anything is handed on."""
        failure: AccordError = IntegrityError("Nobody delivered the content that its digest names.", path=self._path)
        for holder in self._holders:
            try:
                content = bytearray()
                async for block in self._peers.fetch(holder, self._path, self.digest):
                    content += block
                    if len(content) > self.size:
                        break
            except (PeerFailed, IntegrityError, NoSuchVersion) as error:
                failure = error
                continue
            if blake3(content).digest() == self.digest:
                yield bytes(content)
                return
            failure = IntegrityError(f"What {holder} sent did not match its digest.", path=self._path)
        raise self._failure(failure)

    async def _large(self) -> AsyncIterator[bytes]:
        hasher = blake3()
        offset = 0
        withheld = b""
        loop = asyncio.get_running_loop()
        failure: AccordError = IntegrityError("The content received did not match its digest.", path=self._path)
        for holder in self._holders:
            try:
                async for block in self._peers.fetch(holder, self._path, self.digest, start=offset):
                    if offset + len(block) > self.size:
                        raise IntegrityError(f"{holder} sent more than the version has.", path=self._path)
                    offset += len(block)
                    if withheld:
                        yield withheld
                    withheld = block
                    await loop.run_in_executor(_hashing, hasher.update, block)
            except (PeerFailed, NoSuchVersion, IntegrityError) as error:
                failure = error
            if offset >= self.size:
                break
        if offset != self.size or hasher.digest() != self.digest:
            raise self._failure(failure)
        yield withheld

    def _failure(self, last: AccordError) -> AccordError:
        """What a reader is told. That the holders no longer have the version says that it changed since they answered, and nothing
        about whether there is a file: no 404 may come of it."""
        if isinstance(last, NoSuchVersion):
            return ChangedWhileReading("The file was changed while it was read.", path=self._path)
        return last


async def _hash(block: bytes) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(_hashing, lambda: blake3(block).digest())
