"""Three servers in memory, seen from the first: its store, reader and healer are real, the others are stores behind `MemoryPeers`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from accord.engine.heal import Healer
from accord.engine.heal_queue import HealQueue
from accord.engine.read import Reader, Reading
from accord.engine.transfer import Body
from accord.engine.update import Updater
from accord.model.names import FilePath, ServerName
from accord.store.port import BLOCK_BYTES
from accord.testing.memory_peers import MemoryPeers
from accord.testing.memory_store import MemoryStore

ME, SECOND, THIRD = ServerName("server1"), ServerName("server2"), ServerName("server3")
PATH = FilePath("big.bin")
LARGE = bytes(range(251)) * (3 * BLOCK_BYTES // 251) + b"and the end"
SMALL = b"a few bytes"


class Clock:
    """A monotonic time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Trio:
    """`mine` is server1's store. What a test writes into `second` and `third` is there before it is asked for."""

    def __init__(self, *, hash_wait_s: float = 5.0, keep_tombstones_s: float = math.inf) -> None:
        self.mine, self.second, self.third = (MemoryStore(name) for name in (ME, SECOND, THIRD))
        self.peers = MemoryPeers({SECOND: self.second, THIRD: self.third})
        self.clock = Clock()
        self.given_up: list[FilePath] = []
        self.healer = Healer(self.mine, now_s=self.clock, given_up=self.given_up.append)
        self.reader = Reader(ME, self.mine, self.peers, self.healer, hash_wait_s=hash_wait_s)
        self.updater = Updater(
            self.mine, self.peers, self.reader, hash_wait_s=hash_wait_s, keep_tombstones_s=keep_tombstones_s
        )
        self.queue = HealQueue(self.updater, look_again=self.reader.look_again)

    async def body(self, path: FilePath = PATH) -> tuple[Reading, Body]:
        reading = await self.reader.read(path)
        return reading, self.reader.body(reading, reading.verdict.version)

    async def get(self, path: FilePath = PATH) -> bytes:
        reading, body = await self.body(path)
        try:
            return b"".join([block async for block in body.blocks()])
        finally:
            reading.close()

    async def part(self, start: int, stop: int) -> bytes:
        reading, body = await self.body()
        try:
            return b"".join([block async for block in body.part(start, stop)])
        finally:
            reading.close()

    def healed(self, path: FilePath = PATH) -> bytes | None:
        file = self.mine.files.get(path)
        return None if file is None else file.content

    async def close(self) -> None:
        await self.queue.close()
        await self.reader.close()
        await self.healer.settle()
        await self.peers.close()


@asynccontextmanager
async def trio(**settings: float) -> AsyncIterator[Trio]:
    """Nothing may be left open at the end."""
    servers = Trio(**settings)
    try:
        yield servers
    finally:
        await servers.close()
    for store in (servers.mine, servers.second, servers.third):
        assert (store.open_copies, store.open_stagings) == (0, 0)


async def until(condition: Callable[[], object]) -> None:
    """Give the event loop turns until `condition` holds. Fails when it does not come about."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
