"""One seed from beginning to end: a cluster is set up, clients and chaos have their time, then all must come to rest, and be right."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from accord.model.names import FilePath, ServerName
from accord.model.versions import OutsideChanges
from accord.testing.simulation import endings, tampering
from accord.testing.simulation.chaos import Chaos, moods_of
from accord.testing.simulation.clients import Client
from accord.testing.simulation.network import Weather
from accord.testing.simulation.planting import Planting, nothing
from accord.testing.simulation.server import Settings
from accord.testing.simulation.standins import installed
from accord.testing.simulation.story import Log
from accord.testing.simulation.virtual_loop import UNMEANT, Stuck, VirtualLoop
from accord.testing.simulation.world import World

PATHS = tuple(map(FilePath, ("a.txt", "b.txt", "notes/c.txt", "notes/d.txt", "notes/deep/e.bin", "g", "f")))
MAX_THREAD_DELAY_S = 0.002


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed: `failures` is empty where all was well. `simulated_s` is how long it took in there."""

    seed: int
    failures: tuple[str, ...]
    digest: str
    lines: tuple[str, ...]
    simulated_s: float
    servers: int


def run(seed: int, *, plant: Planting = nothing, moods: Sequence[str] = ()) -> Outcome:
    """The same seed gives the same outcome. `plant` puts a bug into the world; with `moods`, faults are of those."""
    was_collecting = gc.isenabled()
    gc.disable()  # what it finds, and when, would depend on what ran before
    gc.freeze()
    try:
        return _outcome(seed, plant, moods)
    finally:
        gc.collect()  # the world: it is all circles, and nobody else would ever look at it
        gc.unfreeze()
        if was_collecting:
            gc.enable()


def _outcome(seed: int, plant: Planting, moods: Sequence[str]) -> Outcome:
    random = Random(seed)
    loop = VirtualLoop(lambda: random.random() * MAX_THREAD_DELAY_S)
    names = [ServerName(f"server{number}") for number in range(1, random.choice((2, 2, 3, 3, 3, 4, 5)) + 1)]
    world = World(seed, loop, random, names, _settings(random, len(names)))
    with installed(loop, world.kernel, random, world.now_ns, Log(world.story)), plant(world):
        try:
            loop.run_until_complete(_story(world, moods))
        except Stuck as error:
            world.violated(f"stuck: {error}")
        except UNMEANT as error:
            world.violated(f"a client was told {type(error).__name__}: {error}")
        _end(world)
    simulated_s = loop.time() - 1000.0
    return Outcome(seed, tuple(world.failures), world.story.digest(), tuple(world.story.lines), simulated_s, len(names))


async def _story(world: World, moods: Sequence[str]) -> None:
    random = world.random
    paths = random.sample(PATHS, random.randint(2, len(PATHS)))
    _first_files(world, paths)
    for name in world.machines:
        await world.start(name)
    world.network.weather = random.choice((Weather(), Weather(), Weather(0.05, double=0.1, cut=0.3)))
    chaos = Chaos(world, paths, moods_of(random, moods))
    pause_s = random.choice((0.02, 0.3, 1.5))
    clients = [Client(world, f"client{number}", paths, random) for number in range(1, random.randint(1, 3) + 1)]
    await asyncio.gather(
        *(client.work(random.randint(5, 20), pause_s) for client in clients),
        chaos.work(random.randint(3, 14), pause_s * 3),
    )
    await endings.calm(world)
    await endings.converge(world)
    await endings.check(world)


def _settings(random: Random, servers: int) -> Settings:
    policy = OutsideChanges.DISPUTE if random.random() < 0.7 else OutsideChanges.ADOPT
    return Settings(outside_changes=policy, min_copies=random.choice((1, 1, 1, 2, servers)))


def _first_files(world: World, paths: list[FilePath]) -> None:
    """Directories that had files before Accord: the same, different, or on some servers only."""
    for path in paths:
        kind = world.random.choice(("none", "none", "same", "different", "some"))
        content = world.ledger.new_content(path, world.random.choice((0, 50, 6_000)))
        for machine in world.machines.values():
            if kind == "none" or (kind == "some" and world.random.random() < 0.5):
                continue
            if kind == "different":
                content = world.ledger.new_content(path, 40)
            if tampering.put(machine.disk, path, content):
                world.ledger.found.add(world.ledger.knows(path, content))


def _end(world: World) -> None:
    """Everything is let go of."""
    loop = world.loop
    for name in world.machines:
        world.kill(name, power_fails=False)
    loop.set_exception_handler(lambda *_: None)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()  # while files are still closed in the simulation
