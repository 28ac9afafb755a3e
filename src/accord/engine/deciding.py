"""What one write comes to: decided under the path's lock, with what this server knows in that moment.

A writer was told a verdict when the write began; by the end content has arrived for hours, perhaps, and others have written. So the
answers are looked at again, the writer's conditions are checked again, and only then is the event made. What a write supersedes is
decided in `model.writing`; in which order things are done, in `engine.write`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from accord.engine.read import require_known
from accord.errors import Conflict
from accord.model.history import Deed, Event, newest_seen
from accord.model.names import FilePath, ServerName
from accord.model.verdict import EMPTY_FOLDER, Absent, Answer, Kind, Known, Verdict, compare
from accord.model.versions import Actor, Clock, Version
from accord.model.writing import Conditions, Minted, Refusal, covered, mint, refusal
from accord.peers.port import Peers
from accord.store.port import Change, Incoming, Store
from accord.store.records import event_by_its_actor

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
class Decided:
    """What a step comes to, and on which verdict."""

    change: Change
    minted: Minted
    event: Event
    verdict: Verdict


class Decider:
    """Decides for one server, `name`. `now_ns` is the time that is told to people, `now_s` a monotonic one; a file that is not known
    is hashed for `hash_wait_s` at most."""

    def __init__(
        self,
        name: ServerName,
        store: Store,
        peers: Peers,
        *,
        now_ns: Callable[[], int],
        now_s: Callable[[], float],
        hash_wait_s: float,
    ) -> None:
        self.name = name
        self.store = store
        self.peers = peers
        self.now_ns = now_ns
        self.now_s = now_s
        self.hash_wait_s = hash_wait_s

    def check(self, verdict: Verdict, answers: Mapping[ServerName, Answer], wish: Wish, *, deletes: bool) -> None:
        """Raises `Refused`, or `Conflict` where something is in the way."""
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

    def is_likely_new(self, path: FilePath) -> bool:
        """Nothing in memory tells of it. Only the disk could."""
        return self.store.glance_answer(path) is None and self.store.is_likely_new(path)

    async def decide(self, step: Step, *, may_guess: bool) -> Decided:
        """What was written through this server meanwhile came before. `may_guess`: a path that is likely new is taken for new; nobody
        is refused for that, and the commit fails where it is not so. Raises as `check`, `StillChecking` or `Unavailable`."""
        path, wish = step.look.path, step.wish
        glanced = self.store.glance_answer(path)
        guesses = may_guess and glanced is None and self.store.is_likely_new(path)
        local = Absent() if guesses else await self._local(path, glanced)
        verdict = await self._verdict(step.look, local)
        try:
            answers = {**step.look.answers, self.name: local}
            self.check(verdict, answers, wish, deletes=step.version.is_tombstone)
        except (Refused, Conflict):
            if not guesses:
                raise
            return await self.decide(step, may_guess=False)
        seen = covered(verdict, wish.conditions)
        minted = mint(local.clock, verdict.clock, seen, self.store.actor, step.version, floor=self.store.floor)
        event = await self._event(step, minted, seen, verdict)
        events = (event, *_never_had(verdict, local.clock, minted))
        change = Change(path, local.clock, minted.clock, step.incoming, events, tuple(self.peers.names))
        return Decided(change, minted, event, verdict)

    async def _local(self, path: FilePath, glanced: Answer | None) -> Known:
        answer = glanced if glanced is not None else await self.store.examine(path, wait_s=self.hash_wait_s)
        return require_known(path, answer)

    async def _verdict(self, look: Look, local: Known) -> Verdict:
        if self.now_s() - look.at_s > FRESH_S:
            await self._ask_anew(look)
        verdict = compare(look.path, {**look.answers, self.name: local})
        if verdict.is_lost:  # here it vanished; the peers may have been asked before they got it
            await self._ask_anew(look)
            verdict = compare(look.path, {**look.answers, self.name: local})
        return verdict

    async def _ask_anew(self, look: Look) -> None:
        if self.peers.names:
            at_s = self.now_s()
            look.answers, look.at_s = await self.peers.ask(look.path), at_s

    async def _event(self, step: Step, minted: Minted, seen: dict[Actor, int], verdict: Verdict) -> Event:
        is_resolved = verdict.kind is Kind.DIVERGED and len(minted.supersedes) > 1
        before = minted.supersedes
        if not before and seen:
            # What the writer saw was superseded by others meanwhile; it is what this came from all the same.
            before = newest_seen([one.event for one in await self.store.history(step.look.path)], seen)
        deed = Deed.RESOLVE if is_resolved else step.wish.deed
        return Event(minted.dot, step.version, self.now_ns(), deed, before, step.wish.message, step.source)


def _never_had(verdict: Verdict, mine: Clock, minted: Minted) -> list[Event]:
    """What the write supersedes and only others have. It is to be remembered here, too: somebody may find it again when all who had it
    have lost their memory (see `Updater._knew_it`)."""
    known = {dot for dot, _ in mine.current()}
    current = dict(verdict.clock.current())
    return [event_by_its_actor(dot, current[dot]) for dot in minted.supersedes if dot not in known and dot in current]
