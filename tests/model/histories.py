"""Histories of one path on four servers: writes, merges, deletions and outside changes, in any order.

Beside every clock runs a dumb twin that remembers whole sets: all events it has heard of, and which of them are superseded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from hypothesis import strategies as st

from accord.model.names import Digest, ServerName
from accord.model.placement import others
from accord.model.verdict import Absent, Answer, Deleted, Present
from accord.model.versions import (
    EMPTY_CLOCK,
    Actor,
    Clock,
    Context,
    Dot,
    Life,
    OutsideChanges,
    Version,
    found_actor,
    merge,
    outside_actor,
    outside_change,
    server_actor,
    write,
)

ACTORS = [server_actor(ServerName(f"server{number}"), "life1") for number in range(4)]
LIVES = {actor: Life(ServerName(f"server{number}"), "life1") for number, actor in enumerate(ACTORS)}
CONTENTS = [Digest(bytes([number]) * 32) for number in range(5)]


def version(content: int, modified_ns: int = 0) -> Version:
    return Version(CONTENTS[content], content, modified_ns, "somebody")


@dataclass
class Replica:
    """One server's clock of one path, and the twin: events heard of, and those superseded."""

    actor: Actor
    clock: Clock = EMPTY_CLOCK
    events: dict[Dot, Digest | None] = field(default_factory=dict)
    superseded: set[Dot] = field(default_factory=set)
    disk: Digest | None = None
    generation: int = 0
    shared: bool = False
    """Whether somebody took over what the newest generation of outside changes made."""
    lent: set[Dot] = field(default_factory=set)

    def current(self) -> dict[Dot, Digest | None]:
        return {dot: digest for dot, digest in self.events.items() if dot not in self.superseded}

    @property
    def outside(self) -> Actor:
        return outside_actor(*LIVES[self.actor], self.generation)

    def new_event(self, digest: Digest | None, covered: set[Dot], actor: Actor | None = None) -> None:
        actor = actor or self.actor
        counter = max((dot.counter for dot in self.events if dot.actor == actor), default=0) + 1
        self.superseded |= covered
        self.events[Dot(actor, counter)] = digest


def prefix_of(dots: set[Dot]) -> Context:
    seen: Context = {}
    for actor, counter in dots:
        seen[actor] = max(counter, seen.get(actor, 0))
    return seen


def covered_by(seen: Context, replica: Replica) -> set[Dot]:
    return {dot for dot in replica.events if dot.counter <= seen.get(dot.actor, 0)}


def do_write(me: Replica, reader: Replica, content: int | None) -> None:
    """A client that read at `reader` (whose knowledge may be old or newer) writes at `me`; None deletes."""
    do_merge(me, reader)  # a server learns what the writer's token names before it writes
    seen = reader.clock.context()
    made = Version(None, 0, 0, "x") if content is None else version(content)
    me.clock = write(me.clock, seen, me.actor, made)
    me.new_event(made.digest, covered_by(seen, me))
    me.disk = made.digest


def do_blind_write(me: Replica, content: int) -> None:
    me.clock = write(me.clock, {}, me.actor, version(content))
    me.new_event(CONTENTS[content], set())
    me.disk = CONTENTS[content]


def do_merge(me: Replica, other: Replica) -> None:
    me.clock = merge(me.clock, other.clock)
    me.events |= other.events
    me.superseded |= other.superseded


def do_outside(me: Replica, content: int, policy: OutsideChanges) -> None:
    after, before = version(content), me.disk
    empty, current = not me.clock.entries, me.current()
    me.clock = outside_change(me.clock, before, after, LIVES[me.actor], policy, shared=me.shared)
    me.disk = after.digest
    if after.digest in current.values():
        return
    if empty:
        me.events[Dot(found_actor(CONTENTS[content]), 1)] = after.digest
        return
    is_disputed = any(
        dot.actor == me.outside for dot in current
    )  # what is resolved leaves its generation free for the next
    if not me.generation or (me.shared and is_disputed and policy is OutsideChanges.DISPUTE):
        me.generation += 1
    me.shared = False
    if policy is OutsideChanges.DISPUTE:
        covered = {dot for dot in me.events if dot.actor == me.outside}
    else:
        covered = covered_by(prefix_of({dot for dot, digest in current.items() if digest == before}), me)
    me.new_event(after.digest, covered, me.outside)


def do_take(me: Replica, lender: Replica) -> None:
    """`me` takes over the version that is on the lender's disk, if that is a current one."""
    lent = {dot for dot, digest in lender.current().items() if digest is not None and digest == lender.disk}
    if not lent:
        return
    lender.lent |= lent
    lender.shared |= any(dot.actor == lender.outside for dot in lent)
    do_merge(me, lender)
    me.disk = lender.disk


def answer_of(replica: Replica, kept: Collection[Digest]) -> Answer:
    """What a server in that state answers, of whose other current versions those in `kept` are aside."""
    aside = others(replica.clock, kept, there=replica.disk)
    if replica.disk is not None:
        return Present(replica.disk, 10, 0, replica.clock, aside=aside)
    if set(replica.current().values()) == {None}:
        return Deleted(replica.clock)
    return Absent(None, replica.clock, aside)


replica_index = st.integers(0, 3)
content_index = st.integers(0, 4)
step = st.one_of(
    st.tuples(st.just("write"), replica_index, replica_index, st.one_of(st.none(), content_index)),
    st.tuples(st.just("blind"), replica_index, content_index),
    st.tuples(st.just("merge"), replica_index, replica_index),
    st.tuples(st.just("take"), replica_index, replica_index),
    st.tuples(st.just("outside"), replica_index, content_index, st.sampled_from(OutsideChanges)),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Replica]:
    """Four replicas after up to 14 steps, with every state that they passed through."""
    replicas = [Replica(actor) for actor in ACTORS]
    passed: list[Replica] = []
    for kind, *args in draw(st.lists(step, max_size=14)):
        me = replicas[args[0]]
        if kind == "write":
            do_write(me, replicas[args[1]], args[2])
        elif kind == "blind":
            do_blind_write(me, args[1])
        elif kind == "merge":
            do_merge(me, replicas[args[1]])
        elif kind == "take":
            do_take(me, replicas[args[1]])
        else:
            do_outside(me, args[1], args[2])
        passed.append(Replica(me.actor, me.clock, dict(me.events), set(me.superseded), me.disk))
    return replicas + passed
