"""What must hold while a simulation runs: of every answer, of every body, and at the moment a write is acknowledged.

The rules here are small, and know nothing of the code they check: which versions are current follows from the clocks that were told, by
the definition alone; what is durable, from the disks. What must hold at the end is `endings`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from accord.engine.write import Written
from accord.model.names import Digest, FilePath
from accord.model.verdict import Absent, Answer, Damaged, Deleted, Kind, Known, Present
from accord.model.versions import Clock, Dot, Version
from accord.testing.simulation.ledger import Deed, digest_of

if TYPE_CHECKING:
    from accord.testing.simulation.requests import Body, Read
    from accord.testing.simulation.world import World


def current(clocks: Iterable[Clock]) -> dict[Dot, Version]:
    """The versions that nobody who told has seen superseded: an event is, for whoever knows of it and holds it no longer."""
    told = [(dict(clock.current()), clock.context()) for clock in clocks]
    return {
        dot: version
        for held, _ in told
        for dot, version in held.items()
        if all(dot in others or context.get(dot.actor, 0) < dot.counter for others, context in told)
    }


def read(world: World, path: FilePath, done: Read) -> None:
    answers = [one for one in done.reading.answers.values() if isinstance(one, Present | Absent | Deleted | Damaged)]
    _no_rival_hidden(world, path, done, answers)
    if done.verdict.kind is Kind.MISSING and len(answers) < len(done.reading.answers):
        world.violated(f"{path} is said to be missing, though somebody did not answer")
    for answer in answers:
        if isinstance(answer, Present):
            _known_content(world, path, answer.digest)
    for body in done.bodies:
        _proven(world, path, body)


def _no_rival_hidden(world: World, path: FilePath, done: Read, answers: list[Known]) -> None:
    """Every version that is current and held is shown; what is superseded is not, unless nobody has its successor."""
    unsuperseded = {version.digest for version in current(answer.clock for answer in answers).values()}
    held = {digest for digest in unsuperseded if any(_keeps(answer, digest) for answer in answers)}
    shown = {one.version.digest for one in done.verdict.versions}
    if not held <= shown:
        world.violated(f"hidden at {path}: {_names(held - shown)}, shown {_names(shown)}")
    if shown - unsuperseded - _unclocked(answers) and unsuperseded == held:
        world.violated(f"shown at {path} though superseded: {_names(shown - unsuperseded)}")


def _keeps(answer: Answer, digest: Digest | None) -> bool:
    match answer:
        case Present(digest=there, aside=aside):
            return digest == there or digest in aside
        case Absent(aside=aside) | Damaged(aside=aside):
            return digest in aside
        case Deleted():
            return digest is None
    return False


def _unclocked(answers: Iterable[Known]) -> set[Digest | None]:
    """What is damaged stands for its version although its bytes are not there."""
    return {answer.digest for answer in answers if isinstance(answer, Damaged)}


def _known_content(world: World, path: FilePath, digest: Digest) -> None:
    if digest not in world.ledger.of_path.get(path, ()):
        world.violated(f"a server says to have {digest.hex()[:8]} at {path}, which nobody ever put there")


def _proven(world: World, path: FilePath, body: Body) -> None:
    """Not a byte that is not the version's, at its place; and all of it, where the end was reached."""
    content = world.ledger.contents.get(body.digest)
    if content is None:
        world.violated(f"bytes of {body.digest.hex()[:8]} at {path}, which nobody ever wrote")
        return
    if body.content is not None and body.start == 0 and len(body.content) >= len(content):
        if digest_of(body.content) != body.digest:
            world.violated(f"unproven bytes served as {body.digest.hex()[:8]} of {path}")
    # What is broken off may have been wrong, as the digest of the whole says so at its end; whole blocks of parts may not.
    elif body.content is not None and content[body.start : body.start + len(body.content)] != body.content:
        world.violated(f"wrong bytes served as a part of {body.digest.hex()[:8]} of {path}")


def acknowledged(world: World, deed: Deed, written: Written) -> None:
    """It is durable on each server that was named: cut the power of all of them, and it is still there."""
    digest = written.version.digest
    for name in written.stored:
        machine = world.machines[name]
        server = machine.server
        if server is None or world.ledger.handled.get((name, deed.path), 0.0) >= deed.at_s:
            continue  # it has just gone, or somebody was at it meanwhile; what its disk kept is seen at the end
        dots = _dots(server.store._index.get(deed.path), deed)
        if not dots and not _is_superseded(world, deed):
            world.violated(f"{deed.id} of {deed.path} is acknowledged, but {name} does not know of it")
        deed.dots |= dots
        for dot in dots:
            if world.ledger.makers.setdefault((deed.path, dot), deed.id) != deed.id:
                world.violated(f"one counter, two writes: {dot} of {deed.path}")
        if digest is None or _is_spoilt(world, deed.path, name) or _is_superseded(world, deed):
            continue
        if not _is_durable(world, name, digest):
            world.violated(f"{deed.id} of {deed.path} is acknowledged, but not durable on {name}")


def _dots(record: object, deed: Deed) -> set[Dot]:
    clock = getattr(record, "clock", None)
    return set() if clock is None else {dot for dot, version in clock.current() if version.author == deed.id}


def _is_superseded(world: World, deed: Deed) -> bool:
    """Somebody else was quick: another write on top of it, or other hands, in the moment before the answer came."""
    if deed.is_excused or any(deed.id in other.takes_over for other in world.ledger.deeds.values()):
        return True
    under_way = [
        verdict
        for machine in world.up
        if machine.server is not None
        for (_, path), verdict in machine.server.decider.shown.items()
        if path == deed.path
    ]
    return any(deed.id in world.ledger.ids(verdict) for verdict in under_way)


def _is_durable(world: World, name: str, digest: Digest) -> bool:
    disk = world.machines[name].disk  # type: ignore[index]
    return any(
        file.synced is not None and not file.is_rotten and digest_of(file.synced) == digest
        for _, file in disk.durable_files()
    )


def _is_spoilt(world: World, path: FilePath, name: str) -> bool:
    """What was there already, and stat data vouched for, has gone bad unnoticed."""
    disk = world.machines[name].disk  # type: ignore[index]
    return any(file.is_rotten for one, file in disk.files() if one == path or one.startswith(".accord/versions/"))


def _names(digests: Iterable[Digest | None]) -> str:
    return " ".join(sorted("deletion" if digest is None else digest.hex()[:8] for digest in digests)) or "nothing"
