"""One comparison with another server: the ranges of paths that the two know differently, narrowed down to the paths.

Range by range in the order of the paths, so that what is held in memory is bounded however much differs, and what was gone through and
mended need not be gone through again. Both may change meanwhile: what is missed then differs at the next comparison. What a range's
fingerprint is, is left to `model.fingerprints`; what is done about the paths, to `engine.sync`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

from accord.errors import PeerUnreachable
from accord.model.fingerprints import MAX_NAMED_ITEMS, Cut, Fingerprint, Item, Named, Reply, Span, Summary
from accord.model.names import FilePath, Prefix, ServerName
from accord.peers.port import Peers
from accord.store.inventory import Inventory, Scope

RANGES_AT_ONCE = 64
"""So many ranges are asked about in one round trip."""
BEGINNING_ITEMS = 2 * MAX_NAMED_ITEMS
"""So many paths here are looked at together in each of the ranges of one round trip. Mostly that is all of them."""
PAGE_ITEMS = 1024
MAX_ROUND_TRIPS = 100_000
"""A peer that cuts ranges into parts for longer than this is not listened to any more."""


class Found(NamedTuple):
    """A path that the peer knows, and this server differently (`mine` None: not at all), with the marks of both."""

    path: FilePath
    mine: bytes | None
    theirs: bytes


class Comparison:
    """One comparison with `peer`. `lacks_there`: the peer does not know everything that this server knows."""

    def __init__(self, store: Inventory, peers: Peers, peer: ServerName, scope: Scope) -> None:
        self._store = store
        self._peers = peers
        self._peer = peer
        self._scope = scope
        self.round_trips = 0
        self.lacks_there = False

    async def found(self) -> AsyncGenerator[Sequence[Found], None]:
        """The paths, some at a time. Raises `PeerUnreachable`, also for a peer that makes no sense, and what the store does."""
        pending = await self._summaries([span_of(self._scope)])
        while pending:
            asked, pending = pending[:RANGES_AT_ONCE], pending[RANGES_AT_ONCE:]
            if self.round_trips >= MAX_ROUND_TRIPS:
                raise PeerUnreachable(f"has been compared with for {MAX_ROUND_TRIPS} round trips, to no end")
            self.round_trips += 1
            replies = await self._peers.compare(self._peer, asked)
            pending = await self._narrower(replies) + pending
            named = [(one, reply.items) for one, reply in zip(asked, replies, strict=True) if isinstance(reply, Named)]
            beginnings = await self._store.items([one.span for one, _ in named], BEGINNING_ITEMS) if named else []
            for (one, items), beginning in zip(named, beginnings, strict=True):
                found = await self._differing(one, items, beginning)
                if found:
                    yield found

    async def _narrower(self, replies: Sequence[Reply]) -> list[Summary]:
        """The parts that are to be asked about next."""
        cuts = [reply.parts for reply in replies if isinstance(reply, Cut)]
        if any(len(parts) < 2 for parts in cuts):
            raise PeerUnreachable("did not cut a range into parts")
        told = {part.span: part.fingerprint for parts in cuts for part in parts}
        mine = await self._summaries(list(told)) if told else []
        return [one for one in mine if self._differs(one.fingerprint, told[one.span])]

    async def _summaries(self, spans: Sequence[Span]) -> list[Summary]:
        return list(map(Summary, spans, await self._store.summaries(spans)))

    def _differs(self, mine: Fingerprint, theirs: Fingerprint) -> bool:
        """Whether there is anything to be had in the range."""
        if (mine.paths, mine.total) == (theirs.paths, theirs.total):
            return False
        if not theirs.paths:
            self.lacks_there = True
        return bool(theirs.paths)

    async def _differing(self, asked: Summary, theirs: Sequence[Item], beginning: Sequence[Item]) -> list[Found]:
        told = {item.path: item.mark for item in theirs if in_scope(self._scope, item.path)}
        mine = await self._mine(asked, told, beginning)
        return [Found(path, mine.get(path), mark) for path, mark in told.items() if mine.get(path) != mark]

    async def _mine(
        self, asked: Summary, told: Mapping[FilePath, bytes], beginning: Sequence[Item]
    ) -> dict[FilePath, bytes]:
        """The marks here of those paths. Others may be many: nothing of them is kept. `beginning` is the first of what is here."""
        mine: dict[FilePath, bytes] = {}
        if not told:
            self.lacks_there = self.lacks_there or asked.fingerprint.paths > 0
            return mine
        page, limit = beginning, BEGINNING_ITEMS
        while True:
            for path, mark in page:
                if path in told:
                    mine[path] = mark
                else:
                    self.lacks_there = self.lacks_there or in_scope(self._scope, path)
            if len(page) < limit:
                return mine
            limit = PAGE_ITEMS
            (page,) = await self._store.items([Span(page[-1].path, asked.span.upto)], limit)


def in_scope(scope: Scope, path: FilePath) -> bool:
    return path.startswith(scope) if isinstance(scope, Prefix) else path == scope


def span_of(scope: Scope) -> Span:
    """The narrowest range that has an end for it: it covers a few other paths too."""
    if isinstance(scope, FilePath):
        return Span(scope[:-1], scope)
    # '0' comes after '/'.
    return Span(scope, scope.removesuffix("/") + "0" if scope else None)
