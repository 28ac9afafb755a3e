"""What servers say of themselves and of each other: the values of the status, and the rule by which a server is in sync or behind.

All of it is JSON as it is (msgspec), the same between servers, over HTTP and in the client. Times are nanoseconds since the Unix
epoch by the clock of the server that says so; its `now_ns` stands beside them, so that ages need no clocks that agree. Gathering is
left to `engine.status`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec

from accord.engine.progress import HealProgress, RunProgress, SyncProgress
from accord.model.verdict import Kind


class Disk(msgspec.Struct, frozen=True):
    free_bytes: int
    total_bytes: int


class FirstHashing(msgspec.Struct, frozen=True, kw_only=True):
    """How far the first hashing of the tree is, and what in the tree cannot be served at all."""

    done: bool
    hashed_files: int
    found_files: int
    unreadable: int = 0
    unnameable: int = 0


class Owed(msgspec.Struct, frozen=True):
    """What this server owes to another. `lost`: more than is remembered; a comparison of everything will find it."""

    server: str
    paths: int
    lost: bool = False


class PeerLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """How this server sees its connection to another (`peers.port.PeerState`)."""

    name: str
    state: str
    reason: str | None = None
    down_s: float | None = None


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One server's own part. The numbers from `files` to `clashes` are of what is below `prefix`.

    `kinds` has how many paths are no agreement, by their verdicts, as far as this server knows; `rivals`, of how many it has several
    current versions itself. `disk` is None where nobody can tell. `takes_in`: not, once its directory cannot be relied on any more.
    """

    name: str
    version: str
    started_ns: int
    now_ns: int
    prefix: str = ""
    files: int
    deleted: int
    kinds: dict[str, int]
    rivals: int
    findings: dict[str, int]
    estranged: int
    clashes: int
    disk: Disk | None
    degraded: str | None
    takes_in: bool = True
    indexing: FirstHashing
    queue: HealProgress
    scan: RunProgress
    scrub: RunProgress
    sync: tuple[SyncProgress, ...]
    owed: tuple[Owed, ...]
    peers: tuple[PeerLine, ...]


class Standing(Enum):
    """How a server stands to the others."""

    IN_SYNC = "in sync"
    """At its last comparison it lacked nothing that those it could ask have, and nothing has been owed to it since."""
    BEHIND = "behind"
    """It is known to lack something."""
    COMPARING = "comparing"
    """It is finding out: the first comparison, or the first hashing of its files, is under way."""
    UNKNOWN = "unknown"
    """Nobody can tell: it cannot be asked, it could compare itself with nobody, or what it compared is not in its place any more."""


class ServerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One server, as the asked one sees it. `status` is None where it cannot be asked; then `reason` says why, and `down_s` for how
    many seconds that has been so. `behind`: by how many paths at least."""

    name: str
    reachable: bool
    reason: str | None = None
    down_s: float | None = None
    standing: Standing
    behind: int = 0
    status: ServerStatus | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The whole cluster, as `server` sees it. `kinds` counts the paths below `prefix` by their verdicts, as `server` knows them;
    `rivals` is the greatest number that any server knows of."""

    cluster: str
    server: str
    prefix: str
    kinds: dict[str, int]
    rivals: int
    servers: tuple[ServerLine, ...]


def standing_of(status: ServerStatus | None, owed_to_it: Iterable[Owed]) -> tuple[Standing, int]:
    """How a server stands, and by how many paths it is behind at least. `owed_to_it` is what the others owe to it.

    What is owed, queued and found by comparing is mostly the same paths: the greatest of the numbers counts. Peers that it cannot ask
    are left out: what they have, nobody knows.
    """
    debts = tuple(owed_to_it)
    behind = max((one.paths for one in debts), default=0)
    is_unsure = any(one.lost for one in debts)
    if status is None:
        return (Standing.BEHIND if behind else Standing.UNKNOWN), behind
    compared = [one for one in status.sync if one.is_equal is not None]
    found = sum(_remaining(one) for one in compared) + sum(_remaining(one) for one in status.sync if one.running)
    behind = max(behind, status.queue.queued + status.queue.running, found)
    if behind:
        return Standing.BEHIND, behind
    if not status.takes_in:
        return Standing.UNKNOWN, 0
    if not status.indexing.done:
        return Standing.COMPARING, 0
    if not status.peers:
        return Standing.IN_SYNC, 0
    if any(one.running and one.is_equal is not True for one in status.sync):
        return Standing.COMPARING, 0
    asked = {one.name for one in status.peers if one.state == "up"}
    counting = [one for one in compared if one.peer in asked]
    if is_unsure or not counting or {one.peer for one in counting} != asked:
        return Standing.UNKNOWN, 0
    if all(one.is_equal for one in counting):
        return Standing.IN_SYNC, 0
    return Standing.BEHIND, 1


def _remaining(one: SyncProgress) -> int:
    """Paths of a comparison that are not mended: of one that ended with nothing to mend, none."""
    return 0 if one.is_equal and not one.running else max(0, one.differing - one.mended)


def counted(status: ServerStatus) -> dict[str, int]:
    """The paths below the status's prefix by their verdicts; kinds that no path has are left out.

    What is no known difference is identical where a server that can be asked was compared with, and unverified where none was.
    """
    kinds = dict(status.kinds)
    if status.rivals > kinds.get(Kind.DIVERGED.value, 0):
        kinds[Kind.DIVERGED.value] = status.rivals
    asked = {one.name for one in status.peers if one.state == "up"}
    is_compared = any(one.peer in asked and one.is_equal is not None for one in status.sync)
    rest = Kind.IDENTICAL if is_compared else Kind.UNVERIFIED
    kinds[rest.value] = max(0, status.files - sum(kinds.values()))
    kinds[Kind.DELETED.value] = status.deleted
    return {kind.value: kinds[kind.value] for kind in Kind if kinds.get(kind.value)}
