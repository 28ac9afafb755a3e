"""One write: check the writer's conditions, take the bytes in here and at the peers at once, make the event, and say who has it.

    begin     a verdict is taken; what it forbids is refused before any content is asked for
    write     each block goes to this server's disk and to every peer that can be asked, in one pass
    finish    under the path's lock: look again, make the event, commit it here, and only then tell it to the peers

The event is durable here before any other server hears of it: a counter that was told and then lost in a crash would be given to other
content. Who did not take it is owed it (`engine.debts`). What a write comes to is decided in `engine.deciding`; copies and moves on the
servers are `engine.copy`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from accord.engine.deciding import Decided, Decider, Look, Step, Wish
from accord.engine.read import Reader, require_known
from accord.engine.replicate import Replicas
from accord.errors import ChangedWhileReading, ContentMismatch, StoreFailed, TooFewCopies, UsageError
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Absent, Answer, Unreachable, Verdict
from accord.model.versions import Version
from accord.store.port import SMALL_CONTENT_BYTES, Committed, Incoming

TRIES = 8
"""How often a commit starts anew when the file is changed behind Accord's back in that very moment."""


@dataclass(frozen=True, slots=True)
class NotStored:
    """A server that has not got a write, and why. It gets it later."""

    name: ServerName
    reason: str


@dataclass(frozen=True, slots=True)
class Written:
    """A write that is durable on `stored`, this server first. `verdict` is the path's afterwards: a race may have made it diverged.
    `is_new`: there was no such file before."""

    path: FilePath
    version: Version
    is_new: bool
    stored: tuple[ServerName, ...]
    missing: tuple[NotStored, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Made:
    """A step that is durable here."""

    step: Step
    decided: Decided
    committed: Committed


class Writer:
    """Writes for the server that `decider` decides for. `min_copies` is how many servers must have a write durably; `unpaid` is told
    who did not get one."""

    def __init__(
        self, decider: Decider, reader: Reader, *, min_copies: int, unpaid: Callable[[ServerName], None]
    ) -> None:
        self.name = decider.name
        self.store = decider.store
        self.peers = decider.peers
        self.now_ns = decider.now_ns
        self.now_s = decider.now_s
        self.reader = reader
        self._decider = decider
        self._min_copies = min_copies
        self._unpaid = unpaid

    async def begin(self, path: FilePath, wish: Wish, *, size: int | None, is_here: bool = False) -> Writing:
        """Raises `Refused`, `Conflict` (something is in the way), `TooFewCopies` (that many servers do not even answer), `DiskFull`,
        `StoreFailed`, or `Unavailable`: no content should be sent then. `is_here`: it is all there already, and whether it is wanted
        may as well be said at the end."""
        guesses = is_here and self._decider.is_likely_new(path)
        look = await (self._guess(path) if guesses else self.look(path, wish, deletes=False))
        replicas = self.replicas(look.answers, wish, size=size)
        try:
            return Writing(self, look, wish, await self.store.receive(size), replicas)
        except BaseException:
            await replicas.close()
            raise

    async def delete(self, path: FilePath, wish: Wish) -> Written:
        """Make a tombstone. Raises as `begin`, and `TooFewCopies` as `Writing.finish`."""
        look = await self.look(path, wish, deletes=True)
        replicas = self.replicas(look.answers, wish, size=None)
        version = Version(None, 0, self.now_ns(), wish.author or str(self.name))
        try:
            return await self.conclude([Step(look, wish, version)], replicas)
        finally:
            await replicas.close()

    async def look(self, path: FilePath, wish: Wish, *, deletes: bool) -> Look:
        """The verdict on `path`, where it allows the write."""
        at_s = self.now_s()
        reading = await self.reader.read(path)
        reading.close()
        require_known(path, reading.local)
        self._decider.check(reading.verdict, reading.answers, wish, deletes=deletes)
        return Look(path, reading.answers, at_s)

    async def _guess(self, path: FilePath) -> Look:
        """That nothing is here; what the commit is decided on, it looks at itself."""
        at_s = self.now_s()
        return Look(path, {**await self.peers.ask(path), self.name: Absent()}, at_s)

    async def look_anew(self, path: FilePath) -> None:
        """Read this server's copy, whatever its stat data say, so that damage is known."""
        await self.store.examine(path, wait_s=self._decider.hash_wait_s, reread=True)

    def replicas(self, answers: Mapping[ServerName, Answer], wish: Wish, *, size: int | None) -> Replicas:
        """The peers that a write goes to. Raises `TooFewCopies` if they cannot be enough."""
        wanted = self._wanted(wish)
        if wanted > len(answers):
            raise UsageError(f"{wanted} copies can never be reached: the cluster has {len(answers)} servers.")
        silent = {name: answer.reason for name, answer in answers.items() if isinstance(answer, Unreachable)}
        if len(answers) - len(silent) < wanted:
            missing = tuple(NotStored(name, reason) for name, reason in silent.items())
            raise _too_few(wanted, (), missing, "Nothing was written")
        return Replicas(self.peers, silent, size=size)

    async def conclude(self, steps: Sequence[Step], replicas: Replicas) -> Written:
        """Commit the steps here, together, tell the peers, and say who has them. The first step's path is the one that is told of."""
        try:
            made = await self._commit(steps)
        except StoreFailed:
            for name in self.peers.names:  # It may be promised all the same, and then they are owed it.
                self._unpaid(name)
            raise
        # In this order: whoever is lost in the middle of a move has the content at its destination, not only the deletion.
        told = [
            await replicas.adopt(one.step.look.path, one.decided.minted.clock, (one.decided.event,)) for one in made
        ]
        stored = (self.name, *replicas.alive)
        missing = tuple(NotStored(name, replicas.missing[name]) for name in sorted(replicas.missing))
        self._settle(made, replicas)
        first = made[0]
        wanted = self._wanted(first.step.wish)
        if len(stored) < wanted:
            raise _too_few(wanted, stored, missing, "The write is kept, and the others get it later")
        path = first.step.look.path
        verdict = self.reader.judge(path, {**told[0], self.name: first.committed.answer})
        return Written(path, first.step.version, _is_new(first.decided.verdict), stored, missing, verdict)

    def _settle(self, made: Sequence[Made], replicas: Replicas) -> None:
        paid = [(one.step.look.path, one.committed.debt) for one in made]
        for name in replicas.alive:
            self.store.settle_debts(name, paid)
        for name in replicas.missing:
            self._unpaid(name)

    async def _commit(self, steps: Sequence[Step]) -> list[Made]:
        paths = [step.look.path for step in steps]
        async with self.store.locked(*paths):
            for attempt in range(TRIES):
                decided = [await self._decider.decide(step, may_guess=attempt == 0) for step in steps]
                committed = await self.store.commit([one.change for one in decided])
                if committed is not None:
                    return list(map(Made, steps, decided, committed))
        raise ChangedWhileReading("The file is being changed on this server's disk, again and again.", path=paths[0])

    def _wanted(self, wish: Wish) -> int:
        return self._min_copies if wish.min_copies is None else wish.min_copies


class Writing:
    """One content on its way. Ends with `finish` or `abort`, each of which leaves nothing half-way behind."""

    def __init__(self, writer: Writer, look: Look, wish: Wish, incoming: Incoming, replicas: Replicas) -> None:
        self._writer = writer
        self._look = look
        self._wish = wish
        self._incoming = incoming
        self._replicas = replicas

    async def write(self, block: bytes | memoryview) -> None:
        """Raises `DiskFull` or `StoreFailed` of this server's disk; then `abort`. A peer that fails is left out."""
        if self._incoming.size + len(block) <= SMALL_CONTENT_BYTES:  # it is only kept, and nobody waits
            await self._incoming.write(block)
            await self._replicas.write(block)
        elif self._replicas.alive:
            await _both(self._incoming.write(block), self._replicas.write(block))
        else:
            await self._incoming.write(block)

    async def finish(self, *, digest: Digest | None = None) -> Written:
        """That was all. `digest` is the one that was announced. Raises `ContentMismatch`, whatever `Writer.begin` raises (things may
        have changed meanwhile), or `TooFewCopies`: then the write stays where it is durable."""
        try:
            found = self._incoming.digest
            if digest is not None and digest != found:
                raise ContentMismatch(f"The content's digest is {found}, not {digest}.", path=self._look.path)
            self._replicas.finish(found)
            if self._incoming.size > SMALL_CONTENT_BYTES:
                await self._incoming.finish()
            return await self._conclude(found)
        finally:
            await self.abort()

    async def abort(self) -> None:
        try:
            await self._incoming.abort()
        finally:
            await self._replicas.close()

    async def _conclude(self, digest: Digest) -> Written:
        writer, wish, incoming = self._writer, self._wish, self._incoming
        modified_ns = writer.now_ns() if wish.modified_ns is None else wish.modified_ns
        author = wish.author or str(writer.name)
        version = Version(digest, incoming.size, modified_ns, author, bool(wish.executable))
        return await writer.conclude([Step(self._look, wish, version, (incoming,))], self._replicas)


def _is_new(verdict: Verdict) -> bool:
    return all(held.version.is_tombstone for held in verdict.versions)


def _too_few(wanted: int, stored: Sequence[ServerName], missing: Sequence[NotStored], so: str) -> TooFewCopies:
    servers = "one server" if wanted == 1 else f"{wanted} servers"
    lacking = ", ".join(f"{one.name} ({one.reason})" for one in missing)
    return TooFewCopies(
        f"The write was to be durable on {servers}; not reached: {lacking}. {so}.",
        extra={
            "stored": [str(name) for name in stored],
            "missing": [{"name": str(one.name), "reason": one.reason} for one in missing],
        },
    )


async def _both(mine: Awaitable[object], theirs: Awaitable[None]) -> None:
    """Both at once; neither is left running when one fails."""
    others = asyncio.ensure_future(theirs)
    try:
        await mine
    except BaseException:
        others.cancel()
        await asyncio.wait([others])
        raise
    await others
