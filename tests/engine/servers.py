"""Whole servers in memory, each with its own engine, that reach each other through `MemoryPeers`: writes go all the way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from accord.engine.copy import Copier
from accord.engine.debts import Payer
from accord.engine.deciding import Decider, Wish
from accord.engine.heal import Healer
from accord.engine.heal_queue import HealQueue
from accord.engine.history import Historian
from accord.engine.mending import Mender
from accord.engine.progress import SyncProgress
from accord.engine.read import Reader
from accord.engine.recheck import Recheck
from accord.engine.strangers import Strangers
from accord.engine.sync import Syncer
from accord.engine.update import Updater
from accord.engine.write import Writer, Written
from accord.model.fingerprints import WHOLE, Fingerprint
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Verdict
from accord.model.versions import Context
from accord.model.writing import Conditions
from accord.store.port import BLOCK_BYTES
from accord.testing.memory_peers import MemoryPeers
from accord.testing.memory_store import MemoryStore

PATH = FilePath("notes.txt")
KEEP_TOMBSTONES_S = 90 * 24 * 3600.0


class Node:
    """One server: its store, and everything a request would reach."""

    def __init__(self, name: ServerName, stores: dict[ServerName, MemoryStore], *, min_copies: int) -> None:
        self.name = name
        self.store = stores[name]
        others = {other: store for other, store in stores.items() if other != name}
        self.peers = MemoryPeers(others, me=name)
        self.now_ns = 1_700_000_000_000_000_000
        """The time of day, which goes on when a test says so."""
        self._times = itertools.count(1_000_000_000_000, 1_000_000)
        now_s = asyncio.get_running_loop().time
        self.payer = Payer(self.store, self.peers)
        self.peers.on_up(self.payer.pay)
        self.strangers = Strangers(
            self.store, self.peers, keep_tombstones_s=KEEP_TOMBSTONES_S, now_ns=lambda: self.now_ns
        )
        self.healer = Healer(self.store, now_s=now_s, is_stranger=self.strangers.is_stranger)
        self.reader = Reader(
            name, self.store, self.peers, self.healer, hash_wait_s=5.0, lacking=lambda path: self.healing.suggest(path)
        )
        self.updater = Updater(
            self.store, self.peers, self.reader, hash_wait_s=5.0, is_stranger=self.strangers.is_stranger
        )
        self.healing = HealQueue(self.updater, look_again=self.reader.look_again)
        self.peers.on_up(self.healing.wake)
        decider = Decider(name, self.store, self.peers, now_ns=lambda: next(self._times), now_s=now_s, hash_wait_s=5.0)
        self.writer = Writer(decider, self.reader, min_copies=min_copies, unpaid=self.payer.pay)
        self.syncer = Syncer(
            self.store,
            self.peers,
            self.healing,
            self.reader,
            self.strangers,
            every_s=None,
            now_ns=lambda: self.now_ns,
        )
        self.peers.on_up(self.syncer.up)
        self.mender = Mender(self.store, self.healing)
        self.recheck = Recheck(self.store, self.reader, self.mender, self.strangers)
        self.historian = Historian(name, self.store, self.peers)
        self.copier = Copier(self.writer, self.historian)

    async def put(
        self, content: bytes, path: FilePath = PATH, *, seen: Context | None = None, wish: Wish | None = None
    ) -> Written:
        wish = wish or Wish(Conditions(seen=seen))
        writing = await self.writer.begin(path, wish, size=len(content))
        try:
            for at in range(0, len(content), BLOCK_BYTES):
                await writing.write(content[at : at + BLOCK_BYTES])
            return await writing.finish()
        finally:
            await writing.abort()

    async def found(self, path: str, content: bytes) -> None:
        """Somebody put it there, and this server has come upon it."""
        self.store.put_outside(path, content)
        await self.store.examine(FilePath(path), wait_s=1)

    async def delete(self, path: FilePath = PATH, *, seen: Context | None = None) -> Written:
        return await self.writer.delete(path, Wish(Conditions(seen=seen)))

    async def verdict(self, path: FilePath = PATH) -> Verdict:
        reading = await self.reader.read(path)
        reading.close()
        return reading.verdict

    async def content(self, digest: Digest, path: FilePath = PATH) -> bytes:
        """Of the current version with that digest, wherever it comes from."""
        reading = await self.reader.read(path)
        try:
            held = next(held for held in reading.verdict.versions if held.version.digest == digest)
            return b"".join([block async for block in self.reader.body(reading, held).blocks()])
        finally:
            reading.close()

    async def close(self) -> None:
        await self.payer.close()
        await self.recheck.close()
        await self.mender.close()
        await self.syncer.close()
        await self.healing.close()
        await self.reader.close()
        await self.healer.settle()
        await self.peers.close()


class Servers:
    """`nodes` by number. A server that is down cannot be asked by the others; its own engine goes on, and asks nobody."""

    def __init__(self, count: int, *, min_copies: int = 1) -> None:
        names = [ServerName(f"server{number}") for number in range(1, count + 1)]
        stores = {name: MemoryStore(name) for name in names}
        self.nodes = [Node(name, stores, min_copies=min_copies) for name in names]
        for node in self.nodes:
            node.peers.handlers = {other.name: other.updater for other in self.nodes}

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    def down(self, number: int) -> None:
        self._reach(number, "refused the connection")

    def up(self, number: int) -> None:
        """Reachable again; nobody has been told yet."""
        self._reach(number, None)

    def _reach(self, number: int, reason: str | None) -> None:
        lost = self.nodes[number]
        for node in self.nodes:
            if node is not lost:
                node.peers.faults[lost.name].down = reason
                lost.peers.faults[node.name].down = reason

    async def replay(self) -> None:
        """Everybody who can be asked gets what is owed."""
        for node in self.nodes:
            for name in list(node.store.debts()):
                if node.peers.faults[name].down is None:
                    await node.payer.replay(name)

    async def sync(self) -> list[SyncProgress]:
        """Every server compares with every other it can reach, one after the other."""
        return [
            await node.syncer.run(peer)
            for node in self.nodes
            for peer in node.peers.names
            if node.peers.faults[peer].down is None
        ]

    async def fingerprints(self) -> list[Fingerprint]:
        return [(await node.store.summaries([WHOLE]))[0] for node in self.nodes]

    async def mend(self, *paths: FilePath) -> None:
        """Every server brings the paths up to date, as suggestions would have it."""
        for node in self.nodes:
            for path in paths or (PATH,):
                reason = await node.updater.update(path)
                assert reason is None, (node.name, path, reason)

    async def close(self) -> None:
        for node in self.nodes:
            await node.close()


@asynccontextmanager
async def servers(count: int = 2, *, min_copies: int = 1) -> AsyncIterator[Servers]:
    """Nothing may be left open at the end."""
    running = Servers(count, min_copies=min_copies)
    try:
        yield running
    finally:
        await running.close()
    for node in running.nodes:
        assert node.store.open_stagings == 0, node.name
        assert node.store.open_copies == 0, node.name
