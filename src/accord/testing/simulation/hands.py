"""Other hands on the disks: people and programs that change files behind Accord's back, and disks that go bad.

Before anything is destroyed, the ledger is told: what nobody else has is then excused from being found again.
"""

from __future__ import annotations

from accord.model.names import Digest, FilePath
from accord.model.versions import Actor, OutsideChanges
from accord.store.records import Stat
from accord.testing.simulation import tampering
from accord.testing.simulation.disk import File
from accord.testing.simulation.kernel_values import status_of
from accord.testing.simulation.ledger import Deed, Id, digest_of
from accord.testing.simulation.world import Machine, World

PRIVATE = ".accord/"
VERSIONS = PRIVATE + "versions/"


def file_at(machine: Machine, path: str) -> File | None:
    return tampering.file_at(machine.disk, path)


def edit(world: World, machine: Machine, path: FilePath, content: bytes, *, in_place: bool) -> None:
    """New content, or old content that is put back."""
    ledger, digest = world.ledger, world.ledger.knows(path, content)
    destroys(world, machine, path)
    taken = _supersedes(world, machine, path)
    if tampering.put(machine.disk, path, content, in_place=in_place):
        ledger.by_hand.add((path, digest))
        if str(digest) not in ledger.deeds:
            ledger.outside(path, digest, world.loop.time(), taken)
        ledger.deeds[str(digest)].takes_over |= taken - {str(digest)}
        world.tell(machine.name, f"somebody writes {digest.hex()[:8]} to {path}")


def vanish(world: World, machine: Machine, path: FilePath) -> None:
    destroys(world, machine, path)
    tampering.remove(machine.disk, path)
    world.tell(machine.name, f"somebody removes {path}")


def truncate(world: World, machine: Machine, path: FilePath, size: int) -> None:
    file = file_at(machine, path)
    assert file is not None
    edit(world, machine, path, bytes(file.content[:size]), in_place=True)


def touch(world: World, machine: Machine, path: FilePath) -> None:
    file = file_at(machine, path)
    assert file is not None
    tampering.touch(machine.disk, path)
    if file.is_rotten:
        _may_be_taken_for_a_change(world, machine, path, file)
    world.tell(machine.name, f"somebody touches {path}")


def rot(world: World, machine: Machine, name: str) -> None:
    """A bit changes, and nothing shows it. `name` is any file of the disk."""
    file = file_at(machine, name)
    if file is None or not file.content:
        return
    _destroys(world, machine, file)
    tampering.flip(file, world.random.randrange(len(file.content)), world.random.randrange(8))
    if not name.startswith(PRIVATE):  # whoever touches it then makes a version of what he sees
        world.ledger.knows(FilePath(name), bytes(file.content))
        if not _is_vouched_for(machine, FilePath(name)):
            _may_be_taken_for_a_change(world, machine, FilePath(name), file)
    world.tell(machine.name, f"{name} rots")


def _is_vouched_for(machine: Machine, path: FilePath) -> bool:
    """Whether stat data vouch for what is recorded: of a file that was recorded right after it had changed they do not, and whether it
    rots or is changed then, nobody can tell."""
    record = machine.server.store._index.get(path) if machine.server is not None else None
    file = file_at(machine, path)
    if record is None or file is None:
        return False
    now = status_of(file, machine.disk)
    return record.vouching() == Stat(now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev)


def _may_be_taken_for_a_change(world: World, machine: Machine, path: FilePath, file: File) -> None:
    """What rotted is then what somebody wrote."""
    digest = digest_of(file.content)
    if str(digest) not in world.ledger.deeds:
        world.ledger.outside(path, digest, world.loop.time(), set())
    world.ledger.deeds[str(digest)].takes_over |= _taken_over_by_rot(world, machine, path) - {str(digest)}


def _taken_over_by_rot(world: World, machine: Machine, path: FilePath) -> set[Id]:
    """As for a change by hand; what had been there before it rotted is not told apart here."""
    if world.settings.outside_changes is not OutsideChanges.ADOPT:
        return set()
    return {deed.id for deed in world.ledger.at(path)}


def lose_sector(world: World, machine: Machine, name: str) -> None:
    file = file_at(machine, name)
    if file is None or (not name.startswith(PRIVATE) and not _is_recorded(machine, FilePath(name))):
        return  # what nobody has ever read stays in its place for ever: it may be anything
    _destroys(world, machine, file)
    file.is_unreadable = file.is_rotten = True
    world.tell(machine.name, f"{name} cannot be read any more")


def _is_recorded(machine: Machine, path: FilePath) -> bool:
    return machine.server is not None and machine.server.store._index.get(path) is not None


def lose_disk(world: World, machine: Machine) -> None:
    """Another one, empty, in its place. The server is down."""
    assert machine.process is None or not machine.process.is_alive
    for deed in world.ledger.deeds.values():
        _excuse_unless_elsewhere(world, machine, deed)
    number, machine.has_lost_its_index = machine.disk.number, True
    machine.disk = world.new_disk(number, machine.skew_ns)
    world.tell(machine.name, "has lost its disk")


def lose_index(world: World, machine: Machine) -> None:
    """The index is gone, the files are not. The server is down."""
    for deed in world.ledger.deeds.values():
        _excuse_unless_elsewhere(world, machine, deed)
    if file_at(machine, PRIVATE + "index.db") is not None:
        tampering.remove(machine.disk, PRIVATE + "index.db")
        machine.has_lost_its_index = True
        world.tell(machine.name, "has lost its index")


def fail_sync(machine: Machine) -> None:
    machine.disk.failing_syncs += 1


def destroys(world: World, machine: Machine, path: FilePath) -> None:
    world.ledger.handled[machine.name, path] = world.loop.time()
    file = file_at(machine, path)
    if file is not None:
        _destroys(world, machine, file)


def _destroys(world: World, machine: Machine, file: File) -> None:
    """The content of that file is about to be lost: whoever's last good copy it is, is excused."""
    digest = digest_of(file.content)
    left = {name for other in world.machines.values() for name, one in _good_copies(other, digest) if one is not file}
    if any(name.startswith(VERSIONS) for name in left):
        return
    for deed in world.ledger.deeds.values():
        if (deed.digest == digest or digest in deed.may_be) and deed.path not in left:
            deed.is_excused = True


def _excuse_unless_elsewhere(world: World, machine: Machine, deed: Deed) -> None:
    others = [other for other in world.machines.values() if other is not machine]
    known = any(_knows(other, deed) for other in others)
    held = deed.digest is None or any(_good_copies(other, deed.digest) for other in others)
    if not (known and held):
        deed.is_excused = True


def _good_copies(machine: Machine, digest: Digest) -> list[tuple[str, File]]:
    """Those that a crash would leave, and that can be read."""
    return [
        (name, one)
        for name, one in machine.disk.durable_files()
        if not one.is_unreadable and one.synced is not None and digest_of(one.synced) == digest
    ]


def _knows(machine: Machine, deed: Deed) -> bool:
    if machine.server is None:
        return False
    record = machine.server.store._index.get(deed.path)
    context = record.clock.context() if record is not None else {}
    return bool(deed.dots) and all(context.get(dot.actor, 0) >= dot.counter for dot in deed.dots)


def _supersedes(world: World, machine: Machine, path: FilePath) -> set[Id]:
    """What an outside change takes the place of: what was on that disk, under `adopt`; otherwise nothing that anybody else wrote."""
    if world.settings.outside_changes is not OutsideChanges.ADOPT:
        return set()
    file = file_at(machine, path)
    on_disk: set[Digest | None] = {digest_of(file.content) if file is not None else None}
    record = machine.server.store._index.get(path) if machine.server is not None else None
    if record is not None:
        on_disk.add(record.digest)
    if machine.server is None:
        on_disk |= {None, *world.ledger.of_path.get(path, set())}
    taken = [
        deed
        for deed in world.ledger.at(path)
        if deed.digest in on_disk or deed.may_be & on_disk or (None in on_disk and deed.source == path)
    ]
    # What is known of a server's events is all up to some number: its older rivals go with what is taken over. (A write that nobody
    # acknowledged has no events in the ledger; the record may have them.)
    current = record.clock.current() if record is not None else []
    newest: dict[Actor, int] = {}
    for dot in (*(dot for deed in taken for dot in deed.dots), *(dot for dot, one in current if one.digest in on_disk)):
        newest[dot.actor] = max(dot.counter, newest.get(dot.actor, 0))
    older = {deed.id for deed in world.ledger.at(path) if any(n <= newest.get(actor, 0) for actor, n in deed.dots)}
    older |= {world.ledger.id_of(one) for dot, one in current if dot.counter <= newest.get(dot.actor, 0)}
    return {deed.id for deed in taken} | older
