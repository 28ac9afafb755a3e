"""What one server asks another about its state, and the pages that it answers with: JSON between servers (`peers.port.Peers.report`).

A page has at most `PAGE_ENTRIES` entries, so that it fits into one message whatever the paths are like; `more` says that there are
others behind its last one. What is asked for, and what becomes of the answers, is left to `engine.status` and `engine.known_paths`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar

import msgspec

from accord.errors import InvalidPath, InvalidQuery, PeerUnreachable
from accord.model.findings import Finding
from accord.model.names import FilePath, Prefix

PAGE_ENTRIES: Final = 100
_Answer = TypeVar("_Answer")


class Part(Enum):
    """What of a server's state is asked for."""

    STATUS = "status"
    """`overview.ServerStatus`."""
    PATHS = "paths"
    """`PathPage`: paths that are known not to be the same everywhere."""
    FINDINGS = "findings"
    """`FindingPage`: odd copies that are known now."""
    RECENT = "recent"
    """`FindingPage`: what the newest scan or scrub that was ordered with `number` found, mended or not."""
    CLASHES = "clashes"
    """`ClashPage`: names that would collide elsewhere."""


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """Entries below `prefix` that sort behind `after`, at most `limit` of them. `number` is that of an order."""

    part: Part = Part.STATUS
    prefix: str = ""
    after: str = ""
    limit: int = PAGE_ENTRIES
    number: int = 0

    @property
    def below(self) -> Prefix:
        return Prefix(self.prefix)

    @property
    def behind(self) -> FilePath | None:
        return FilePath(self.after) if self.after else None

    @property
    def entries(self) -> int:
        return max(1, min(self.limit, PAGE_ENTRIES))


class KnownPath(msgspec.Struct, frozen=True, omit_defaults=True):
    """A path that is not the same everywhere, as far as a server knows: the verdict when it was last taken and since when that is so,
    where one was taken. `estranged`: only a server that was away for too long has it."""

    path: str
    kind: str | None = None
    since_ns: int | None = None
    estranged: bool = False


class PathPage(msgspec.Struct, frozen=True):
    entries: tuple[KnownPath, ...]
    more: bool


class FoundCopy(msgspec.Struct, frozen=True, omit_defaults=True):
    """One odd copy of a server (`model.findings`): `there` is the digest of what is at the path, `recorded` of what should be."""

    path: str
    oddity: str
    since_ns: int
    there: str | None = None
    recorded: str | None = None
    detail: str = ""


class FindingPage(msgspec.Struct, frozen=True):
    entries: tuple[FoundCopy, ...]
    more: bool


class Clash(msgspec.Struct, frozen=True):
    path: str
    other: str


class ClashPage(msgspec.Struct, frozen=True):
    entries: tuple[Clash, ...]
    more: bool


def read_question(raw: bytes) -> Question:
    """Raises `InvalidQuery`."""
    if not raw:
        return Question()
    try:
        question = msgspec.json.decode(raw, type=Question)
        _ = question.below, question.behind
    except (msgspec.MsgspecError, InvalidPath) as error:
        raise InvalidQuery(f"The question makes no sense: {error}.") from error
    return question


def read_answer(kind: type[_Answer], raw: bytes) -> _Answer:
    """What another server answered. Raises `PeerUnreachable`."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise PeerUnreachable(f"its report makes no sense ({error})") from error


def found_copy(finding: Finding) -> FoundCopy:
    return FoundCopy(
        str(finding.path),
        finding.oddity.value,
        finding.since_ns,
        None if finding.there is None else str(finding.there),
        None if finding.recorded is None else str(finding.recorded),
        finding.detail,
    )
