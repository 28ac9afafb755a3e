"""One life of a simulated server: the real store and the real engine, put together as `accord.serving` does it.

What it is asked for comes from `sim_peers` of the others, and from the clients of `workload`; what happens to its disk, from `world`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from accord.engine.copy import Copier
from accord.engine.debts import Payer
from accord.engine.deciding import Decider, Wish
from accord.engine.heal import Healer
from accord.engine.heal_queue import HealQueue
from accord.engine.history import Historian
from accord.engine.mending import Mender
from accord.engine.peer_requests import Work
from accord.engine.read import Reader
from accord.engine.recheck import Recheck
from accord.engine.requests import Requests
from accord.engine.retention import Retention, tombstones_kept_s
from accord.engine.scan import Scanner
from accord.engine.scrub import Scrubber
from accord.engine.strangers import Strangers
from accord.engine.sync import Syncer
from accord.engine.update import Updater
from accord.engine.write import Writer
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Answer, Verdict
from accord.model.versions import OutsideChanges
from accord.server.peer_doubts import Doubts
from accord.store.directory import DirectoryStore, open_directory_store
from accord.testing.simulation.descriptors import MOUNTS
from accord.testing.simulation.kernel import Kernel
from accord.testing.simulation.network import Network
from accord.testing.simulation.processes import Process
from accord.testing.simulation.sim_peers import SimPeers
from accord.testing.simulation.standins import SimulatedPath

HASH_WAIT_S = 5.0
SCRUB_BYTES_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The cluster's configuration. Waits are as short as a simulation wants them; `keep_tombstones_days` is the real one."""

    outside_changes: OutsideChanges = OutsideChanges.DISPUTE
    min_copies: int = 1
    keep_versions: int = 10
    keep_days: int = 30
    keep_tombstones_days: int = 90
    sync_every_s: float = 15.0
    scan_every_s: float = 20.0
    scrub_every_s: float = 60.0


async def _reported(question: bytes) -> bytes:
    return b"{}"


class ObservedDecider(Decider):
    """The real one; `shown` keeps on which verdict each author's write to a path was decided."""

    shown: dict[tuple[str, FilePath], Verdict]

    def check(self, verdict: Verdict, answers: Mapping[ServerName, Answer], wish: Wish, *, deletes: bool) -> None:
        self.shown[wish.author, verdict.path] = verdict
        super().check(verdict, answers, wish, deletes=deletes)


class Server:
    """`start` makes it; it then answers until its process ends. What is public here is what others reach."""

    def __init__(
        self,
        name: ServerName,
        others: Sequence[ServerName],
        process: Process,
        network: Network,
        kernel: Kernel,
        settings: Settings,
        now_ns: Callable[[], int],
    ) -> None:
        self.name = name
        self.process = process
        self.settings = settings
        self.now_ns = now_ns
        self._network = network
        self._kernel = kernel
        self.peers = SimPeers(name, others, network, process)
        self.store: DirectoryStore

    async def start(self) -> None:
        """Opens the store, which may itself be cut short by a crash."""
        settings = self.settings
        self.store = await open_directory_store(
            SimulatedPath(f"{MOUNTS}{self.process.disk.number}"),
            self.name,
            outside_changes=settings.outside_changes,
            now_ns=self.now_ns,
            fsync=self._kernel.fsync,
            keep_versions=settings.keep_versions,
            keep_days=settings.keep_days,
        )
        self._put_together()
        await self._begin()

    def _put_together(self) -> None:
        store, peers, now_s = self.store, self.peers, self._network.loop.time
        self.payer = Payer(store, peers)
        peers.on_up(self.payer.pay)
        kept_s = tombstones_kept_s(self.settings.keep_tombstones_days, self.settings.keep_days)
        self.strangers = Strangers(store, peers, keep_tombstones_s=kept_s, now_ns=self.now_ns)
        is_stranger = self.strangers.is_stranger
        self.healer = Healer(
            store, now_s=now_s, given_up=lambda path: self.healing.suggest(path), is_stranger=is_stranger
        )
        self.reader = Reader(
            self.name,
            store,
            peers,
            self.healer,
            hash_wait_s=HASH_WAIT_S,
            lacking=lambda path: self.healing.suggest(path),
        )
        self.updater = Updater(
            store, peers, self.reader, hash_wait_s=HASH_WAIT_S, keep_tombstones_s=kept_s, is_stranger=is_stranger
        )
        self.healing = HealQueue(self.updater, look_again=self.reader.look_again)
        self.decider = ObservedDecider(
            self.name, store, peers, now_ns=self.now_ns, now_s=now_s, hash_wait_s=HASH_WAIT_S
        )
        self.decider.shown = {}
        self.writer = Writer(self.decider, self.reader, min_copies=self.settings.min_copies, unpaid=self.payer.pay)
        self.historian = Historian(self.name, store, peers)
        self.copier = Copier(self.writer, self.historian)
        self.doubts = Doubts(store, wait_s=HASH_WAIT_S)
        self.retention = Retention(store, keep_tombstones_s=kept_s, now_ns=self.now_ns)
        self._put_upkeep_together()

    def _put_upkeep_together(self) -> None:
        """What a server does of itself."""
        store, peers, settings = self.store, self.peers, self.settings
        self.mender = Mender(store, self.healing)
        self.syncer = Syncer(
            store,
            peers,
            self.healing,
            self.reader,
            self.strangers,
            every_s=settings.sync_every_s,
            now_ns=self.now_ns,
        )
        self.recheck = Recheck(store, self.reader, self.mender, self.strangers)
        self.scanner = Scanner(store, self.mender, every_s=settings.scan_every_s, now_ns=self.now_ns)
        self.scrubber = Scrubber(
            store,
            self.mender,
            every_s=settings.scrub_every_s,
            bytes_per_s=SCRUB_BYTES_PER_S,
            share=1.0,
            now_ns=self.now_ns,
        )
        self.requests = Requests(
            store,
            begins={Work.SCAN: self.scanner.order, Work.SCRUB: self.scrubber.order, Work.SYNC: self.syncer.order},
            reported=_reported,
        )
        peers.on_up(self._up)

    async def _begin(self) -> None:
        await self.strangers.begin()
        self.retention.start()
        self.payer.start()
        self.syncer.start()
        self.recheck.start()
        self.scanner.start()
        self.scrubber.start()
        self.peers.start()

    def _up(self, peer: ServerName) -> None:
        self.healing.wake(peer)
        self.recheck.up(peer)
        self.syncer.up(peer)

    def suggest(self, path: FilePath) -> None:
        self.healing.suggest(path)

    async def stop(self) -> None:
        """In order, as a person stops it."""
        for part in (self.scrubber, self.scanner, self.recheck, self.syncer, self.payer, self.retention, self.mender):
            await part.close()
        await self.healing.close()
        await self.reader.close()
        await self.healer.settle()
        await self.doubts.close()
        await self.store.close()

    @property
    def is_degraded(self) -> bool:
        return not self.store.takes_in()


async def until(condition: Callable[[], bool], *, limit_s: float, every_s: float = 0.5) -> bool:
    """Whether it came about within that time."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + limit_s
    while not condition():
        if loop.time() >= deadline_s:
            return False
        await asyncio.sleep(every_s)
    return True
