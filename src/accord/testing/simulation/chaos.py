"""What goes wrong, and when: faults of the network, of disks and of servers, and other hands on the files, as the seed has it.

A seed has a mood: some faults are frequent in it, others do not occur, so that each is met in simple company, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from accord.model.names import FilePath
from accord.testing.simulation import hands
from accord.testing.simulation.disk import File
from accord.testing.simulation.network import Weather
from accord.testing.simulation.world import Machine, World

DAY_S = 86_400.0
ABSENCE_S = 100 * DAY_S

MOODS: dict[str, dict[str, float]] = {
    "calm": {},
    "network": {"part": 3, "part one way": 2, "mend": 3, "weather": 2},
    "crashes": {"kill": 3, "power": 3, "doom": 5, "stop": 1},
    "hands": {"edit": 4, "edit in place": 2, "vanish": 2, "truncate": 1, "touch": 1, "restore": 2},
    "rot": {"rot": 4, "sector": 2},
    "disks": {"full": 3, "fail sync": 3, "room": 2},
    "loss": {"lose disk": 1, "lose index": 1, "kill": 2},
    "absence": {"absence": 2, "part": 1, "mend": 1},
}
"""How likely each fault is, next to the others of the mood."""
RARE_MOODS: dict[str, dict[str, float]] = {
    "oblivion": {"lose index": 4, "part": 2, "mend": 1},
    "broken lines": {"vanish": 4, "weather": 3, "rot": 1},
}
"""Faults that have to come together for some planted bugs to show. No seed has such a mood by chance."""


def moods_of(random: Random, moods: Sequence[str] = ()) -> dict[str, float]:
    """One mood or several; `moods`, where there are any."""
    names = random.sample(sorted(MOODS), random.choice((1, 1, 2, 2, 3, 4)))
    names = list(moods) or names
    weights: dict[str, float] = {}
    for name in names:
        for fault, weight in {**MOODS, **RARE_MOODS}[name].items():
            weights[fault] = weights.get(fault, 0) + weight
    return weights


class Chaos:
    def __init__(self, world: World, paths: list[FilePath], weights: dict[str, float]) -> None:
        self._world = world
        self._random = world.random
        self._paths = paths
        self._weights = weights
        self._faults: dict[str, Callable[[Machine], Awaitable[None] | None]] = {
            "part": self._part,
            "part one way": self._part_one_way,
            "mend": self._mend,
            "weather": self._weather,
            "kill": lambda machine: world.kill(machine.name, power_fails=False),
            "power": lambda machine: world.kill(machine.name, power_fails=True),
            "doom": self._doom,
            "stop": lambda machine: world.stop(machine.name),
            "edit": lambda machine: self._edit(machine, in_place=False),
            "edit in place": lambda machine: self._edit(machine, in_place=True),
            "restore": self._restore,
            "vanish": self._vanish,
            "truncate": self._truncate,
            "touch": self._touch,
            "rot": lambda machine: self._spoil(machine, hands.rot),
            "sector": lambda machine: self._spoil(machine, hands.lose_sector),
            "full": self._full,
            "fail sync": lambda machine: hands.fail_sync(machine),
            "room": self._room,
            "lose disk": lambda machine: self._lose(machine, hands.lose_disk),
            "lose index": lambda machine: self._lose(machine, hands.lose_index),
            "absence": self._absence,
        }

    async def work(self, count: int, pause_s: float) -> None:
        names, weights = list(self._weights), list(self._weights.values())
        for _ in range(count):
            await asyncio.sleep(self._random.expovariate(1 / pause_s))
            if names:
                machine = self._random.choice(list(self._world.machines.values()))
                done = self._faults[self._random.choices(names, weights)[0]](machine)
                if done is not None:
                    await done
            await self._bring_up()

    async def _bring_up(self) -> None:
        """Servers that are down, or take nothing in, are started again after a while."""
        for machine in self._world.machines.values():
            if machine.server is not None and machine.server.is_degraded and self._random.random() < 0.4:
                await self._world.stop(machine.name)
            if not machine.is_up and self._random.random() < 0.4:
                await self._world.start(machine.name)

    # The network.

    def _part(self, machine: Machine) -> None:
        for other in self._world.machines:
            if other != machine.name and self._random.random() < 0.7:
                self._world.network.blocked |= {(machine.name, other), (other, machine.name)}
        self._told(f"{machine.name} is cut off: {sorted(self._world.network.blocked)}")

    def _part_one_way(self, machine: Machine) -> None:
        other = self._random.choice([name for name in self._world.machines if name != machine.name])
        self._world.network.blocked.add((machine.name, other))
        self._told(f"nothing gets from {machine.name} to {other}")

    def _mend(self, machine: Machine) -> None:
        self._world.network.blocked.clear()
        self._told("the network is whole again")

    def _weather(self, machine: Machine) -> None:
        pick = self._random.choice
        self._world.network.weather = Weather(
            pick((0.004, 0.05, 0.4)), pick((0.0, 0.02, 0.2)), pick((0.0, 0.1, 0.4)), pick((0.0, 0.05, 0.3))
        )
        self._told(f"the network's weather: {self._world.network.weather}")

    def _told(self, what: str) -> None:
        self._world.tell("WORLD", what)
        self._world.network_changed()

    # Servers and disks.

    def _doom(self, machine: Machine) -> None:
        """It is killed in the middle of something."""
        if machine.process is not None and machine.process.is_alive:
            machine.process.doom(self._random.randint(1, 40), power_fails=self._random.random() < 0.6)

    def _full(self, machine: Machine) -> None:
        machine.disk.is_full = True
        self._world.tell(machine.name, "its disk is full")

    def _room(self, machine: Machine) -> None:
        for one in self._world.machines.values():
            one.disk.is_full = False

    def _lose(self, machine: Machine, lose: Callable[[World, Machine], None]) -> None:
        """Only while everybody else is there to say what they know, and remembers what was deleted."""
        world = self._world
        if world.ledger.had_absence:
            return
        world.kill(machine.name, power_fails=False)
        if len(world.up) == len(world.machines) - 1:
            lose(world, machine)

    async def _absence(self, machine: Machine) -> None:
        """So long that deletions are forgotten. The others go on as ever meanwhile."""
        world = self._world
        if len(world.up) < len(world.machines) or world.ledger.had_absence:
            return  # whoever was away himself is no judge of others, by design: two absences may bring back anything
        for other in world.up:
            assert other.server is not None
            if other is not machine and await other.server.store.noted(f"met:{machine.name}") is None:
                return  # and nobody is a stranger to whom he has never met
            if other.server.is_degraded:
                return  # what cannot write down that it is at work was away itself, after a restart
            other.disk.is_full = False
            if other.process is not None:
                other.process.spare()  # or it would be away itself
        self._mend(machine)  # or the others would become strangers to each other
        world.network.weather = Weather()
        await world.stop(machine.name)
        world.ledger.had_absence = True
        world.tell(machine.name, "is away for a long time")
        for _ in range(4):
            await asyncio.sleep(10)
            world.loop.advance(ABSENCE_S / 4)
        await asyncio.sleep(90)
        for path in self._paths:
            if hands.file_at(machine, path) is not None and not any(_knows(other, path) for other in world.up):
                world.ledger.strange[path] = machine.name, world.loop.time()
        await world.start(machine.name)

    # Other hands.

    def _edit(self, machine: Machine, *, in_place: bool) -> None:
        path = self._random.choice(self._paths)
        content = self._world.ledger.new_content(path, self._random.choice((0, 10, 200, 9_000)))
        hands.edit(self._world, machine, path, content, in_place=in_place)

    def _restore(self, machine: Machine) -> None:
        path = self._random.choice(self._paths)
        known = sorted(self._world.ledger.of_path.get(path, ()))
        if known:
            content = self._world.ledger.contents[self._random.choice(known)]
            hands.edit(self._world, machine, path, content, in_place=False)

    def _existing(self, machine: Machine) -> FilePath | None:
        there = [path for path in self._paths if hands.file_at(machine, path) is not None]
        return self._random.choice(there) if there else None

    def _vanish(self, machine: Machine) -> None:
        path = self._existing(machine)
        if path is not None:
            hands.vanish(self._world, machine, path)

    def _truncate(self, machine: Machine) -> None:
        path = self._existing(machine)
        file = hands.file_at(machine, path) if path is not None else None
        if path is not None and file is not None and file.content:
            hands.truncate(self._world, machine, path, self._random.randrange(len(file.content)))

    def _touch(self, machine: Machine) -> None:
        path = self._existing(machine)
        if path is not None:
            hands.touch(self._world, machine, path)

    def _spoil(self, machine: Machine, spoil: Callable[[World, Machine, str], None]) -> None:
        """Of everything that is kept; not of what is just coming in."""
        files = [
            name
            for name, file in machine.disk.files()
            if _holds_content(name) and isinstance(file, File) and file.content and file.dirty_since_s is None
        ]
        if files:
            spoil(self._world, machine, self._random.choice(sorted(files)))


def _knows(machine: Machine, path: FilePath) -> bool:
    server = machine.server
    return server is not None and (
        hands.file_at(machine, path) is not None or server.store._index.get(path) is not None
    )


def _holds_content(name: str) -> bool:
    return name.startswith(".accord/versions/") or not name.startswith(".accord/")
