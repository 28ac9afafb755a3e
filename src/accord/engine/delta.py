"""Long content moves by difference: a version that this server lacks is made out of what it has of the path, and only what nothing here
has is fetched.

The other server tells the chunks that it cuts the version into; what is here is cut likewise. Nobody's word counts: each chunk is
hashed before it is used, wherever it comes from, and the whole at the end. So a holder may take over from another at any chunk, and a
base that is damaged, or changes meanwhile, costs no more than fetching what it lacks. Whatever else goes wrong, nothing is made and the
version is fetched as a whole: trying this never makes an update fail. What lists of chunks amount to is left to `model.chunks`; making
the version of them, to `engine.making`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from accord.engine.holders import Holders
from accord.engine.making import HOLDER_FAILED, TRIES, GivenUp, Making, Moved, Told, Wanted
from accord.errors import StoreFailed
from accord.model.chunks import MAX_CHUNK_BYTES, Chunk, Run, missing_bytes, runs_of
from accord.peers.port import Peers
from accord.store.port import Base, Incoming, Store

LEAST_BYTES = 4 * 1024 * 1024
"""Shorter content is fetched as a whole: to find out what could be spared takes as long."""
MOST_BYTES = 1024**4
"""So is longer content: the lists of its chunks would take too much memory."""
LEAST_SHARED = 0.2
"""Less than this part of the content at hand is not worth the round trips."""
ENOUGH_SHARED = 0.9
"""With so much at hand, no further base is cut for what it may add."""
MAX_AT_ONCE = 2

_log = structlog.get_logger("accord.heal")

T = TypeVar("T")


class Delta:
    """Makes versions for one server's store. `moved` counts what was fetched and what was not."""

    def __init__(self, store: Store, peers: Peers, holders: Holders, moved: Moved) -> None:
        self._store = store
        self._peers = peers
        self._holders = holders
        self._moved = moved
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def take_in(self, wanted: Wanted) -> Incoming | None:
        """The version's bytes, finished and proven. None where fetching the whole is as good, or is what is left to do. Raises only
        what receiving does (`StoreFailed`, `DiskFull`); then nothing is left."""
        if not LEAST_BYTES <= wanted.size <= MOST_BYTES:
            return None
        bases = await self._store.bases(wanted.path)
        try:
            if sum(base.size for base in bases) < wanted.size * LEAST_SHARED:
                return None
            async with self._turns:
                return await self._take_in(wanted, bases)
        except GivenUp as error:
            _log.info("not made out of what is here", path=wanted.path, reason=str(error))
            return None
        finally:
            for base in bases:
                base.close()

    async def _take_in(self, wanted: Wanted, bases: Sequence[Base]) -> Incoming:
        wanted = wanted._replace(holders=self._holders.in_order(wanted.path, wanted.digest, wanted.holders))
        told, first = await asyncio.gather(self._told(wanted), _chunks_of(bases[0]))
        if told is None:
            raise GivenUp("no holder tells its chunks")
        runs = await self._planned(told.chunks, wanted.size, bases, first)
        making = Making(self._peers, self._holders, wanted, told, bases, await self._store.receive(wanted.size))
        try:
            await making.conduct(runs)
        except BaseException:
            await making.incoming.abort()
            raise
        finally:
            self._moved.add(making.moved)
        return making.incoming

    async def _told(self, wanted: Wanted) -> Told | None:
        """What the first holder says that can tell."""
        for holder in [*wanted.holders] * TRIES:
            try:
                chunks = await self._peers.chunks(holder, wanted.path, wanted.digest)
            except HOLDER_FAILED as error:
                _log.info("chunks are not told", path=wanted.path, peer=holder, reason=error.detail)
                continue
            if await _aside(_can_be, chunks, wanted.size):
                return Told(holder, chunks)
            _log.warning("chunks were told that cannot be those of the version", path=wanted.path, peer=holder)
        return None

    async def _planned(
        self, wanted: Sequence[Chunk], size: int, bases: Sequence[Base], first: Sequence[Chunk]
    ) -> list[Run]:
        """Where everything comes from. A base costs a pass over it, so the next is cut only where those before leave much to fetch."""
        cut = [first]
        runs = await _aside(runs_of, wanted, cut)
        for base in bases[1:]:
            if missing_bytes(runs, size) <= (1 - ENOUGH_SHARED) * size:
                break
            cut.append(await _chunks_of(base))
            runs = await _aside(runs_of, wanted, cut)
        if missing_bytes(runs, size) > (1 - LEAST_SHARED) * size:
            raise GivenUp("too little of it is here")
        return runs


async def _aside(work: Callable[..., T], *about: object) -> T:
    """Go through lists of chunks in a thread: those of a terabyte take most of a second."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *about)


def _can_be(chunks: Sequence[Chunk], size: int) -> bool:
    """Whether the chunks add up to content of that size, and each can be held in memory."""
    sizes = [chunk.size for chunk in chunks]
    return sum(sizes) == size and all(0 < one <= MAX_CHUNK_BYTES for one in sizes)


async def _chunks_of(base: Base) -> Sequence[Chunk]:
    try:
        return await base.chunks()
    except StoreFailed as error:
        _log.info("a base cannot be cut", reason=error.detail)
        return ()
