"""Whether a write may be made, and what it supersedes: pure rules over a verdict, the writer's conditions, and this server's clock.

A write covers what its writer has seen and nothing else. A writer that says nothing of what it has seen takes the place of what is
there at that moment, except where that would bury a dispute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from accord.model.names import Digest
from accord.model.verdict import Kind, Verdict
from accord.model.versions import Actor, Clock, Context, Dot, Version, discard, found_again, is_found, merge, write


class Refusal(Enum):
    """Why a write is not made."""

    DIVERGED = "diverged"
    """There are rivals, and the writer does not say that it has seen them."""
    EXISTS = "exists"
    """`If-None-Match: *`, and there is a file."""
    NOT_THE_VERSION = "not the version"
    """`If-Match`, and what is there is something else, or nothing."""
    MISSING = "missing"
    """There is nothing to delete: every server said so."""
    DELETED = "deleted"
    """There is nothing to delete any more."""
    UNKNOWN = "unknown"
    """Whether the condition holds, or there is anything to delete, cannot be said: somebody did not answer."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a writer demands. `matches`: digests of which one must be the current version (`any_version`: whichever, but there must be
    one). `is_new`: there must be none. `seen`: what the writer has seen, from an Accord-Context; None where it said nothing."""

    matches: frozenset[Digest] | None = None
    any_version: bool = False
    is_new: bool = False
    seen: Context | None = None


def refusal(verdict: Verdict, conditions: Conditions, *, deletes: bool) -> Refusal | None:
    """Why the write must not be made as things stand in `verdict`, or None."""
    contents: set[Digest] = {held.version.digest for held in verdict.versions if held.version.digest is not None}
    if verdict.kind is Kind.UNKNOWN and (conditions.is_new or conditions.matches is not None or conditions.any_version):
        return Refusal.UNKNOWN
    if conditions.is_new and contents:
        return Refusal.EXISTS
    # A file that was lost everywhere can be deleted: by that somebody says that it need not come back.
    if conditions.any_version and not contents:
        return Refusal.NOT_THE_VERSION
    if conditions.matches is not None and (not contents or not contents <= conditions.matches):
        return Refusal.NOT_THE_VERSION
    if verdict.kind is Kind.DIVERGED and conditions.seen is None and conditions.matches is None:
        return Refusal.DIVERGED
    if deletes and not contents and not verdict.is_lost:
        return {Kind.MISSING: Refusal.MISSING, Kind.DELETED: Refusal.DELETED}.get(verdict.kind, Refusal.UNKNOWN)
    return None


def covered(verdict: Verdict, conditions: Conditions) -> Context:
    """What the write supersedes. A writer's own context counts as far as somebody who answered knows its events: counters beyond them
    would swallow writes that are yet to be made. Content that was found has no such counters: that the writer saw it is enough, though
    who has it is away. And what was seen by another name was seen: a server that lost its index finds what somebody had written."""
    known = verdict.seen()
    if conditions.seen is None:
        return known
    clock = verdict.clock
    everything = clock.context()
    seen = {
        actor: 1 if is_found(actor) else min(counter, everything[actor])
        for actor, counter in conditions.seen.items()
        if is_found(actor) or everything.get(actor)
    }
    shown = {version.digest for dot, version in clock.current() if dot.counter <= seen.get(dot.actor, 0)}
    return {**seen, **found_again(clock, shown)}


@dataclass(frozen=True, slots=True)
class Minted:
    """A new event and what is known after it."""

    clock: Clock
    dot: Dot
    supersedes: tuple[Dot, ...]


def mint(mine: Clock, known: Clock, seen: Context, actor: Actor, version: Version, *, floor: int = 0) -> Minted:
    """The event that `actor` makes of `version` on the server whose clock is `mine`; `known` is what the verdict knew.

    Only `mine` goes on: rivals that this server has not got the bytes of stay with whoever has them. `floor` as for `versions.write`.
    """
    after = write(mine, seen, actor, version, floor=floor)
    dot = Dot(actor, after.context()[actor])
    current = {one for one, _ in merge(after, discard(known, seen)).current()}
    supersedes = tuple(one for one, _ in merge(mine, known).current() if one not in current)
    return Minted(after, dot, supersedes)
