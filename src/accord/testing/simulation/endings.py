"""What must hold once all faults are over: what was acknowledged is there, what was superseded is not, and all servers agree.

The truth is taken from the disks and the clocks; the verdicts that clients are given are held against it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from accord.engine.heal_queue import LAST_PAUSE_S
from accord.engine.read import Verify
from accord.engine.runs import EVERYTHING
from accord.model.fingerprints import WHOLE
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Kind
from accord.model.versions import Clock, Version, found_actor, is_found
from accord.peers.port import PeerState
from accord.testing.simulation import requests
from accord.testing.simulation.checks import current
from accord.testing.simulation.hands import file_at
from accord.testing.simulation.ledger import Deed, Id, Outcome, digest_of
from accord.testing.simulation.server import Server

if TYPE_CHECKING:
    from accord.testing.simulation.world import Machine, World

ROUNDS = 4
"""So many rounds of synchronisation, after the last fault, may it take until everybody has everything."""
SETTLING_S = 20.0
"""Beside them: servers start, connections come up. What failed often is tried again within `LAST_PAUSE_S`."""
LAST_ORDER = 7
"""Once more everything is scanned and scrubbed, so that what other hands and bad disks did is known."""
MAX_PATHS = 1_000


async def calm(world: World) -> None:
    """The last fault is over: the network is whole, disks have room, servers that were down or degraded are started."""
    world.tell("WORLD", "all faults end")
    world.network.blocked.clear()
    world.network.weather = type(world.network.weather)()
    world.network_changed()
    for machine in world.machines.values():
        machine.disk.is_full = False
        machine.disk.failing_syncs = 0
        if machine.process is not None:
            machine.process.spare()
        if machine.server is not None and machine.server.is_degraded:
            await world.stop(machine.name)
    for machine in world.machines.values():
        if not await world.start(machine.name):
            world.violated(f"{machine.name} does not start")
    for server in _servers(world):
        server.scanner.order(LAST_ORDER, EVERYTHING)
        server.scrubber.order(LAST_ORDER, EVERYTHING)


async def converge(world: World) -> None:
    """Wait until nothing is left to be done; it must come about within `ROUNDS`."""
    settings = world.settings
    limit_s = world.loop.time() + ROUNDS * settings.sync_every_s + settings.scan_every_s + SETTLING_S + LAST_PAUSE_S
    left = await _left(world)
    while left and world.loop.time() < limit_s:
        await asyncio.sleep(2.0)
        left = await _left(world)
    for what in left:
        world.violated(f"not converged: {what}")
    world.tell("WORLD", "has settled" if not left else "does not settle")


async def _left(world: World) -> list[str]:
    """What keeps the servers from being at rest and of one mind."""
    left = []
    strange = await _left_alone(world)
    items = []
    for machine in world.machines.values():
        server = machine.server
        if server is None:
            return [f"{machine.name} is down"]
        if any(status.state is not PeerState.UP for status in server.peers.statuses()):
            left.append(f"{machine.name} is not connected to everybody")
        for name, run in (("scan", server.scanner.progress()), ("scrub", server.scrubber.progress())):
            if LAST_ORDER not in run.ended_orders:
                left.append(f"{machine.name} has yet to {name}: {run}")
        progress = server.healing.progress()
        failing = {failure.path for failure in progress.failures} & {str(path) for path in strange}
        if progress.queued + progress.running > len(failing):
            left.append(f"{machine.name} has {progress.queued} paths to heal: {progress.failures}")
        if _owes(server, strange):
            left.append(f"{machine.name} owes {dict(server.store.debts())}")
        unmended = [path for path in await server.store.unmended(None, MAX_PATHS) if path not in strange]
        if [path for path in unmended if not _is_lost(world, path)]:
            records = [server.store._index.get(path) for path in unmended]
            left.append(f"{machine.name} lacks {unmended}: {records}")
        marks = (await server.store.items([WHOLE], MAX_PATHS))[0]
        items.append({item for item in marks if item.path not in strange})
    if any(one != items[0] for one in items):
        union, common = set.union(*items), set.intersection(*items)
        left.append(f"the servers know {sorted({item.path for item in union - common})} differently")
    return left


def _owes(server: Server, strange: set[FilePath]) -> bool:
    """What cannot be taken over stays owed."""
    debts = server.store._index.debts
    return any(
        one.lost or any(path not in strange for path, _ in debts.oldest(name, MAX_PATHS, 0))
        for name, one in server.store.debts().items()
    )


async def _left_alone(world: World) -> set[FilePath]:
    strange: set[FilePath] = set()
    for machine in world.up:
        assert machine.server is not None
        strange.update(await machine.server.store.estranged(None, MAX_PATHS))
    if strange and not world.ledger.had_absence:
        world.violated(f"estranged without any absence: {sorted(strange)}")
    return strange | {path for path in _paths(world) if any(_is_sealed(machine, path) for machine in world.up)}


def _is_sealed(machine: Machine, path: FilePath) -> bool:
    """Whether a file is at the path that cannot be read, and never was: it may be anything, and nothing takes its place."""
    file, server = file_at(machine, path), machine.server
    return file is not None and file.is_unreadable and server is not None and server.store._index.get(path) is None


def _is_lost(world: World, path: FilePath) -> bool:
    """Whether a version is current of which no disk has good bytes."""
    clocks = [_clock(server, path) for server in _servers(world)]
    return any(version.digest is not None and not _good(world, version.digest) for version in current(clocks).values())


async def check(world: World) -> None:
    """All of it, path by path."""
    strange = await _left_alone(world)
    for path, (name, since_s) in world.ledger.strange.items():
        _does_not_spread(world, path, name, since_s)
    counters: dict[tuple[FilePath, object], Version] = {}
    for path in sorted(_paths(world)):
        _counters_are_used_once(world, path, counters)
        if path in strange:
            continue
        clocks = [_clock(server, path) for server in _servers(world)]
        roots = current(clocks)
        _nothing_is_lost(world, path, roots.values())
        await _verdicts_are_true(world, path, {version.digest for version in roots.values()})


def _nothing_is_lost(world: World, path: FilePath, roots: object) -> None:
    ledger = world.ledger
    versions: list[Version] = list(roots)  # type: ignore[call-overload]
    deeds = [deed for deed in ledger.deeds.values() if deed.path == path]
    shown = {ledger.id_of(version) for version in versions}
    excused = {deed.id for deed in deeds if deed.is_excused}
    covered = ledger.covered(shown | excused | _forgotten(world, deeds))
    for deed in deeds:
        if deed.outcome is Outcome.ACKNOWLEDGED and deed.id not in covered:
            world.violated(f"lost: {deed.id} of {path}, acknowledged by {', '.join(deed.stored)}; there is {shown}")
    _nothing_comes_back(world, path, {version.digest for version in versions}, deeds)


def _forgotten(world: World, deeds: list[Deed]) -> set[Id]:
    """Deletions that were made so long ago that nobody need remember them."""
    age_s = world.settings.keep_tombstones_days * 86_400
    return {deed.id for deed in deeds if world.loop.time() - deed.at_s > age_s}


def _nothing_comes_back(world: World, path: FilePath, shown: set[Digest | None], deeds: list[Deed]) -> None:
    """What an acknowledged write took the place of is current no more; nor is what a deletion deleted."""
    told = [deed for deed in deeds if deed.outcome is Outcome.ACKNOWLEDGED and not deed.is_excused]
    sound = {deed.id: deed for deed in told}
    for old in _forgotten(world, deeds):
        sound.pop(old, None)
    superseded = {one for deed in sound.values() for one in deed.ends}
    for digest in shown - {None}:
        certain = {deed.id for deed in deeds if deed.digest == digest}
        makers = certain | {deed.id for deed in deeds if digest in deed.may_be}
        if digest is not None and not certain and _was_found(world, path, digest):
            continue  # it was there before anybody wrote; that a copy or a move may have made it too says nothing
        if digest is not None and not certain and (path, digest) in world.ledger.by_hand:
            continue  # somebody put it there who had put it somewhere else before
        if makers and makers <= superseded:
            clocks = {server.name: _clock(server, path) for server in _servers(world)}
            world.violated(f"back at {path}: {makers}, which had been superseded; the clocks are {clocks}")


def _was_found(world: World, path: FilePath, digest: Digest) -> bool:
    """Whether it is current as content that was found, not written."""
    dots = (dot for server in _servers(world) for dot, _ in _clock(server, path).current())
    return any(dot.actor == found_actor(digest) for dot in dots)


def _counters_are_used_once(world: World, path: FilePath, counters: dict[tuple[FilePath, object], Version]) -> None:
    for server in _servers(world):
        for dot, version in _clock(server, path).current():
            known = counters.setdefault((path, dot), version)
            if known.digest != version.digest:
                world.violated(f"one counter, two versions: {dot} at {path} on {server.name}")
            if (
                version.digest in world.ledger.found
                and not is_found(dot.actor)
                and version.author not in world.ledger.deeds
                and str(version.digest) not in world.ledger.deeds
            ):
                world.violated(f"found content of {path} is an event of {dot.actor}: {version}")


def _does_not_spread(world: World, path: FilePath, name: ServerName, since_s: float) -> None:
    """Unless somebody has written to it since, or put it there by hand, only that server has what it brought along."""
    holders = {machine.name for machine in world.machines.values() if file_at(machine, path) is not None}
    touched = [deed.at_s for deed in world.ledger.at(path)]
    touched += [at_s for (_, handled), at_s in world.ledger.handled.items() if handled == path]
    if not holders <= {name} and not any(at_s > since_s for at_s in touched):
        world.violated(f"only {name}, which was away for long, had {path}; now {sorted(holders)} have it")


async def _verdicts_are_true(world: World, path: FilePath, contents: set[Digest | None]) -> None:
    if any(digest is not None and not _good(world, digest) for digest in contents):
        return  # its bytes are nowhere: whatever is shown, it is not healed
    if len(contents) > 1:
        kind = Kind.DIVERGED
    elif not contents:
        kind = Kind.MISSING
    else:
        kind = Kind.DELETED if None in contents else Kind.IDENTICAL
    for machine in world.machines.values():
        _holds(world, machine, path, contents)
        server = machine.server
        assert server is not None
        done = await world.ask(server, requests.read(server, path, Verify.STAT, wants_content=True, part=None))
        if done is None:
            world.violated(f"{machine.name} is gone")
        elif done.verdict.kind is not kind:
            world.violated(f"{machine.name} says {path} is {done.verdict.kind.value}; it is {kind.value}")
        elif {held.version.digest for held in done.verdict.versions} != contents:
            world.violated(f"{machine.name} does not show all versions of {path}")
        elif any(body.content is None for body in done.bodies):
            world.violated(f"{machine.name} does not deliver {path}: {done.bodies}")


def _holds(world: World, machine: Machine, path: FilePath, contents: set[Digest | None]) -> None:
    """Good bytes of every version, one of them at the path; nothing there of what was deleted."""
    wanted = {digest for digest in contents if digest is not None}
    file = file_at(machine, path)
    there = None if file is None else digest_of(file.content)
    if (there is None) != (not wanted) or (there is not None and there not in wanted):
        world.violated(f"{machine.name} has {there.hex()[:8] if there else 'nothing'} at {path}, of {len(wanted)}")
    kept = {digest_of(one.content) for name, one in machine.disk.files() if name.startswith(".accord/versions/")}
    if not wanted <= kept | {there}:
        world.violated(f"{machine.name} does not keep every rival of {path}")


def _good(world: World, digest: Digest) -> bool:
    return any(
        digest_of(file.content) == digest and not file.is_unreadable
        for machine in world.machines.values()
        for name, file in machine.disk.files()
        if not name.startswith((".accord/quarantine/", ".accord/staging/"))
    )


def _paths(world: World) -> set[FilePath]:
    return {deed.path for deed in world.ledger.deeds.values()} | set(world.ledger.of_path)


def _servers(world: World) -> list[Server]:
    return [machine.server for machine in world.machines.values() if machine.server is not None]


def _clock(server: Server, path: FilePath) -> Clock:
    record = server.store._index.get(path)
    return record.clock if record is not None else Clock()
