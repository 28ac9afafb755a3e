"""The odd copies and the colliding names of all servers, merged in the order of their paths, a page at a time.

A server that cannot be asked is named, and what it knows is missing from there on. What is odd about a copy is `model.findings`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import msgspec

from accord.engine.questions import Clash, ClashPage, FindingPage, FoundCopy, Part, Question
from accord.engine.status import Status
from accord.errors import PeerUnreachable
from accord.model.names import ServerName

_Entry = TypeVar("_Entry", FoundCopy, Clash)
_Page = TypeVar("_Page", FindingPage, ClashPage)
_Silent = Mapping[ServerName, str]
_NOBODY: Final[_Silent] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Everywhere(Generic[_Entry]):
    """`next` is the path to go on behind, None at the end. `servers` has all, each with why it could not be asked, or None."""

    entries: tuple[tuple[ServerName, _Entry], ...]
    next: str | None
    servers: tuple[tuple[ServerName, str | None], ...]


Ask = Callable[[Status, Question, int, _Silent], Awaitable[Everywhere[_Entry]]]
"""One page of `limit` entries or so behind the question's `after`, of those who are not silent already."""


async def findings_everywhere(
    status: Status, question: Question, limit: int, silent: _Silent = _NOBODY
) -> Everywhere[FoundCopy]:
    """About `limit` of the findings that are known now; of those of an ordered run, where the question has its number. Who is `silent`
    is not asked."""
    part = Part.RECENT if question.number else Part.FINDINGS
    asked = msgspec.structs.replace(question, part=part)
    return await _everywhere(status, asked, limit, silent, FindingPage, _entries)


async def clashes_everywhere(
    status: Status, question: Question, limit: int, silent: _Silent = _NOBODY
) -> Everywhere[Clash]:
    """About `limit` of the names that would collide elsewhere. Who is `silent` is not asked."""
    asked = msgspec.structs.replace(question, part=Part.CLASHES)
    return await _everywhere(status, asked, limit, silent, ClashPage, _clashes)


class AllFound(Generic[_Entry]):
    """One page of `ask` after the other. Iterate once over `batches`; `servers` says afterwards, or so far, who could not be asked and
    why. Who once could not is not asked again: a page would have a hole, and each of them the wait for an answer."""

    def __init__(
        self,
        status: Status,
        question: Question,
        ask: Ask[_Entry],
    ) -> None:
        self._status = status
        self._question = question
        self._ask: Ask[_Entry] = ask
        self._reasons: dict[ServerName, str] = {}

    def servers(self) -> list[tuple[ServerName, str | None]]:
        return [(name, self._reasons.get(name)) for name in self._status.names]

    async def batches(self, page_entries: int) -> AsyncGenerator[tuple[tuple[ServerName, _Entry], ...], None]:
        """About `page_entries` at a time, always of whole paths."""
        following: str | None = self._question.after
        while following is not None:
            question = msgspec.structs.replace(self._question, after=following)
            page = await self._ask(self._status, question, page_entries, self._reasons)
            self._reasons.update((name, reason) for name, reason in page.servers if reason is not None)
            yield page.entries
            following = page.next


async def _everywhere(
    status: Status,
    question: Question,
    limit: int,
    silent: _Silent,
    kind: type[_Page],
    entries_of: Callable[[_Page], tuple[_Entry, ...]],
) -> Everywhere[_Entry]:
    asked = [name for name in status.names if name not in silent]
    told = await asyncio.gather(*(_pages(status, one, question, limit, kind, entries_of) for one in asked))
    return _merged(asked, told, limit, silent)


def _entries(page: FindingPage) -> tuple[FoundCopy, ...]:
    return page.entries


def _clashes(page: ClashPage) -> tuple[Clash, ...]:
    return page.entries


async def _pages(
    status: Status,
    server: ServerName,
    question: Question,
    limit: int,
    kind: type[_Page],
    entries_of: Callable[[_Page], tuple[_Entry, ...]],
) -> tuple[list[_Entry], bool, str | None]:
    """The first entries of one server, whether there are more, and why there are none."""
    found: list[_Entry] = []
    try:
        while True:
            page = await status.asked(server, question, kind)
            some = entries_of(page)
            _check(some, question, more=page.more)
            found += some
            if not page.more or len(found) > limit:
                return found, page.more, None
            question = msgspec.structs.replace(question, after=some[-1].path)
    except PeerUnreachable as error:
        return [], False, error.detail


def _check(entries: Sequence[FoundCopy | Clash], asked: Question, *, more: bool) -> None:
    """What is merged relies on: whole paths, in order, and with every page some more of them. One path may be there several times."""
    last = asked.after
    for one in entries:
        if one.path < last or one.path == asked.after or not one.path.startswith(asked.prefix):
            raise PeerUnreachable("its report is out of order")
        last = one.path
    if more and not entries:
        raise PeerUnreachable("its report has no end")


def _merged(
    names: Sequence[ServerName], told: Sequence[tuple[list[_Entry], bool, str | None]], limit: int, silent: _Silent
) -> Everywhere[_Entry]:
    """Up to a path where every server has told all it knows, and only whole paths."""
    ends = [found[-1].path for found, more, _ in told if more]
    all_found = sorted(
        ((name, one) for name, (found, _, _) in zip(names, told, strict=True) for one in found),
        key=lambda entry: (entry[1].path, entry[0]),
    )
    known = [entry for entry in all_found if not ends or entry[1].path <= min(ends)]
    if len(known) > limit:
        end = known[limit - 1][1].path
        known = [entry for entry in known if entry[1].path <= end]
    following = known[-1][1].path if known and (ends or len(known) < len(all_found)) else None
    reasons = {**silent, **{name: reason for name, (_, _, reason) in zip(names, told, strict=True)}}
    return Everywhere(tuple(known), following, tuple(sorted(reasons.items())))
