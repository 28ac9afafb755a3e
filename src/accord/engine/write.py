"""One write: check the writer's conditions, take the bytes in here and at the peers at once, make the event, and say who has it.

    begin     a verdict is taken; what it forbids is refused before any content is asked for
    write     each block goes to this server's disk and to every peer that can be asked, in one pass
    finish    under the path's lock: look again, make the event, commit it here, and only then tell it to the peers

The event is durable here before any other server hears of it: a counter that was told and then lost in a crash would be given to other
content. Who did not take it is owed it (`engine.debts`). What a write supersedes is decided in `model.writing`; copies and moves on the
servers are `engine.copy`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from accord.engine.read import Reader, require_known
from accord.engine.replicate import Replicas
from accord.errors import (
    ChangedWhileReading,
    Conflict,
    ContentMismatch,
    StoreFailed,
    TooFewCopies,
    UsageError,
)
from accord.model.history import Deed, Event, newest_seen
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import (
    EMPTY_FOLDER,
    Absent,
    Answer,
    Kind,
    Unreachable,
    Verdict,
    compare,
)
from accord.model.versions import Clock, Version
from accord.model.writing import Conditions, Minted, Refusal, covered, mint, refusal
from accord.peers.port import Peers
from accord.store.port import SMALL_CONTENT_BYTES, Change, Committed, Incoming, Store
from accord.store.records import event_by_its_actor

TRIES = 8
"""How often a commit starts anew when the file is changed behind Accord's back in that very moment."""
FRESH_S = 0.5
"""What the peers said is asked anew once it is older than this: content may take hours to arrive."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a writer says beside the content. `author` empty is this server; `modified_ns` None is now (or, of a copy, the source's),
    `executable` None is no (or the source's), `min_copies` None the cluster's."""

    conditions: Conditions = field(default_factory=Conditions)
    deed: Deed = Deed.PUT
    author: str = ""
    message: str = ""
    modified_ns: int | None = None
    executable: bool | None = None
    min_copies: int | None = None


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


class Refused(Exception):
    """A write that is not made as things stand: `refusal` says why, `verdict` how things stand."""

    def __init__(self, refusal: Refusal, verdict: Verdict) -> None:
        super().__init__(f"{verdict.path}: {refusal.value}")
        self.refusal = refusal
        self.verdict = verdict


@dataclass(slots=True)
class Look:
    """What the servers said of a path before a write. `at_s` is when they were asked."""

    path: FilePath
    answers: Mapping[ServerName, Answer]
    at_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """One path's part in a commit: which version is to be made of it."""

    look: Look
    wish: Wish
    version: Version
    incoming: tuple[Incoming, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A step that is durable here. `verdict` is what it was decided on."""

    step: Step
    minted: Minted
    event: Event
    verdict: Verdict
    committed: Committed


class Writer:
    """Writes for one server, `name`. `min_copies` is how many servers must have a write durably; `unpaid` is told who did not get one.
    `now_ns` is the time that is told to people, `now_s` a monotonic one."""

    def __init__(
        self,
        name: ServerName,
        store: Store,
        peers: Peers,
        reader: Reader,
        *,
        min_copies: int,
        now_ns: Callable[[], int],
        now_s: Callable[[], float],
        hash_wait_s: float,
        unpaid: Callable[[ServerName], None],
    ) -> None:
        self.name = name
        self.store = store
        self.peers = peers
        self.reader = reader
        self.now_ns = now_ns
        self._min_copies = min_copies
        self.now_s = now_s
        self._hash_wait_s = hash_wait_s
        self._unpaid = unpaid

    async def begin(self, path: FilePath, wish: Wish, *, size: int | None, is_here: bool = False) -> Writing:
        """Raises `Refused`, `Conflict` (something is in the way), `TooFewCopies` (that many servers do not even answer), `DiskFull`,
        `StoreFailed`, or `Unavailable`: no content should be sent then. `is_here`: it is all there already, and whether it is wanted
        may as well be said at the end."""
        guesses = is_here and self._is_likely_new(path)
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
        self._check(reading.verdict, reading.answers, wish, deletes=deletes)
        return Look(path, reading.answers, at_s)

    async def _guess(self, path: FilePath) -> Look:
        """That nothing is here; what the commit is decided on, it looks at itself."""
        at_s = self.now_s()
        return Look(path, {**await self.peers.ask(path), self.name: Absent()}, at_s)

    def _is_likely_new(self, path: FilePath) -> bool:
        return self.store.glance_answer(path) is None and self.store.is_likely_new(path)

    async def look_anew(self, path: FilePath) -> None:
        """Read this server's copy, whatever its stat data say, so that damage is known."""
        await self.store.examine(path, wait_s=self._hash_wait_s, reread=True)

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
        told = [await replicas.adopt(one.step.look.path, one.minted.clock, (one.event,)) for one in made]
        stored = (self.name, *replicas.alive)
        missing = tuple(NotStored(name, replicas.missing[name]) for name in sorted(replicas.missing))
        self._settle(made, replicas)
        first = made[0]
        wanted = self._wanted(first.step.wish)
        if len(stored) < wanted:
            raise _too_few(wanted, stored, missing, "The write is kept, and the others get it later")
        path = first.step.look.path
        verdict = self.reader.judge(path, {**told[0], self.name: first.committed.answer})
        return Written(path, first.step.version, _is_new(first.verdict), stored, missing, verdict)

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
                decided = [await self._decide(step, guesses=attempt == 0) for step in steps]
                committed = await self.store.commit([change for change, *_ in decided])
                if committed is not None:
                    return [
                        Made(step, minted, event, verdict, done)
                        for step, (_, minted, event, verdict), done in zip(steps, decided, committed, strict=True)
                    ]
        raise ChangedWhileReading("The file is being changed on this server's disk, again and again.", path=paths[0])

    async def _decide(self, step: Step, *, guesses: bool) -> tuple[Change, Minted, Event, Verdict]:
        """What the step comes to, with what this server knows now: what was written through it meanwhile came before. `guesses`: a path
        that is most likely new is taken for new; nobody is refused for that, and the commit fails where it is not so."""
        path, wish, version = step.look.path, step.wish, step.version
        answer = self.store.glance_answer(path)
        guesses = guesses and answer is None and self.store.is_likely_new(path)
        if answer is None:
            answer = Absent() if guesses else await self.store.examine(path, wait_s=self._hash_wait_s)
        local = require_known(path, answer)
        if self.now_s() - step.look.at_s > FRESH_S:
            await self._ask_anew(step.look)
        verdict = compare(path, answers := {**step.look.answers, self.name: local})
        if verdict.is_lost:  # here it vanished; the peers may have been asked before they got it
            await self._ask_anew(step.look)
            verdict = compare(path, answers := {**step.look.answers, self.name: local})
        try:
            self._check(verdict, answers, wish, deletes=version.is_tombstone)
        except (Refused, Conflict):
            if not guesses:
                raise
            return await self._decide(step, guesses=False)
        seen = covered(verdict, wish.conditions)
        minted = mint(local.clock, verdict.clock, seen, self.store.actor, version, floor=self.store.floor)
        deed = Deed.RESOLVE if verdict.kind is Kind.DIVERGED and len(minted.supersedes) > 1 else wish.deed
        before = minted.supersedes
        if (
            not before and seen
        ):  # what the writer saw was superseded by others meanwhile; it is what this came from all the same
            before = newest_seen([one.event for one in await self.store.history(path)], seen)
        event = Event(minted.dot, version, self.now_ns(), deed, before, wish.message, step.source)
        events = (event, *_never_had(verdict, local.clock, minted))
        owed = tuple(self.peers.names)
        return Change(path, local.clock, minted.clock, step.incoming, events, owed), minted, event, verdict

    async def _ask_anew(self, look: Look) -> None:
        if self.peers.names:
            at_s = self.now_s()
            look.answers, look.at_s = await self.peers.ask(look.path), at_s

    def _check(self, verdict: Verdict, answers: Mapping[ServerName, Answer], wish: Wish, *, deletes: bool) -> None:
        refused = refusal(verdict, wish.conditions, deletes=deletes)
        if refused is not None:
            raise Refused(refused, verdict)
        in_the_way = [
            f"on {name} {answer.obstacle}"
            for name, answer in sorted(answers.items())
            if isinstance(answer, Absent) and answer.obstacle not in (None, EMPTY_FOLDER)
        ]
        if in_the_way and not deletes:
            raise Conflict(f"At '{verdict.path}' there is {', '.join(in_the_way)}.", path=verdict.path)

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


def _never_had(verdict: Verdict, mine: Clock, minted: Minted) -> list[Event]:
    """What the write supersedes and only others have. It is to be remembered here, too: somebody may find it again when all who had it
    have lost their memory (see `Updater._knew_it`)."""
    known = {dot for dot, _ in mine.current()}
    current = dict(verdict.clock.current())
    return [event_by_its_actor(dot, current[dot]) for dot in minted.supersedes if dot not in known and dot in current]


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
