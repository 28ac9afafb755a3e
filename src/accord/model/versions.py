"""Versions, dots and clocks: what is known of the history of one path.

A clock is a dotted version vector set (Preguiça et al., arXiv 1011.5808; Gonçalves' DVVSet): for each actor a counter `n` and the
newest versions that actor made which nothing has superseded yet; the events 1..n are all known. `merge` is a join:

    merge(a, b) == merge(b, a)        merge(a, merge(b, c)) == merge(merge(a, b), c)        merge(a, a) == a

Who makes events: a server, under an actor of its own that is new whenever its index is new (so that old counters are never used
again); and *content itself*: bytes that were there before Accord knew the path get an actor made of their digest. Two servers that
find the same bytes thereby find the same event, and agree without having talked.

How clocks are written down is left to `accord.codec`; which copies agree is left to `model.verdict`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, NewType

from accord.model.names import Digest, ServerName

Actor = NewType("Actor", str)

_FOUND_HEX = 32
_GENERATION = re.compile("[1-9][0-9]{0,14}")


def server_actor(server: ServerName, incarnation: str) -> Actor:
    """The actor of one life of a server's index. `incarnation` is random text, made when the index is made."""
    return Actor(f"{server}/{incarnation}")


class Life(NamedTuple):
    """One life of a server's index, in which its counters are never used twice."""

    server: ServerName
    incarnation: str


def outside_actor(server: ServerName, incarnation: str, generation: int) -> Actor:
    """An actor of what is found changed on that server's disk, in one life of its index; apart from what is written through it.

    An actor's newer outside version supersedes its older ones. So there is a next `generation` (from 1) wherever that would not
    be right: once another server may have taken over what is there.
    """
    return Actor(f"{server}/{incarnation}/outside/{generation}")


def newest_generation(clock: Clock, life: Life) -> int:
    """The newest generation of the outside actor in `clock`, or 0."""
    stem = outside_actor(*life, 0)[:-1]
    numbers = [entry.actor[len(stem) :] for entry in clock.entries if entry.actor.startswith(stem)]
    # What another server made up is not ours; ours have no leading zeros, and never get so far.
    return max((int(number) for number in numbers if _GENERATION.fullmatch(number)), default=0)


def newest_outside(clock: Clock, life: Life) -> frozenset[Digest | None]:
    """What the next outside change would supersede: the current versions of the newest generation."""
    actor = outside_actor(*life, newest_generation(clock, life))
    return frozenset(version.digest for dot, version in clock.current() if dot.actor == actor)


def found_actor(digest: bytes) -> Actor:
    """The actor of content that was found, not written."""
    return Actor(f"={digest.hex()[:_FOUND_HEX]}")


def is_found(actor: Actor) -> bool:
    """Such an actor has one event, ever."""
    return actor.startswith("=")


class Dot(NamedTuple):
    """One event: the `counter`-th (from 1) of an actor at one path."""

    actor: Actor
    counter: int


class Version(NamedTuple):
    """Content that existed at a path. `digest` is None for a tombstone. `modified_ns` is since the Unix epoch, and decides nothing."""

    digest: Digest | None
    size: int
    modified_ns: int
    author: str
    executable: bool = False

    @property
    def is_tombstone(self) -> bool:
        return self.digest is None


class Entry(NamedTuple):
    """One actor's part of a clock: events 1..counter are known, and `versions` (newest first) are not superseded."""

    actor: Actor
    counter: int
    versions: tuple[Version, ...]


Context = dict[Actor, int]
"""What a reader has seen: for each actor the highest counter."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The current versions of a path and the causal context, entries sorted by actor."""

    entries: tuple[Entry, ...] = ()

    def current(self) -> list[tuple[Dot, Version]]:
        """Every version that nothing known has superseded, with its dot."""
        return [
            (Dot(entry.actor, entry.counter - index), version)
            for entry in self.entries
            for index, version in enumerate(entry.versions)
        ]

    def context(self) -> Context:
        return {entry.actor: entry.counter for entry in self.entries}


EMPTY_CLOCK = Clock()


def merge(left: Clock, right: Clock) -> Clock:
    """Everything both know: a version survives unless one side has seen it and no longer holds it."""
    if left == right or not right.entries:
        return left
    if not left.entries:
        return right
    mine = {entry.actor: entry for entry in left.entries}
    for entry in right.entries:
        other = mine.get(entry.actor)
        mine[entry.actor] = entry if other is None else _merge_entries(other, entry)
    return _clock(mine)


def discard(clock: Clock, seen: Context) -> Clock:
    """Drop the versions that `seen` covers; the knowledge that they existed stays."""
    kept = {}
    for actor, counter, versions in clock.entries:
        surviving = max(0, counter - seen.get(actor, 0))
        kept[actor] = Entry(actor, counter, versions[:surviving])
    for actor, counter in seen.items():
        if actor not in kept or kept[actor].counter < counter:
            kept[actor] = Entry(actor, counter, ())
    return _clock(kept)


def write(clock: Clock, seen: Context, actor: Actor, version: Version, *, floor: int = 0) -> Clock:
    """A new version by `actor`, superseding exactly what `seen` covers; whatever else is current stays as its rival.

    `floor` is the greatest counter that the actor may have used here in a clock that was forgotten since: the next one is above. (Of
    what it made then it knew everything, so that to count it among the known events is true.)
    """
    rest = {entry.actor: entry for entry in discard(clock, seen).entries}
    _, counter, versions = rest.get(actor, Entry(actor, 0, ()))
    if not versions:
        counter = max(counter, floor)
    rest[actor] = Entry(actor, counter + 1, (version, *versions))
    return _clock(rest)


def found(version: Version) -> Clock:
    """The clock of content that was there when Accord first looked: the same on every server that has the same bytes."""
    if version.digest is None:
        raise ValueError("a tombstone is never found")
    actor = found_actor(version.digest)
    return Clock((Entry(actor, 1, (version,)),))


def found_again(clock: Clock, past: Collection[Digest | None]) -> Context:
    """The events of found content that is current in `clock`, and no more than one of the `past` versions of the path: what covers
    them. (Content of its own that somebody wrote once more is a version of its own.)"""
    return {
        dot.actor: dot.counter
        for dot, version in clock.current()
        if version.digest in past and version.digest is not None and dot.actor == found_actor(version.digest)
    }


class OutsideChanges(Enum):
    """What a change made behind Accord's back means."""

    DISPUTE = "dispute"
    """It is concurrent with what was there: both are rivals until someone resolves. Only the same disk's own earlier outside
    changes are superseded, and only while no other server can hold them: whoever edits a file twice overwrites what he wrote
    first, but never what another server took over in between."""
    ADOPT = "adopt"
    """It supersedes what was on that server's disk, as a sync tool would have it."""


def outside_change(
    clock: Clock,
    before: Digest | None,
    after: Version,
    life: Life,
    policy: OutsideChanges,
    *,
    shared: bool,
    floor: int = 0,
) -> Clock:
    """The clock once content `after` was found where `before` was recorded, on the disk of the server whose `life` it is.

    `shared` says that another server may hold what this disk's newest generation of outside changes made. Content that equals a
    current version is that version, whoever put it there: the clock stays as it is. `floor` as for `write`.
    """
    if any(version.digest == after.digest for _, version in clock.current()):
        return clock
    if not clock.entries:
        return found(after)
    generation = newest_generation(clock, life)
    if policy is OutsideChanges.DISPUTE:
        # A generation that nothing current is left of is used again: its counters go on, and the clock does not grow by resolving.
        is_disputed = shared and bool(newest_outside(clock, life))
        actor = outside_actor(*life, generation + 1 if is_disputed else max(1, generation))
        return write(clock, {actor: clock.context().get(actor, 0)}, actor, after, floor=floor)
    actor = outside_actor(*life, max(1, generation))
    superseded = [dot for dot, version in clock.current() if version.digest == before]
    return write(clock, _covering(superseded), actor, after, floor=floor)


def _covering(dots: list[Dot]) -> Context:
    """The smallest context that covers `dots`: as contexts are prefixes, older versions of the same actors go with them."""
    seen: Context = {}
    for dot in dots:
        seen[dot.actor] = max(dot.counter, seen.get(dot.actor, 0))
    return seen


def _merge_entries(left: Entry, right: Entry) -> Entry:
    if left.counter < right.counter:
        left, right = right, left
    # Of the newer side's versions those survive that the older side either still holds or has not seen yet.
    right_floor = right.counter - len(right.versions)
    surviving = max(0, min(len(left.versions), left.counter - right_floor))
    versions = list(left.versions[:surviving])
    ahead = left.counter - right.counter
    for index in range(ahead, surviving):
        # One event, told twice: what the two remember of it (a modified time) may differ, so that the greater one is kept.
        versions[index] = max(versions[index], right.versions[index - ahead], key=_rank)
    return Entry(left.actor, left.counter, tuple(versions))


def _rank(version: Version) -> tuple[bytes, int, int, str, bool]:
    return (version.digest or b"", version.size, version.modified_ns, version.author, version.executable)


def _clock(entries: dict[Actor, Entry]) -> Clock:
    return Clock(tuple(entries[actor] for actor in sorted(entries)))
