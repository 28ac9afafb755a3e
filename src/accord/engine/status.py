"""What a server says of itself, what it knows of the others, and orders for work in the background, here and there.

Everything is answered from memory and from the index: nothing is walked. Where few differences are known, their verdicts are taken
anew first, so that what a person has just mended is no difference any more. The rule by which a server counts as in sync is
`overview`'s; how a status looks is left to `server` and `cli`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from accord.engine.found import RecentFindings
from accord.engine.overview import (
    Disk,
    FirstHashing,
    Overview,
    Owed,
    PeerLine,
    ServerLine,
    ServerStatus,
    counted,
    standing_of,
)
from accord.engine.own_paths import known_here
from accord.engine.peer_requests import Work
from accord.engine.progress import HealProgress, RunProgress, SyncProgress
from accord.engine.questions import (
    PAGE_ENTRIES,
    Clash,
    ClashPage,
    FindingPage,
    Part,
    PathPage,
    Question,
    found_copy,
    read_answer,
    read_question,
)
from accord.errors import AccordError, PeerUnreachable, StoreFailed
from accord.model.findings import Finding, NameClash, Oddity
from accord.model.names import FilePath, Prefix, ServerName
from accord.peers.port import Peers, PeerStatus
from accord.store.inventory import Scope
from accord.store.port import Store

FEW_DIFFERENCES: Final = 32
LOOK_WAIT_S: Final = 1.0
"""No longer than this anybody waits for the verdicts on a few differences: then what was known counts."""
REPORT_WAIT_S: Final = 5.0
"""Longer than this nobody waits for another server's part of a status, however long a peer may take otherwise."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where the parts of the engine tell how far they are."""

    healing: Callable[[], HealProgress] = HealProgress
    scan: Callable[[], RunProgress] = RunProgress
    scrub: Callable[[], RunProgress] = RunProgress
    sync: Callable[[], Sequence[SyncProgress]] = tuple


class Ordered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one server made of an order: None, or why it does not do it. `reached`: whether it could be asked at all."""

    name: str
    reached: bool
    reason: str | None = None


class Status:
    """One server's desk for questions about its state, and about the cluster's. `order` begins work here (`PeerRequests.order`)."""

    def __init__(
        self,
        name: ServerName,
        cluster: str,
        store: Store,
        peers: Peers,
        gauges: Gauges,
        order: Callable[[Work, Scope, int], Awaitable[str | None]],
        recent: RecentFindings,
        *,
        look_again: Callable[[FilePath], Awaitable[None]],
        version: str,
        now_ns: Callable[[], int],
        report_wait_s: float = REPORT_WAIT_S,
    ) -> None:
        self.name = name
        self.cluster = cluster
        self._store = store
        self._peers = peers
        self._gauges = gauges
        self._order = order
        self._recent = recent
        self._look_again = look_again
        self._version = version
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._report_wait_s = report_wait_s
        self._last_number = 0

    @property
    def names(self) -> list[ServerName]:
        """All servers, sorted."""
        return sorted((self.name, *self._peers.names))

    def queue(self) -> HealProgress:
        """What this server has yet to mend."""
        return self._gauges.healing()

    async def own(self, prefix: Prefix) -> ServerStatus:
        """This server's own part."""
        store = self._store
        await self._freshen(prefix)
        kinds, count, tally = await asyncio.gather(
            store.count_differences(prefix), store.count(prefix), store.tally(prefix)
        )
        indexing = store.indexing()
        return ServerStatus(
            name=str(self.name),
            version=self._version,
            started_ns=self._started_ns,
            now_ns=self._now_ns(),
            prefix=str(prefix),
            files=count.paths - count.deleted,
            deleted=count.deleted,
            kinds={kind.value: number for kind, number in kinds.items() if number},
            rivals=tally.rivals,
            findings={oddity.value: number for oddity, number in tally.findings.items() if number},
            estranged=tally.estranged,
            clashes=tally.clashes,
            disk=await self._disk(),
            degraded=store.degraded(),
            takes_in=store.takes_in(),
            indexing=FirstHashing(
                done=indexing.done,
                hashed_files=indexing.hashed_files,
                found_files=indexing.found_files,
                unreadable=indexing.unreadable,
                unnameable=indexing.unnameable,
            ),
            queue=self._gauges.healing(),
            scan=self._gauges.scan(),
            scrub=self._gauges.scrub(),
            sync=tuple(self._gauges.sync()),
            owed=tuple(Owed(str(name), debts.paths, debts.lost) for name, debts in sorted(store.debts().items())),
            peers=tuple(
                PeerLine(str(one.name), one.state.value, one.reason, one.down_s) for one in self._peers.statuses()
            ),
        )

    async def report(self, question: bytes = b"") -> bytes:
        """What another server (or this one) asks of this one's state (`questions`), as JSON. Raises `InvalidQuery`."""
        asked = read_question(question)
        match asked.part:
            case Part.STATUS:
                return msgspec.json.encode(await self.own(asked.below))
            case Part.PATHS:
                return msgspec.json.encode(await self._known(asked))
            case Part.FINDINGS:
                # Of whole paths, so that it may be a few less than were asked for.
                found = await self._store.findings(asked.below, asked.behind, asked.entries + len(Oddity) + 1)
                return msgspec.json.encode(_finding_page(found, asked))
            case Part.RECENT:
                recent = [one for one in self._recent.of(asked.number, asked.below) if one.path > asked.after]
                some = await self._since_when(recent[: asked.entries + len(Oddity) + 1], asked)
                return msgspec.json.encode(_finding_page(some, asked))
            case Part.CLASHES:
                clashes = await self._store.name_clashes(asked.below, asked.behind, asked.entries + 1)
                told = tuple(Clash(one.path, one.other) for one in clashes[: _page_end(clashes, asked)])
                return msgspec.json.encode(ClashPage(told, len(clashes) > len(told)))

    async def asked(self, server: ServerName, question: Question, kind: type[_Answer]) -> _Answer:
        """What a server, this one too, answers. Raises `PeerUnreachable`."""
        raw = msgspec.json.encode(question)
        if server == self.name:
            return read_answer(kind, await self.report(raw))
        try:
            async with asyncio.timeout(self._report_wait_s):
                return read_answer(kind, await self._peers.report(server, raw))
        except TimeoutError:
            raise PeerUnreachable(f"did not report within {self._report_wait_s:g} s") from None

    async def overview(self, prefix: Prefix) -> Overview:
        """The whole cluster, as this server sees it. Never raises for a server that cannot be asked."""
        others = {one.name: one for one in self._peers.statuses()}
        told = await asyncio.gather(*(self._told(name, prefix) for name in self.names))
        reports = [one for one in told if isinstance(one, ServerStatus)]
        own = next(one for one in reports if one.name == self.name)
        return Overview(
            cluster=self.cluster,
            server=str(self.name),
            prefix=str(prefix),
            kinds=counted(own),
            rivals=max(counted(one).get("diverged", 0) for one in reports),
            servers=tuple(
                _line(name, one, others.get(name), reports) for name, one in zip(self.names, told, strict=True)
            ),
        )

    def new_number(self) -> int:
        """A name for an order, greater than those before it: microseconds, so that every language's numbers can hold it."""
        self._last_number = max(self._last_number + 1, self._now_ns() // 1000)
        return self._last_number

    async def order(self, work: Work, scope: Scope, number: int, servers: Collection[ServerName]) -> list[Ordered]:
        """Begin work on `servers`; says what each made of it, sorted by name. Never raises for a server that cannot be asked."""
        return list(await asyncio.gather(*(self._ordered(name, work, scope, number) for name in sorted(servers))))

    async def _ordered(self, server: ServerName, work: Work, scope: Scope, number: int) -> Ordered:
        try:
            if server == self.name:
                return Ordered(str(server), True, await self._order(work, scope, number))
            async with asyncio.timeout(self._report_wait_s):
                return Ordered(str(server), True, await self._peers.order(server, work.value, str(scope), number))
        except TimeoutError:
            return Ordered(str(server), False, f"did not answer within {self._report_wait_s:g} s")
        except AccordError as error:
            return Ordered(str(server), False, error.detail)

    async def _told(self, server: ServerName, prefix: Prefix) -> ServerStatus | str:
        """A server's part, or why there is none: of this one there always is."""
        if server == self.name:
            return await self.own(prefix)
        try:
            return await self.asked(server, Question(prefix=str(prefix)), ServerStatus)
        except AccordError as error:
            return error.detail

    async def _known(self, asked: Question) -> PathPage:
        found = await known_here(self._store, asked.below, asked.behind, asked.entries + 1)
        return PathPage(tuple(found[: asked.entries]), len(found) > asked.entries)

    async def _since_when(self, recent: Sequence[Finding], asked: Question) -> list[Finding]:
        """A run's findings, with the time of those that an earlier one had found already: what stands knows it."""
        since_ns: dict[tuple[FilePath, Oddity], int] = {}
        after = asked.behind
        while recent and (after is None or after < recent[-1].path):
            page = await self._store.findings(asked.below, after, PAGE_ENTRIES)
            since_ns |= {(one.path, one.oddity): one.since_ns for one in page}
            after = page[-1].path if page else recent[-1].path
        return [one._replace(since_ns=since_ns.get((one.path, one.oddity), one.since_ns)) for one in recent]

    async def _freshen(self, prefix: Prefix) -> None:
        few = await self._store.differences(prefix, None, FEW_DIFFERENCES + 1)
        if not few or len(few) > FEW_DIFFERENCES:
            return
        try:
            async with asyncio.timeout(LOOK_WAIT_S):
                await asyncio.gather(*(self._look_again(one.path) for one in few))
        except TimeoutError:
            pass

    async def _disk(self) -> Disk | None:
        try:
            space = await self._store.space()
        except StoreFailed:
            return None
        return Disk(space.free_bytes, space.total_bytes)


def _line(
    name: ServerName, told: ServerStatus | str, peer: PeerStatus | None, reports: Sequence[ServerStatus]
) -> ServerLine:
    status, reason = (told, None) if isinstance(told, ServerStatus) else (None, told)
    owed_to_it = [owed for one in reports for owed in one.owed if owed.server == name]
    standing, behind = standing_of(status, owed_to_it)
    return ServerLine(
        name=str(name),
        reachable=status is not None,
        reason=reason,
        down_s=None if peer is None or status is not None else peer.down_s,
        standing=standing,
        behind=behind,
        status=status,
    )


def _finding_page(found: Sequence[Finding], asked: Question) -> FindingPage:
    end = _page_end(found, asked)
    return FindingPage(tuple(found_copy(one) for one in found[:end]), end < len(found))


def _page_end(found: Sequence[Finding] | Sequence[NameClash], asked: Question) -> int:
    """How many of these make a page: those of whole paths only, as the next page begins behind the last path of this one. Of a path
    that alone has more than a page holds, the rest is never told."""
    if len(found) <= asked.entries:
        return len(found)
    end = asked.entries
    while end and found[end - 1].path == found[end].path:
        end -= 1
    return end or asked.entries
