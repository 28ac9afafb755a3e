"""What a store in memory remembers of its paths: see `history` and `expire` of `port.Store`. It keeps no bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from accord.model.history import Deed, Event, Kept, Remembered, expired, superseded_by, united
from accord.model.names import Digest, FilePath
from accord.model.versions import Clock, Dot, found_actor
from accord.store.records import event_by_its_actor


class MemoryHistory:
    """Events, and when versions were superseded here."""

    def __init__(self) -> None:
        self.events: dict[FilePath, dict[Dot, Event]] = {}
        self._superseded_ns: dict[tuple[FilePath, Digest], int] = {}

    def learn(self, path: FilePath, events: Sequence[Event]) -> None:
        known = self.events.get(path, {})
        self.events[path] = {one.dot: one for one in united([list(known.values()), events])}

    def superseded(self, path: FilePath, clock: Clock) -> set[Digest | None]:
        """What is known to have been a version of the path, and to be one no longer."""
        context, current = clock.context(), {version.digest for _, version in clock.current()}
        events = self.events.get(path, {}).values()
        return {one.version.digest for one in events if one.dot.counter <= context.get(one.dot.actor, 0)} - current

    def remember(self, path: FilePath, before: Clock, after: Clock, *, now_ns: int, outside: str = "") -> None:
        """What has been superseded stays known. An event whose actor begins with `outside` is told as an outside change."""
        superseded = superseded_by(before, after)
        known = {dot for dot, _ in before.current()}
        events = self.events.setdefault(path, {})
        for dot, version in superseded:
            events.setdefault(dot, event_by_its_actor(dot, version))
            self.retire(path, version.digest, now_ns)
        for dot, version in after.current():
            if outside and dot.actor.startswith(outside) and dot not in known:
                dots = tuple(one for one, _ in superseded)
                events.setdefault(dot, Event(dot, version, now_ns, Deed.OUTSIDE, dots))

    def retire(self, path: FilePath, digest: Digest | None, now_ns: int) -> None:
        """Content is kept from now on only because it was there."""
        if digest is not None:
            self._superseded_ns[path, digest] = now_ns

    def forget(self, path: FilePath) -> None:
        """All of the path."""
        self.events.pop(path, None)
        self._superseded_ns = {key: at_ns for key, at_ns in self._superseded_ns.items() if key[0] != path}

    def told(self, path: FilePath, clock: Clock, have: Collection[Digest]) -> list[Remembered]:
        """`have` are the digests whose bytes there are."""
        current = {dot for dot, _ in clock.current()}
        events = dict(self.events.get(path, {}))
        for dot, version in clock.current():
            events.setdefault(dot, event_by_its_actor(dot, version))
        return [
            Remembered(one, one.dot in current, one.version.digest in have) for one in united([list(events.values())])
        ]

    def outlived(
        self, path: FilePath, kept: Collection[Digest], *, now_ns: int, keep_versions: int, keep_ns: int
    ) -> list[Digest]:
        """Of the superseded contents of one path those that are let go of."""
        digests = {Dot(found_actor(digest), 1): digest for digest in kept}
        times = [Kept(path, dot, self._superseded_ns.get((path, digest), 0)) for dot, digest in digests.items()]
        gone = expired(times, now_ns=now_ns, keep_versions=keep_versions, keep_ns=keep_ns)
        return [digests[one.dot] for one in gone]
