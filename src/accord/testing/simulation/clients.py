"""Clients: they read, write, delete, copy, move, restore and resolve, through any server, as the seed has it.

Each remembers what it was shown, and writes on top of that, perhaps much later. What they were told goes into the ledger; what must
hold of it is left to `checks`.
"""

from __future__ import annotations

import asyncio
from random import Random

from accord.engine.deciding import Refused, Wish
from accord.engine.read import Verify
from accord.engine.write import Written
from accord.errors import AccordError
from accord.model.names import DigestPrefix, FilePath
from accord.model.verdict import Kind, Verdict
from accord.model.versions import Context
from accord.model.writing import Conditions
from accord.testing.simulation import checks, requests
from accord.testing.simulation.ledger import Deed, Id, Outcome, digest_of
from accord.testing.simulation.server import Server
from accord.testing.simulation.world import World

_DEEDS = ("read", "read", "put", "put", "put seen", "put seen", "put matching", "put new", "delete", "delete seen")
_RARE = ("copy", "move", "restore", "resolve", "resolve", "reread")
RARELY = 0.25


class Client:
    """`paths` are those it works on."""

    def __init__(self, world: World, name: str, paths: list[FilePath], random: Random) -> None:
        self._world = world
        self._name = name
        self._paths = paths
        self._random = random
        self._shown: dict[FilePath, tuple[Context, set[Id], Verdict]] = {}

    async def work(self, requests_count: int, pause_s: float) -> None:
        for _ in range(requests_count):
            await asyncio.sleep(self._random.expovariate(1 / pause_s))
            up = self._world.up
            if not up:
                continue
            server = self._random.choice(up).server
            assert server is not None
            path = self._random.choice(self._paths)
            deed = self._random.choice(_RARE if self._random.random() < RARELY else _DEEDS)
            try:
                await self._do(server, path, deed)
            except (Refused, AccordError) as error:
                self._tell(f"{deed} {path} at {server.name}: {error}")

    async def _do(self, server: Server, path: FilePath, deed: str) -> None:
        match deed.split():
            case ["read"]:
                await self._read(server, path, Verify.STAT)
            case ["reread"]:
                await self._read(server, path, Verify.CONTENT)
            case ["put", *how]:
                await self._write(server, path, self._new_content(path), "".join(how))
            case ["delete", *how]:
                await self._write(server, path, None, "".join(how))
            case ["copy" | "move"]:
                await self._copy(server, path, moves=deed == "move")
            case ["restore"]:
                await self._restore(server, path)
            case ["resolve"]:
                await self._resolve(server, path)

    def _new_content(self, path: FilePath) -> bytes:
        sizes = (0, 0, 30, 100, 1_500, 9_000, 20_000)
        return self._world.ledger.new_content(path, self._random.choice(sizes))

    async def _read(self, server: Server, path: FilePath, verify: Verify) -> Verdict | None:
        part = None if self._random.random() < 0.8 else tuple(sorted(self._random.randrange(12_000) for _ in range(2)))
        wants_content = self._random.random() < 0.7
        work = requests.read(server, path, verify, wants_content=wants_content, part=part)  # type: ignore[arg-type]
        done = await self._world.ask(server, work)
        if done is None:
            return None
        verdict = done.verdict
        states = " ".join(f"{one.name}={one.state.value}" for one in verdict.servers)
        self._tell(f"reads {path} at {server.name}: {verdict.kind.value} ({states})")
        checks.read(self._world, path, done)
        self._shown[path] = verdict.seen(), self._world.ledger.ids(verdict), verdict
        return verdict

    async def _write(self, server: Server, path: FilePath, content: bytes | None, how: str) -> None:
        shown = self._shown.get(path)
        conditions, takes_over = Conditions(), None
        if how == "seen" and shown is not None:
            conditions, takes_over = Conditions(seen=shown[0]), shown[1]
        elif how == "matching" and shown is not None:
            digests = frozenset(held.version.digest for held in shown[2].versions if held.version.digest is not None)
            conditions = Conditions(matches=digests)
        elif how == "new":
            conditions = Conditions(is_new=True)
        await self._conduct(server, path, content, conditions, takes_over)

    async def _conduct(
        self, server: Server, path: FilePath, content: bytes | None, conditions: Conditions, takes_over: set[Id] | None
    ) -> None:
        """One write with its entry in the ledger. `takes_over` None: what the server finds at that moment."""
        world = self._world
        deed = world.ledger.begin(path, None if content is None else digest_of(content), world.loop.time())
        deed.takes_over, deed.conditions = set(takes_over or ()), conditions
        wish = Wish(conditions, author=deed.id, min_copies=self._min_copies())
        work = requests.delete(server, path, wish) if content is None else requests.put(server, path, content, wish)
        self._tell(f"{'deletes' if content is None else 'puts'} {path} at {server.name} as {deed.id} ({conditions})")
        try:
            written = await world.ask(server, work)
        except Refused:
            deed.outcome = Outcome.REFUSED
            raise
        finally:
            self._note_what_was_shown(server, deed, path)
        if written is not None:
            self._acknowledged(server, deed, written)

    def _note_what_was_shown(self, server: Server, deed: Deed, *paths: FilePath) -> None:
        ledger = self._world.ledger
        for path in paths:
            verdict = server.decider.shown.pop((deed.id, path), None)
            if verdict is not None:
                if deed.conditions is None or deed.conditions.seen is None:
                    deed.takes_over |= ledger.ids(verdict)
                deed.ends |= ledger.known(deed.takes_over, _covered(deed, verdict))

    def _acknowledged(self, server: Server, deed: Deed, written: Written) -> None:
        deed.outcome, deed.stored = Outcome.ACKNOWLEDGED, written.stored
        self._tell(f"is told that {deed.id} of {deed.path} is on {', '.join(written.stored)}")
        checks.acknowledged(self._world, deed, written)
        if self._random.random() < 0.3:
            verdict = written.verdict
            self._shown[deed.path] = verdict.seen(), self._world.ledger.ids(verdict), verdict

    async def _copy(self, server: Server, source: FilePath, *, moves: bool) -> None:
        path = self._random.choice(self._paths)
        await self._copied(server, source, None, path, moves=moves and path != source)

    async def _restore(self, server: Server, path: FilePath) -> None:
        digests = sorted(self._world.ledger.of_path.get(path, ()))
        if digests:
            digest = self._random.choice(digests)
            await self._copied(server, path, DigestPrefix(digest.hex()), path, moves=False)

    async def _copied(
        self, server: Server, source: FilePath, version: DigestPrefix | None, path: FilePath, *, moves: bool
    ) -> None:
        world, ledger = self._world, self._world.ledger
        ledger.of_path.setdefault(path, set()).update(ledger.of_path.get(source, ()))
        deed = ledger.begin(path, None, world.loop.time())
        deed.may_be = set(ledger.of_path[path])
        ledger.copying.setdefault(source, []).append(deed)
        deed.source = source if moves else None
        wish = Wish(author=deed.id, min_copies=self._min_copies())
        self._tell(f"{'moves' if moves else 'copies'} {source} to {path} at {server.name} as {deed.id} ({version})")
        try:
            written = await world.ask(server, requests.copy(server, source, version, path, wish, moves=moves))
        except Refused:
            deed.outcome = Outcome.REFUSED
            raise
        finally:
            self._note_what_was_shown(server, deed, path, source)
        if written is not None:
            ledger.copying[source].remove(deed)
            deed.digest = written.version.digest
            self._acknowledged(server, deed, written)

    async def _resolve(self, server: Server, path: FilePath) -> None:
        """A person looks, and chooses one of the rivals, or writes something of both."""
        verdict = await self._read(server, path, Verify.STAT)
        if verdict is None or verdict.kind is not Kind.DIVERGED:
            return
        await asyncio.sleep(self._random.random() * 3)
        contents = [held.version.digest for held in verdict.versions if held.version.digest is not None]
        content: bytes | None = self._new_content(path)
        if contents and self._random.random() < 0.6:
            content = self._world.ledger.contents.get(self._random.choice(contents), content)
        seen = verdict.seen(), self._world.ledger.ids(verdict)
        await self._conduct(server, path, content, Conditions(seen=seen[0]), seen[1])

    def _min_copies(self) -> int | None:
        count = len(self._world.machines)
        return None if self._random.random() < 0.6 else self._random.randint(1, count)

    def _tell(self, what: str) -> None:
        self._world.tell(self._name, what)


def _covered(deed: Deed, verdict: Verdict) -> Context:
    """The events that the write could take the place of. What is known of one server's is all up to some number: what that made after
    an event that the writer was not shown (no bytes of it were to be had) the write cannot take the place of, either."""
    if deed.conditions is None or deed.conditions.seen is None:
        return verdict.seen()
    known, seen = verdict.clock.context(), deed.conditions.seen
    return {actor: min(counter, known.get(actor, 0)) for actor, counter in seen.items()}
