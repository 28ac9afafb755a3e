"""The contract of what a store knows about all of its paths at once: fingerprints, counts, what is odd, what is to be mended.

Nothing here walks the tree but `rescan` and `scrub`, which do nothing else; everything else is answered from the index, at a cost that
follows the number of differences. Every adapter passes `accord.testing`'s suite. What is done about it is left to
`engine.sync`, `engine.scan`, `engine.scrub` and `engine.status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from accord.model.findings import Finding, NameClash, Oddity
from accord.model.fingerprints import Fingerprint, Item, Span, Summary
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import Kind

MAX_STEP_BYTES = 8 * 1024 * 1024
"""A step of a scrub reads about so much, so that it can be slowed down and stopped between steps."""


Scope = Prefix | FilePath
"""What work is limited to: one path, everything below a folder, or everything (the empty prefix)."""


class Difference(NamedTuple):
    """A path whose verdict was a difference (`model.verdict.DIFFERENCES`) when it was last taken; `since_ns`: first seen so."""

    path: FilePath
    kind: Kind
    since_ns: int


@dataclass(frozen=True, slots=True)
class ScanStep:
    """What one step of a scan came upon. `folder` is where it is. `files`: how many were looked at, `hashed_bytes`: read because they
    had changed. `findings` are copies that changed or vanished behind Accord's back; `found`, paths that are new here."""

    folder: str
    files: int
    hashed_bytes: int = 0
    findings: tuple[Finding, ...] = ()
    found: tuple[FilePath, ...] = ()


@dataclass(frozen=True, slots=True)
class ScrubStep:
    """What one step of a scrub read. `at` is the path to go on after, should the scrub be interrupted; None: begin again."""

    at: FilePath | None
    files: int
    read_bytes: int
    findings: tuple[Finding, ...] = ()


class Tally(NamedTuple):
    """How much there is of what is odd. `rivals` are paths with several current versions, as far as this server knows; `clashes` are
    of the last whole scan."""

    rivals: int
    findings: Mapping[Oddity, int]
    estranged: int
    clashes: int


class Space(NamedTuple):
    """Of the file system that the store is on. `free_bytes` is what this server may still use."""

    free_bytes: int
    total_bytes: int


class Inventory(Protocol):
    """Part of `store.port.Store`. What is `async` may wait for the index; iterators block: run each `next` in a thread."""

    # Comparing with another server.

    async def summaries(self, spans: Sequence[Span]) -> list[Fingerprint]:
        """The fingerprint of each range. One over everything (`WHOLE`) costs nothing, any other about a thousandth of its paths."""
        ...

    async def cut(self, spans: Sequence[Span], parts: int) -> list[list[Summary]]:
        """Each range in up to `parts` parts of about as many items, in order, covering it (the last one ends where it does)."""
        ...

    async def items(self, spans: Sequence[Span], limit: int) -> list[list[Item]]:
        """The first `limit` items of each range, in order."""
        ...

    # What is to be mended.

    async def unmended(self, after: FilePath | None, limit: int) -> list[FilePath]:
        """Paths of which the record alone says that this server lacks something: a current version's bytes, a copy that was lost, or
        damaged. In order."""
        ...

    async def rivals(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[FilePath]:
        """Paths with two or more current versions, as far as this server knows. In order."""
        ...

    def note_verdict(self, path: FilePath, kind: Kind) -> None:
        """Remember a path's verdict where it is a difference, forget it where it no longer is. Called for every verdict: where there is
        nothing to change it costs next to nothing. Never waits; written with the next commit; forgetting it in a crash is allowed."""
        ...

    def is_difference(self, path: FilePath) -> bool:
        """Whether the path may be among the differences. From memory."""
        ...

    async def differences(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[Difference]:
        """In the order of the paths."""
        ...

    async def count_differences(self, prefix: Prefix) -> Mapping[Kind, int]:
        """How many there are of each kind below `prefix`."""
        ...

    async def count(self, prefix: Prefix) -> Fingerprint:
        """Of everything below `prefix` (its `paths` and `deleted` are the numbers wanted). No walk; as `summaries`."""
        ...

    # What was found.

    def note_finding(self, finding: Finding) -> None:
        """Remember it, in place of an older one of the same path and oddity (whose `since_ns` stays). As `note_verdict` otherwise. A
        commit that puts something good at the path, and a look that finds it good, forget it. Looks that come upon an odd copy
        have noted it themselves."""
        ...

    async def tally(self, prefix: Prefix) -> Tally:
        """Of everything below `prefix`. No walk."""
        ...

    async def space(self) -> Space:
        """Raises `StoreFailed`."""
        ...

    async def findings(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[Finding]: ...

    async def name_clashes(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[NameClash]:
        """Names that would collide elsewhere, of the last whole scan. In the order of the paths."""
        ...

    # Strangers.

    def deem_estranged(self, paths: Sequence[FilePath]) -> None:
        """These are only on a server that was away longer than tombstones are kept: they may have been deleted since. They are not
        taken over until somebody writes to them (a commit forgets it). What there is no room for is not remembered: ask."""
        ...

    async def is_estranged(self, path: FilePath) -> bool: ...

    async def estranged(self, after: FilePath | None, limit: int) -> list[FilePath]: ...

    # Notes of the engine, such as how far a scrub has come.

    def note(self, key: str, value: str | None) -> None:
        """Keep a short text across restarts (None forgets it). Written with the next commit, or soon."""
        ...

    async def noted(self, key: str) -> str | None: ...

    # Going through everything.

    def rescan(self, scope: Scope) -> Iterator[ScanStep]:
        """Walk the tree and compare stat data with the index: files that changed are hashed and recorded, files that vanished become
        lost copies (`MISSING`). Of an unchanged tree no file's content is read; memory is bounded by the largest folder, and a step by
        a bounded number of files. A whole scan renews the name clashes. May be left at any step."""
        ...

    def scrub(self, scope: Scope, after: FilePath | None) -> Iterator[ScrubStep]:
        """Read every byte that is kept (at the paths, aside, in history) of `scope` and after `after`, and compare it with its
        digest. A copy that does not match is recorded as what it is (`Damaged`, or an outside change), a damaged one that is kept
        apart goes to quarantine. A step reads about `MAX_STEP_BYTES`. May be left at any step."""
        ...

    def forget_debts_lost(self, server: ServerName) -> None:
        """A comparison of everything with `server` has ended: what debts were let go, it has found. Clears `Debts.lost`."""
        ...

    async def drop_tombstones(self, older_than_ns: int, limit: int) -> int:
        """Forget deletions that this server has known of for longer than that; says how many."""
        ...
