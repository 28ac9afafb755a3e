"""The machines of a cluster, each with a disk, and what may happen to them: starting, stopping, being killed, losing power.

A machine outlives its processes, a disk outlives both. What is done on purpose is `clients`'s and `chaos`'s; what must hold is
left to `checks` and `endings`.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from accord.errors import AccordError
from accord.model.names import ServerName
from accord.testing.simulation.disk import Disk
from accord.testing.simulation.kernel import Kernel
from accord.testing.simulation.ledger import Ledger
from accord.testing.simulation.network import Network
from accord.testing.simulation.processes import PROCESS, Crash, Process
from accord.testing.simulation.server import Server, Settings
from accord.testing.simulation.story import Story
from accord.testing.simulation.virtual_loop import VirtualLoop

EPOCH_NS = 1_700_000_000 * 10**9
TICK_NS = 4_000_000
"""The kernel stamps files with a clock that ticks so often."""
BURIALS = 100

T = TypeVar("T")

MakeServer = Callable[..., Server]


class Machine:
    """`server` is None while none runs. `skew_ns`: its clock is wrong by that."""

    def __init__(self, name: ServerName, disk: Disk, skew_ns: int) -> None:
        self.name = name
        self.disk = disk
        self.skew_ns = skew_ns
        self.server: Server | None = None
        self.process: Process | None = None
        self.starts = 0
        self.owed: set[tuple[str, str]] = set()
        """What it owed others when it ended."""
        self.has_lost_its_index = False

    @property
    def is_up(self) -> bool:
        return self.server is not None


class World:
    """`make_server` makes the servers of this world: another one than the real, where a bug is planted."""

    def __init__(
        self,
        seed: int,
        loop: VirtualLoop,
        random: Random,
        names: list[ServerName],
        settings: Settings,
        *,
        make_server: MakeServer = Server,
    ) -> None:
        self.seed = seed
        self.loop = loop
        self.random = random
        self.settings = settings
        self.kernel = Kernel(random)
        self.story = Story(loop.time)
        self.ledger = Ledger()
        self.network = Network(loop, random, self.running)
        self.failures: list[str] = []
        self._make_server = make_server
        self.machines = {name: self._machine(number, name) for number, name in enumerate(names, 1)}
        loop.set_exception_handler(self._unexpected)

    def now_ns(self) -> int:
        return EPOCH_NS + round(self.loop.time() * 10**9)

    def running(self, name: ServerName) -> Server | None:
        return self.machines[name].server

    @property
    def up(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if machine.is_up]

    def tell(self, who: str, what: str) -> None:
        self.story.tell(who, what)

    def violated(self, what: str) -> None:
        """Something does not hold that must."""
        self.failures.append(what)
        self.tell("CHECK", what)

    def new_disk(self, machine_number: int, skew_ns: int) -> Disk:
        def stamp_ns() -> int:
            now_ns = self.now_ns() + skew_ns
            return now_ns - now_ns % TICK_NS

        disk = Disk(machine_number, self.loop.time, stamp_ns, journals=self.random.random() < 0.5)
        self.kernel.disks[machine_number] = disk
        return disk

    async def start(self, name: ServerName) -> bool:
        """Whether it runs now. It may be killed while it starts."""
        machine = self.machines[name]
        if machine.process is not None and machine.process.is_alive:
            return machine.is_up
        machine.starts += 1
        process = Process(str(name), machine.disk, self.loop, self._ended)
        machine.process = process
        others = [other for other in self.machines if other != name]
        skew_ns = machine.skew_ns
        server = self._make_server(
            name, others, process, self.network, self.kernel, self.settings, lambda: self.now_ns() + skew_ns
        )
        self.tell(name, "starts")
        try:
            await process.spawn(server.start())
        except (Crash, asyncio.CancelledError):
            self.tell(name, "was killed while it started")
            return False
        except AccordError as error:
            self.tell(name, f"cannot start: {error.detail}")
            process.end(power_fails=False)
            return False
        if not process.is_alive:
            return False
        machine.server = server
        self._still_owed(machine, server)
        self._network_changed()
        return True

    def kill(self, name: ServerName, *, power_fails: bool) -> None:
        process = self.machines[name].process
        if process is not None:
            process.end(power_fails=power_fails)

    async def stop(self, name: ServerName) -> None:
        """In order."""
        machine = self.machines[name]
        server, process = machine.server, machine.process
        if server is None or process is None:
            return
        self.tell(name, "stops")
        machine.server = None
        self._network_changed()
        stopping = process.spawn(server.stop())
        await asyncio.wait([stopping])
        error = None if stopping.cancelled() else stopping.exception()
        if isinstance(error, AccordError):
            self.tell(name, f"does not stop in order: {error.detail}")
        elif error is not None and not isinstance(error, Crash):
            raise error
        process.end(power_fails=False)

    async def ask(self, server: Server, work: Coroutine[Any, Any, T]) -> T | None:
        """Have a client's request done by a server; None where it was gone before it had answered. Raises what the work raises."""
        if not server.process.is_alive:
            work.close()
            return None
        task = server.process.spawn(work)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.cancelled() or isinstance(task.exception(), Crash):
            return None
        result: T = task.result()
        return result

    def _machine(self, number: int, name: ServerName) -> Machine:
        skew_ns = self.random.choice((0, 0, -7_200, 3_600, 86_400)) * 10**9
        return Machine(name, self.new_disk(number, skew_ns), skew_ns)

    def _still_owed(self, machine: Machine, server: Server) -> None:
        """What others were owed durably when the server ended, they are owed now."""
        owed = _owed(server)
        forgotten = machine.owed - owed
        if forgotten and not machine.has_lost_its_index:
            self.violated(f"{machine.name} has forgotten what it owed: {sorted(forgotten)}")
        machine.owed, machine.has_lost_its_index = set(), False

    def _ended(self, process: Process, power_fails: bool) -> None:
        machine = self.machines[ServerName(process.name)]
        if machine.server is not None:
            machine.owed = _owed(machine.server)
        machine.server = None
        self.kernel.close_all(process)
        if power_fails:
            machine.disk.lose_power(self.random)
        self.tell(process.name, "loses power" if power_fails else "ends")
        self.loop.call_soon(self._bury, process, BURIALS)
        self._network_changed()

    def _bury(self, process: Process, tries: int) -> None:
        """Its tasks end; nothing that they do on their way out has any effect."""
        living = self.loop.living(process)
        if not living:
            return
        if not tries:
            self.violated(f"tasks of {process.name} do not end: {living}")
            return
        for task in living:
            task.cancel()
        self.loop.call_later(0.001, self._bury, process, tries - 1)

    def _network_changed(self) -> None:
        for machine in self.machines.values():
            if machine.server is not None:
                machine.server.peers.network_changed()

    def network_changed(self) -> None:
        self._network_changed()

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error that nobody took: of a server that lives, it is a bug."""
        error = context.get("exception")
        process = PROCESS.get()
        if isinstance(error, Crash) or (process is not None and not process.is_alive):
            return
        task = context.get("task") or context.get("future")
        owner = getattr(task, "owner", None)
        if owner is not None and not owner.is_alive:
            return
        at = "".join(traceback.format_tb(error.__traceback__)[-3:]) if error is not None else ""
        self.violated(f"an error that nobody expected: {context.get('message')} {error!r} in {task!r}\n{at}")


def _owed(server: Server) -> set[tuple[str, str]]:
    """Who is owed which path, durably, without those that were settled and not yet written down."""
    debts = server.store._index.debts
    return {(str(name), str(path)) for name in debts.standing() for path, _ in debts.oldest(name, 1_000, 0)}
