"""The simulated operating system is true enough: the directory keeps the contract of all stores on it, as on the real one.
It keeps it there also where each restart comes after a power failure, which no test can do to a real disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from random import Random

import pytest

from accord.model.names import Digest, ServerName
from accord.model.versions import OutsideChanges
from accord.store import index_connection
from accord.store.directory import DirectoryStore, open_directory_store
from accord.testing.conformance import KEEP_NS, KEEP_VERSIONS
from accord.testing.simulation import tampering
from accord.testing.simulation.descriptors import MOUNTS
from accord.testing.simulation.disk import Disk, Folder
from accord.testing.simulation.kernel import Kernel
from accord.testing.simulation.processes import PROCESS, Process
from accord.testing.simulation.standins import SimulatedPath, installed
from accord.testing.simulation.story import Log, Story
from accord.testing.simulation.virtual_loop import VirtualLoop
from accord.testing.simulation.world import EPOCH_NS, TICK_NS
from accord.testing.store_conformance import StoreConformance

_DAY_NS = 24 * 3600 * 1_000_000_000
_AHEAD_NS = 1_000_000_000
"""With hashing dated so, no file a test has just written is racy."""


class Ending(Enum):
    """What a restart is."""

    STOPPED = "stopped"
    """In order."""
    JOURNAL = "power fails"
    """On a disk with a journal, once what the store writes in batches has been."""
    BARE = "power fails without a journal"
    """The same on a disk that keeps no more than was asked of it."""


class Machine:
    """An operating system with disks, in the time of the loop that runs."""

    def __init__(self, ending: Ending, random: Random) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.ending = ending
        self.random = random
        self.kernel = Kernel(self.random)

    def now_ns(self) -> int:
        return EPOCH_NS + round(self.loop.time() * 10**9)

    def stamp_ns(self) -> int:
        now_ns = self.now_ns()
        return now_ns - now_ns % TICK_NS

    def new_disk(self) -> Disk:
        number = len(self.kernel.disks) + 1
        disk = self.kernel.disks[number] = Disk(
            number, self.loop.time, self.stamp_ns, journals=self.ending is not Ending.BARE
        )
        return disk


class SimulatedDisk:
    """A simulated disk, and the one server whose processes use it, one after the other."""

    def __init__(self, machine: Machine, policy: OutsideChanges) -> None:
        self._machine = machine
        self._policy = policy
        self._disk = machine.new_disk()
        self._process: Process
        self.store: DirectoryStore

    async def start(self) -> None:
        self._process = Process("server1", self._disk, self._machine.loop, self._ended)
        PROCESS.set(self._process)
        self.store = await open_directory_store(
            SimulatedPath(f"{MOUNTS}{self._disk.number}"),
            ServerName("server1"),
            outside_changes=self._policy,
            now_ns=self.now_ns,
            fsync=self._machine.kernel.fsync,
            keep_versions=KEEP_VERSIONS,
            keep_days=KEEP_NS // _DAY_NS,
        )

    async def stop(self) -> None:
        """In order; nothing is left open."""
        PROCESS.set(self._process)
        await self.store.close()
        assert self._machine.kernel.open_fds(self._process) == 0
        self._process.end(power_fails=False)
        staging = tampering.inode_at(self._disk, ".accord/staging")
        assert isinstance(staging, Folder)
        assert not staging.entries

    async def reopen(self, *, lose_index: bool = False) -> None:
        await (self.stop() if self._machine.ending is Ending.STOPPED else self._lose_power())
        if lose_index:
            tampering.remove(self._disk, ".accord/index.db")
        await self.start()

    async def _lose_power(self) -> None:
        """Once what is written in batches has been."""
        await asyncio.sleep(2 * index_connection.BATCH_S)
        PROCESS.set(self._process)
        self._process.end(power_fails=True)
        living = [task for task in self._machine.loop.living(self._process) if task is not asyncio.current_task()]
        for task in living:
            task.cancel()
        await asyncio.wait(living)

    def _ended(self, process: Process, power_fails: bool) -> None:
        self._machine.kernel.close_all(process)
        if power_fails:
            self._disk.lose_power(self._machine.random)

    def write(self, path: str, content: bytes, *, modified_ns: int | None = None) -> None:
        assert tampering.put(self._disk, path, content, modified_ns=modified_ns)
        self._tick()

    def rewrite(self, path: str, content: bytes) -> None:
        assert tampering.put(self._disk, path, content, in_place=True)
        self._tick()

    def touch(self, path: str) -> None:
        tampering.touch(self._disk, path)
        self._tick()

    def remove(self, path: str) -> None:
        tampering.remove(self._disk, path)
        self._tick()

    def rot(self, path: str) -> None:
        file = tampering.file_at(self._disk, path)
        assert file is not None
        tampering.flip(file, 0, 0)

    def rot_version(self, path: str, digest: Digest) -> None:
        self.rot(f".accord/versions/{digest.hex()[:2]}/{digest.hex()}")

    def make_folder(self, path: str) -> None:
        assert tampering.make_folder(self._disk, path)

    def content(self, path: str) -> bytes | None:
        file = tampering.file_at(self._disk, path)
        return None if file is None else bytes(file.content)

    def pass_time(self, duration_ns: int) -> None:
        self._machine.loop.advance(duration_ns / 10**9)

    def now_ns(self) -> int:
        return self._machine.now_ns() + _AHEAD_NS

    def _tick(self) -> None:
        """Nobody's hands are so quick that the next thing they do is stamped with the same time."""
        self.pass_time(TICK_NS)


@asynccontextmanager
async def simulated(machine: Machine, policy: OutsideChanges) -> AsyncIterator[SimulatedDisk]:
    disk = SimulatedDisk(machine, policy)
    await disk.start()
    yield disk
    await disk.stop()


class TestTheDirectoryOnASimulatedDisk(StoreConformance):
    @pytest.fixture(params=Ending, ids=lambda ending: ending.value)
    async def machine(self, request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
        machine = Machine(request.param, Random(request.node.name))
        log = Log(Story(machine.loop.time))
        with installed(machine.loop, machine.kernel, machine.random, machine.now_ns, log):
            yield machine

    @pytest.fixture
    async def disk(self, machine: Machine) -> AsyncIterator[SimulatedDisk]:
        async with simulated(machine, OutsideChanges.DISPUTE) as disk:
            yield disk

    @pytest.fixture
    async def adopting(self, machine: Machine) -> AsyncIterator[SimulatedDisk]:
        async with simulated(machine, OutsideChanges.ADOPT) as disk:
            yield disk
