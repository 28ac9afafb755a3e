"""What happened to a path: one event for each version, and which versions are still kept.

Events only accumulate: the history of a path is the union of what all servers remember of it, each event under its dot. Times are told
to people, and decide nothing but how long superseded bytes are kept on the server whose clock told them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from accord.model.names import FilePath
from accord.model.versions import Clock, Context, Dot, Version


class Deed(Enum):
    """What made a version."""

    PUT = "put"
    """A client wrote it."""
    DELETE = "delete"
    """A client deleted the file."""
    COPY = "copy"
    """It was copied from another path, or from another version, on the servers."""
    MOVE = "move"
    """It was moved here from another path; at that path, the deletion."""
    RESTORE = "restore"
    """A former version was made the current one again."""
    RESOLVE = "resolve"
    """Somebody chose among rivals, or merged them."""
    OUTSIDE = "outside"
    """It was found on a server's disk in place of what was recorded there."""
    FOUND = "found"
    """It was there when Accord first looked."""


class Event(NamedTuple):
    """One version's making. `at_ns` is since the Unix epoch, by the clock of the server that made it. `supersedes` are the current
    versions that it took the place of. `source` is where it was copied, moved or restored from, or moved to, for people."""

    dot: Dot
    version: Version
    at_ns: int
    deed: Deed
    supersedes: tuple[Dot, ...] = ()
    message: str = ""
    source: str = ""


class Remembered(NamedTuple):
    """One version in the history of a path, as one server remembers it. `is_kept`: its bytes are there (at the path, aside, or in
    history)."""

    event: Event
    is_current: bool
    is_kept: bool


class Kept(NamedTuple):
    """A superseded version whose bytes a server may still have. `superseded_ns` is by that server's clock."""

    path: FilePath
    dot: Dot
    superseded_ns: int


def superseded_by(before: Clock, after: Clock) -> list[tuple[Dot, Version]]:
    """The versions that were current in `before` and no longer are in `after`."""
    current = {dot for dot, _ in after.current()}
    return [(dot, version) for dot, version in before.current() if dot not in current]


def expired(kept: Iterable[Kept], *, now_ns: int, keep_versions: int, keep_ns: int) -> list[Kept]:
    """What history lets go of, of the superseded versions of one path: what was superseded longer ago than `keep_ns`, and what is
    beyond the newest `keep_versions`. A time in the future (a clock that was set back) is no reason to let go."""
    newest_first = sorted(kept, key=lambda one: (one.superseded_ns, one.dot), reverse=True)
    return [
        one
        for number, one in enumerate(newest_first)
        if number >= keep_versions or now_ns - one.superseded_ns > keep_ns
    ]


def newest_seen(events: Iterable[Event], seen: Context) -> tuple[Dot, ...]:
    """Of the events that `seen` covers, those that none of them superseded: what a writer with that context began from."""
    covered = [one for one in events if one.dot.counter <= seen.get(one.dot.actor, 0)]
    superseded = {dot for one in covered for dot in one.supersedes}
    return tuple(sorted(one.dot for one in covered if one.dot not in superseded))


def united(histories: Iterable[Sequence[Event]]) -> list[Event]:
    """What several servers remember, each event once, newest first. Of one event told twice the greater is kept.

    By their times, but an event never comes after one that superseded it, whatever the servers' clocks said."""
    events: dict[Dot, Event] = {}
    for history in histories:
        for event in history:
            known = events.get(event.dot)
            if known is None or _rank(known) < _rank(event):
                events[event.dot] = event
    at_ns = _in_order(events)
    return sorted(events.values(), key=lambda one: (at_ns[one.dot], one.dot), reverse=True)


def _in_order(events: Mapping[Dot, Event]) -> dict[Dot, int]:
    """The events' times, each moved behind those of what it superseded."""
    at_ns: dict[Dot, int] = {}
    for first in sorted(events):  # the same whoever was asked first, even where a forger made a circle of them
        under_way = [first]
        while under_way:
            event = events[under_way[-1]]
            before = [dot for dot in event.supersedes if dot in events]
            waiting = [dot for dot in before if dot not in at_ns and dot not in under_way]
            if waiting and event.dot not in at_ns:
                under_way += waiting[:1]
                continue
            under_way.pop()
            at_ns[event.dot] = max([event.at_ns, *(at_ns.get(dot, 0) + 1 for dot in before)])
    return at_ns


def _rank(event: Event) -> tuple[object, ...]:
    """Total, so that it does not matter who is asked first: servers may tell of one event differently (each its own author of what
    it found)."""
    deed, (digest, *rest) = event.deed.value, event.version
    return event.at_ns, len(event.supersedes), event.message, event.source, deed, event.supersedes, digest or b"", rest
