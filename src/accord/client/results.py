"""What the client hands out: typed results in design's one JSON shape, and how they are read from JSON and written back.

The rules that made a verdict are `model.verdict`'s; how it looks in a terminal is left to `cli.output`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import msgspec

from accord.errors import AccordError
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Kind, State

Result = TypeVar("Result")

Relation = Literal["same", "only left", "only right", "differs", "error"]
"""How two sides stand to each other at one path; `error`: that cannot be known."""

SILENT: Final = frozenset({State.UNREACHABLE, State.CHECKING})
"""The states of a server that counts as not having answered."""


class ServerReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one server stands to a verdict. `reason` says why a copy is damaged, or why there is no answer."""

    name: ServerName
    state: State
    digest: Digest | None = None
    reason: str | None = None


class Peer(msgspec.Struct, frozen=True):
    """Another server of the same cluster."""

    name: ServerName


class About(msgspec.Struct, frozen=True):
    """A server: its own name, its cluster's, and the other servers of that."""

    server: ServerName
    cluster: str
    peers: tuple[Peer, ...] = ()


class Version(msgspec.Struct, frozen=True):
    """A current version. `digest` is None for a deletion; `size` is in bytes; `modified` is RFC 3339 text."""

    digest: Digest | None = None
    size: int = 0
    modified: str | None = None
    author: str = ""
    servers: tuple[ServerName, ...] = ()
    href: str | None = None

    @property
    def modified_at(self) -> datetime | None:
        return None if self.modified is None else datetime.fromisoformat(self.modified)


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of comparing the copies of one path, newest version first."""

    path: FilePath
    verdict: Kind
    versions: tuple[Version, ...] = ()
    servers: tuple[ServerReport, ...] = ()
    context: str | None = None

    @property
    def silent(self) -> tuple[ServerReport, ...]:
        """Who could not be asked."""
        return tuple(report for report in self.servers if report.state in SILENT)


class Handover(msgspec.Struct, frozen=True):
    """A transfer that broke off after `at_bytes` of the file, and was continued by another server (or the same, asked anew)."""

    broken_off: str
    at_bytes: int
    continued_by: str


class File(msgspec.Struct, frozen=True):
    """A whole file in memory: its bytes, which have `digest`, and the verdict they came with."""

    path: FilePath
    content: bytes
    digest: Digest
    verdict: Verdict


class Download(msgspec.Struct, frozen=True):
    """A file that was saved at `destination`. `resumed_from_bytes` is how much of it an earlier attempt had left there; the verdict is
    that of the last server that sent of it, after each of the `handovers`."""

    path: FilePath
    destination: str
    digest: Digest
    size: int
    resumed_from_bytes: int
    verdict: Verdict
    handovers: tuple[Handover, ...] = ()


class NotStored(msgspec.Struct, frozen=True):
    """A server that has not got a write, and why. It gets it later."""

    name: ServerName
    reason: str = ""


class Written(msgspec.Struct, frozen=True):
    """A write that is durable on `stored`. `digest` is None for a deletion; `is_new`: there was no such file before; `result` is the
    path's verdict afterwards, which a race may have made `diverged`."""

    path: FilePath
    digest: Digest | None
    size: int
    modified: str | None
    author: str
    is_new: bool
    stored: tuple[ServerName, ...]
    missing: tuple[NotStored, ...]
    result: Verdict


class Event(msgspec.Struct, frozen=True):
    """The making of one version: `at` by the clock of the server that made it; `deed` such as `put`, `delete` or `resolve`;
    `supersedes` are the digests of what it took the place of (None for a deletion); `servers` keep its bytes."""

    digest: Digest | None
    at: str
    deed: str
    size: int = 0
    modified: str | None = None
    author: str = ""
    message: str = ""
    source: str = ""
    supersedes: tuple[Digest | None, ...] = ()
    current: bool = False
    servers: tuple[ServerName, ...] = ()
    href: str | None = None


class History(msgspec.Struct, frozen=True):
    """What happened to a path, newest first; `servers` says who took part."""

    path: FilePath
    events: tuple[Event, ...]
    servers: tuple[ListedServer, ...] = ()

    @property
    def silent(self) -> tuple[ListedServer, ...]:
        """Who could not be asked: what only they remember is missing."""
        return tuple(server for server in self.servers if server.is_silent)


class Copy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one side of a comparison has. `digest` is None where nothing had to be read to know the result."""

    size: int | None
    digest: Digest | None = None


class Compared(msgspec.Struct, frozen=True, omit_defaults=True):
    """One path of two sides. `left` and `right` are None where that side has nothing; `reason` says what else there is to know."""

    path: str
    result: Relation
    left: Copy | None
    right: Copy | None
    reason: str | None = None
    exit_code: int = 0


class ListedServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one server took part in a listing; `state` is the server's own word for it."""

    name: ServerName
    state: str
    reason: str | None = None

    @property
    def is_silent(self) -> bool:
        return self.state in {state.value for state in SILENT}


class Folder(msgspec.Struct, frozen=True):
    """A folder in a folded listing: its path with a slash, the number of files in it, and how many of them have which verdict."""

    folder: str
    files: int
    verdicts: dict[Kind, int]


class ListingEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The last line of a whole listing. A listing without it was cut off. `next`: there is more behind this path."""

    end: bool
    entries: int
    next: str | None = None
    servers: tuple[ListedServer, ...] = ()


def decode(kind: type[Result], raw: bytes | str) -> Result:
    """JSON as a result. Raises `AccordError` for what is no such result."""
    try:
        return msgspec.json.decode(raw, type=kind, dec_hook=_read_name)
    except (msgspec.MsgspecError, AccordError, ValueError) as error:
        raise AccordError(f"The server's answer makes no sense: {error}") from error


def convert(kind: type[Result], value: object) -> Result:
    """Like `decode`, for JSON that was read already."""
    try:
        return msgspec.convert(value, type=kind, dec_hook=_read_name)
    except (msgspec.MsgspecError, AccordError, ValueError) as error:
        raise AccordError(f"The server's answer makes no sense: {error}") from error


def encode(result: object) -> bytes:
    """A result (or a list or mapping of results) as one line of JSON."""
    return msgspec.json.encode(result, enc_hook=str)


def _read_name(kind: type, value: Any) -> Any:
    """Names and digests are parsed once, here; their rules are `model.names`'."""
    if not isinstance(value, str):
        raise ValueError(f"{kind.__name__} expected, not {type(value).__name__}")
    return Digest.parse(value) if kind is Digest else kind(value)
