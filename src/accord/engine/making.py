"""One version being made out of bases and of what is fetched: each chunk is proven before it is written, the whole at the end.

Whether that is worth while, and where which chunk comes from, is decided in `engine.delta`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import NamedTuple

import structlog

from accord.engine.holders import Holders
from accord.engine.transfer import hashed, matching
from accord.errors import IntegrityError, NoSuchVersion, PeerFailed, StoreFailed
from accord.model.chunks import Chunk, Run
from accord.model.names import Digest, FilePath, ServerName
from accord.peers.port import Peers
from accord.store.port import BLOCK_BYTES, Base, Incoming

TRIES = 2
"""So often each holder is turned to, before the whole is fetched instead: that would cost far more than asking again."""

HOLDER_FAILED = (PeerFailed, NoSuchVersion, IntegrityError)
"""What fetching from one holder may raise, and the next be turned to."""

_log = structlog.get_logger("accord.heal")


@dataclass
class Moved:
    """How many bytes of the versions that were taken in came from other servers, and how many were here already."""

    fetched_bytes: int = 0
    reused_bytes: int = 0

    def add(self, other: Moved) -> None:
        self.fetched_bytes += other.fetched_bytes
        self.reused_bytes += other.reused_bytes


class Wanted(NamedTuple):
    """A version, and the servers that hold it."""

    path: FilePath
    digest: Digest
    size: int
    holders: Sequence[ServerName]


class Told(NamedTuple):
    """The chunks of a version, as the server `teller` cuts it."""

    teller: ServerName
    chunks: Sequence[Chunk]


class GivenUp(Exception):
    """It cannot be made this way, and why."""


class Making:
    """One version being made, chunk by chunk, from its first to its last."""

    def __init__(
        self,
        peers: Peers,
        known_holders: Holders,
        wanted: Wanted,
        told: Told,
        bases: Sequence[Base],
        incoming: Incoming,
    ) -> None:
        self.incoming = incoming
        self.moved = Moved()
        self._peers = peers
        self._known_holders = known_holders
        self._wanted = wanted
        self._teller, self._chunks = told
        self._bases = bases
        self._holders = [self._teller, *(one for one in wanted.holders if one != self._teller)] * TRIES
        self._done = 0
        """So many chunks are written."""

    async def conduct(self, runs: Sequence[Run]) -> None:
        """Durable when it returns. Raises `GivenUp`, or what receiving raises."""
        for run in runs:
            if run.base is None:
                await self._fetch(run.stop)
            else:
                await self._reuse(self._bases[run.base], run)
        path, digest = self._wanted.path, self._wanted.digest
        if self.incoming.digest != digest:
            self._known_holders.wrong(self._teller, path, digest)
            raise GivenUp(f"what {self._teller} told is another content")
        await self.incoming.finish()
        _log.info("made out of what was here", path=path, **asdict(self.moved))

    async def _reuse(self, base: Base, run: Run) -> None:
        """The run, from a base that should have it. What turns out to be something else there is fetched."""
        moved_by = run.at - run.start
        while self._done < run.stop:
            await self._reuse_good(base, moved_by, run.stop)
            if self._done < run.stop:
                await self._fetch(await self._next_good(base, self.incoming.size + moved_by, run.stop))

    async def _reuse_good(self, base: Base, moved_by: int, stop: int) -> None:
        """The chunks up to `stop`, or to the first that the base has not. One block is read and proven while the one before it is
        written."""
        block = self._block(self._done, stop)
        ahead = asyncio.ensure_future(_good(base, self.incoming.size + moved_by, block))
        try:
            while block:
                good, count = await ahead
                is_whole = count == len(block)
                block = self._block(self._done + count, stop) if is_whole else []
                ahead = asyncio.ensure_future(_good(base, self.incoming.size + len(good) + moved_by, block))
                await self._write(good, count)
                self.moved.reused_bytes += len(good)
        finally:
            ahead.cancel()

    def _block(self, first: int, stop: int) -> list[Chunk]:
        """The chunks from `first` on, up to `stop`: as many as fit into a block, at least one where there is one."""
        block: list[Chunk] = []
        left = BLOCK_BYTES
        for number in range(first, stop):
            left -= self._chunks[number].size
            if left < 0 and block:
                break
            block.append(self._chunks[number])
        return block

    async def _next_good(self, base: Base, at: int, stop: int) -> int:
        """The number of the next chunk that the base has, when the one it should have at `at` is none: what it lacks is fetched in
        one go."""
        for number in range(self._done + 1, stop):
            at += self._chunks[number - 1].size
            _, count = await _good(base, at, [self._chunks[number]])
            if count:
                return number
        return stop

    async def _fetch(self, stop: int) -> None:
        """The chunks up to `stop`, from whoever holds them. Raises `GivenUp`."""
        until = self.incoming.size + sum(self._chunks[number].size for number in range(self._done, stop))
        while self._done < stop:
            if not self._holders:
                raise GivenUp("nobody delivers what is lacking")
            holder = self._holders[0]
            try:
                await self._fetch_from(holder, until, stop)
                if self._done < stop:
                    raise PeerFailed("did not send all of the range", path=self._wanted.path)
            except HOLDER_FAILED as error:
                _log.info("a holder failed", path=self._wanted.path, peer=holder, reason=error.detail)
                del self._holders[0]

    async def _fetch_from(self, holder: ServerName, until: int, stop: int) -> None:
        wanted, start = self._wanted, self.incoming.size
        received = bytearray()
        async with aclosing(self._peers.fetch(holder, wanted.path, wanted.digest, start=start, stop=until)) as pieces:
            async for piece in pieces:
                self.moved.fetched_bytes += len(piece)
                received += piece
                while self._done < stop and len(received) >= (size := self._chunks[self._done].size):
                    chunk = bytes(received[:size])
                    del received[:size]
                    if await hashed(chunk) != self._chunks[self._done].digest:
                        raise self._mismatch(holder)
                    await self._write(chunk, 1)

    def _mismatch(self, holder: ServerName) -> GivenUp:
        """Either what was sent is wrong, or what was told; where one server did both, it is known which."""
        if holder == self._teller:
            self._known_holders.wrong(holder, self._wanted.path, self._wanted.digest)
        return GivenUp(f"what {holder} sent is not what {self._teller} told")

    async def _write(self, block: bytes, chunks: int) -> None:
        await self.incoming.write(block)
        self._done += chunks


async def _good(base: Base, at: int, chunks: Sequence[Chunk]) -> tuple[bytes, int]:
    """The bytes of these chunks as the base has them from its byte `at` on, up to the first that it has not; and how many it has."""
    if not chunks:
        return b"", 0
    try:
        read = await base.read(at, sum(size for size, _ in chunks))
    except StoreFailed:
        return b"", 0  # a sector is lost; others may be read
    ends = list(accumulate(size for size, _ in chunks))
    pieces = [memoryview(read)[end - size : end] for end, (size, _) in zip(ends, chunks, strict=True)]
    count = await matching(pieces, [digest for _, digest in chunks])
    return (read, count) if count == len(chunks) else (read[: ends[count - 1] if count else 0], count)
