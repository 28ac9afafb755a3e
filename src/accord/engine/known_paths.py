"""Which paths are not the same everywhere, as all servers together know them, each with a verdict that is taken now.

The servers' pages (`questions.PathPage`) are merged in the order of the paths; a server that fails is silent from there on. What is the
same everywhere by now is left out, and by taking its verdict its server learns of that. How the verdicts look is left to `server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import msgspec

from accord.engine.questions import KnownPath, Part, PathPage, Question
from accord.engine.read import Reader
from accord.engine.status import Status
from accord.errors import PeerUnreachable
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import NO_DIFFERENCE, Kind, Verdict

VERDICTS_AT_ONCE: Final = 32
_UNSURE: Final = frozenset((Kind.UNVERIFIED, Kind.UNKNOWN))
ESTRANGED: Final = "estranged"
CLASH: Final = "clash"
KINDS: Final = (*(kind.value for kind in Kind if kind not in NO_DIFFERENCE), ESTRANGED, CLASH)
"""What can be asked for."""


@dataclass(frozen=True, slots=True)
class Differing:
    """A path whose copies do not agree now; `since_ns` is when that was first seen, where it was."""

    verdict: Verdict
    since_ns: int | None
    estranged: bool


class _Cursor:
    """One server's pages, and the place in the page at hand."""

    def __init__(self, status: Status, server: ServerName, prefix: Prefix, after: FilePath | None) -> None:
        self.server = server
        self.silence: str | None = None
        self._status = status
        self._question = Question(Part.PATHS, str(prefix), str(after or ""))
        self._page: tuple[KnownPath, ...] = ()
        self._place = 0
        self._more = True

    async def head(self) -> KnownPath | None:
        """The next one, which stays the next one; None at the end, also where the server cannot be asked any more."""
        if self._place == len(self._page) and self._more:
            try:
                page = await self._status.asked(self.server, self._question, PathPage)
                self._check(page)
            except PeerUnreachable as error:
                self.silence, page = error.detail, PathPage((), False)
            self._page, self._place, self._more = page.entries, 0, page.more
            if page.entries:
                self._question = msgspec.structs.replace(self._question, after=page.entries[-1].path)
        return self._page[self._place] if self._place < len(self._page) else None

    def pass_by(self, path: str) -> None:
        if self._place < len(self._page) and self._page[self._place].path == path:
            self._place += 1

    def _check(self, page: PathPage) -> None:
        last = self._question.after
        for one in page.entries:
            if one.path <= last or not one.path.startswith(self._question.prefix):
                raise PeerUnreachable("its list of differences is out of order")
            last = one.path
        if page.more and not page.entries:
            raise PeerUnreachable("its list of differences has no end")


class KnownPaths:
    """Iterate once over `batches`. `servers` says afterwards, or so far, who could not be asked and why."""

    def __init__(self, status: Status, reader: Reader, prefix: Prefix, after: FilePath | None) -> None:
        self._reader = reader
        self._cursors = [_Cursor(status, server, prefix, after) for server in status.names]

    def servers(self) -> list[tuple[ServerName, str | None]]:
        return [(cursor.server, cursor.silence) for cursor in self._cursors]

    async def batches(self, kinds: frozenset[str]) -> AsyncGenerator[list[Differing], None]:
        """Those of the `kinds` (all without any), in order, some at a time."""
        while known := await self._next():
            taken = await asyncio.gather(*(self._differing(one, kinds) for one in known))
            yield [one for one in taken if one is not None]

    async def _next(self) -> list[KnownPath]:
        """The next paths that any server knows of; what they know of one path is put together."""
        batch: list[KnownPath] = []
        while len(batch) < VERDICTS_AT_ONCE:
            heads = [head for head in await asyncio.gather(*(one.head() for one in self._cursors)) if head is not None]
            if not heads:
                break
            path = min(head.path for head in heads)
            for cursor in self._cursors:
                cursor.pass_by(path)
            batch.append(_together([head for head in heads if head.path == path]))
        return batch

    async def _differing(self, known: KnownPath, kinds: frozenset[str]) -> Differing | None:
        reading = await self._reader.read(FilePath(known.path))
        reading.close()
        verdict = reading.verdict
        if verdict.kind in NO_DIFFERENCE or (verdict.kind is Kind.MISSING and not verdict.is_lost):
            return None
        fitting = {verdict.kind.value} | ({ESTRANGED} if known.estranged else set())
        if verdict.kind in _UNSURE and known.kind is not None:
            # It cannot be told now; it is what it was as far as anybody knows.
            fitting.add(known.kind)
        return Differing(verdict, known.since_ns, known.estranged) if not kinds or kinds & fitting else None


def _together(known: list[KnownPath]) -> KnownPath:
    since = [one.since_ns for one in known if one.since_ns is not None]
    kind = next((one.kind for one in known if one.kind is not None), None)
    return KnownPath(known[0].path, kind, min(since, default=None), any(one.estranged for one in known))
