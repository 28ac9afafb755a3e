"""What the commands made, beside what the client handed them: the values that both renderers show.

Making them is the commands' part, showing them `cli.output`'s.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from accord.cli.exit_codes import OK
from accord.client.results import Handover, Relation, Verdict, Written
from accord.client.status import OddCopy
from accord.engine.progress import RunProgress, SyncProgress
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Kind


class SavedFile(msgspec.Struct, frozen=True):
    """One file on this machine's disk. `servers` hold the version that is in it; sizes are in bytes.

    `resumed_from_bytes` is how much of it was there from an earlier attempt: all of it, if the same file was there already.
    """

    destination: str
    digest: Digest
    size: int
    servers: tuple[ServerName, ...]
    resumed_from_bytes: int = 0
    handovers: tuple[Handover, ...] | msgspec.UnsetType = msgspec.UNSET


class Fetched(msgspec.Struct, frozen=True):
    """What `get` saved of one path: one file, or one for each rival version."""

    path: FilePath
    verdict: Verdict
    files: tuple[SavedFile, ...]


class Side(msgspec.Struct, frozen=True):
    """One side of a comparison; `digest` is None for a deletion."""

    label: str
    digest: Digest | None
    size: int
    servers: tuple[ServerName, ...]


class Difference(msgspec.Struct, frozen=True):
    """Two versions compared. `text` is a unified diff, or None where one of them is no text, or too large to compare by lines."""

    old: Side
    new: Side
    identical: bool
    text: str | None


class Comparison(msgspec.Struct, frozen=True):
    """What `diff` found out about one path."""

    path: FilePath
    verdict: Kind
    identical: bool
    differences: tuple[Difference, ...]


Deed = Literal["stored", "saved", "deleted", "same", "skipped", "failed", "would store", "would save", "would delete"]


class TreeItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one file of a tree. `path` is Accord's, `local` this machine's; `reason` says why it was skipped or failed, and
    `problem` is the error as JSON. `same`: it was there already."""

    did: Deed
    path: str | None = None
    local: str | None = None
    size: int | None = None
    written: Written | None = None
    fetched: Fetched | None = None
    reason: str | None = None
    problem: dict[str, Any] | None = None
    exit_code: int = OK


class TreeSummary(msgspec.Struct, frozen=True):
    """How many files met which fate, and the exit code: that of the worst."""

    summary: dict[Deed, int]
    exit_code: int


class CheckSummary(msgspec.Struct, frozen=True):
    """How many paths of two sides compared how, and the exit code: that of the worst."""

    summary: dict[Relation, int]
    exit_code: int


class Resolved(msgspec.Struct, frozen=True):
    """What was chosen for one path, in words. `written` is None where nothing was to be changed (`--dry-run`); an undoing makes
    several versions, of which it is the last, and rivals are what it is for."""

    path: FilePath
    chosen: str
    written: Written | None
    undone: bool | msgspec.UnsetType = msgspec.UNSET


RunState = Literal["done", "begun", "refused", "unreachable", "lost", "forgotten", "paused"]


class ServerRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of ordered work on one server. `run` is a scan or a scrub, `sync` its comparisons with the others. `lost`: it could
    not be asked any more before the end. `paused`: it mends nothing, so that a sync does not end."""

    name: ServerName
    state: RunState
    reason: str | None = None
    run: RunProgress | None = None
    sync: tuple[SyncProgress, ...] = ()


class FoundNow(OddCopy, frozen=True, kw_only=True):
    """An odd copy, and what became of it since: `now` in words, `verdict` of its path."""

    now: str
    verdict: Kind


class Upkeep(msgspec.Struct, frozen=True):
    """A scan, scrub or sync of several servers."""

    work: str
    scope: str
    number: int
    servers: tuple[ServerRun, ...]
    findings: tuple[FoundNow, ...]
    exit_code: int
