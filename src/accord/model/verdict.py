"""The heart: what the answers of all servers about one path amount to.

`compare` is a pure function of the answers. It knows neither where they came from nor what is done about them; it never waits, picks
no winner, and looks at no timestamp. The table it follows is in docs/architecture.md; here is the order in which it is read:

    claims    = the versions that a copy (good or damaged), a rival kept aside or a tombstone stands for, those that another claim
                supersedes left out
    2+ claims → diverged
    1 claim   → deleted, or damaged (no good copy of it), or by who holds it: unverified, stale, partial, identical
    0 claims  → damaged, unknown, missing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache, reduce

from typing_extensions import TypeIs

from accord.model.names import Digest, FilePath, ServerName
from accord.model.versions import EMPTY_CLOCK, Clock, Context, Dot, Version, merge

_CACHED_AGREEMENTS = 4096

FOLDER = "a folder"
EMPTY_FOLDER = "an empty folder"
"""Folders exist by their files: one without any (but for empty folders) gives way to a file."""

Claim = Digest | None
"""What an answer stands for: a digest, or None for a tombstone."""


@dataclass(frozen=True, slots=True)
class Present:
    """The server holds a readable copy. `clock` is all it knows of the path; `aside` are the other current versions it holds: the
    digests of rivals it keeps apart from the path, and None where a deletion is among them."""

    digest: Digest
    size: int
    modified_ns: int
    clock: Clock
    executable: bool = False
    aside: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """The server holds no copy. `obstacle` says what is there instead, where something is (a folder, a symbolic link). `clock` and
    `aside` are what it knows and keeps all the same, where a copy was lost."""

    obstacle: str | None = None
    clock: Clock = EMPTY_CLOCK
    aside: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Deleted:
    """The server knows that the path was deleted, and for how long it has known (`age_s`): what it is told goes along, so that servers
    which tell each other of a deletion do not keep it alive for ever. The age tells nothing about the path."""

    clock: Clock
    age_s: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Damaged:
    """The server's copy fails its digest or cannot be read. `digest` and `clock` are of what should be there."""

    reason: str
    digest: Digest | None = None
    clock: Clock = EMPTY_CLOCK
    aside: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Checking:
    """The copy changed and is still being hashed; it counts as not having answered. Progress in bytes."""

    hashed_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer, and why."""

    reason: str


Answer = Present | Absent | Deleted | Damaged | Checking | Unreachable
Known = Present | Absent | Deleted | Damaged
"""An answer of a server that was not silent."""


def is_known(answer: Answer) -> TypeIs[Known]:
    return not isinstance(answer, Checking | Unreachable)


class Kind(Enum):
    """The outcome of comparing the copies of one path."""

    IDENTICAL = "identical"
    """All that answered hold the same current content, and at least two answered."""
    STALE = "stale"
    """One current version; some servers hold only an ancestor that it supersedes."""
    PARTIAL = "partial"
    """One current version; some servers that answered lack a good copy."""
    UNVERIFIED = "unverified"
    """Only one server answered, and it has the file."""
    DIVERGED = "diverged"
    """Two or more rival versions."""
    DELETED = "deleted"
    """The current version is a tombstone."""
    MISSING = "missing"
    """Every server answered that it has no copy."""
    UNKNOWN = "unknown"
    """Nobody who answered has it, and somebody did not answer."""
    DAMAGED = "damaged"
    """Every copy of the current version that answered fails its digest."""


DIFFERENCES = frozenset((Kind.STALE, Kind.PARTIAL, Kind.DIVERGED, Kind.DAMAGED, Kind.MISSING))
"""The kinds that say that something is to be mended, or to be decided by a person; `MISSING` of a file that was lost (`is_lost`)."""
NO_DIFFERENCE = frozenset((Kind.IDENTICAL, Kind.DELETED))
"""The kinds that say that nothing is. The others only say that servers were silent: what is known of a path stays known."""


class State(Enum):
    """How one server stands to the verdict."""

    CURRENT = "current"
    """It holds the one current version."""
    RIVAL = "rival"
    """It holds one of several rival versions."""
    STALE = "stale"
    """It holds, or remembers deleting, only what the current version supersedes."""
    ABSENT = "absent"
    """It holds no copy."""
    DELETED = "deleted"
    """It holds the tombstone that is current, or one of the rivals."""
    DAMAGED = "damaged"
    """Its copy fails its digest."""
    CHECKING = "checking"
    """Its copy is still being hashed."""
    UNREACHABLE = "unreachable"
    """It did not answer."""


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One server's line in a verdict. `reason` says why a copy is damaged, or why a server did not answer."""

    name: ServerName
    state: State
    digest: Digest | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class HeldVersion:
    """A current version, the servers that it is named by, and all that can deliver it, both sorted by name.

    It is named by the servers that have it at the path; only where none has, by those that keep it aside."""

    version: Version
    servers: tuple[ServerName, ...]
    holders: tuple[ServerName, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answers amount to: `versions` newest first, `servers` sorted by name, `clock` all that anybody knows."""

    path: FilePath
    kind: Kind
    versions: tuple[HeldVersion, ...]
    servers: tuple[ServerReport, ...]
    clocks: tuple[Clock, ...]
    unseen: tuple[Dot, ...] = ()
    """Versions that are known to be current, but nobody who answered holds them, and somebody was silent: a reader of this verdict
    has not seen them."""

    @property
    def version(self) -> HeldVersion:
        """The one current version. Raises ValueError where there is none, or more than one."""
        (only,) = self.versions
        return only

    @property
    def clock(self) -> Clock:
        return merged(self.clocks)

    def seen(self) -> Context:
        """What a reader of this verdict has seen: everything known, but for `unseen` (and what its actors made later)."""
        context = self.clock.context()
        for actor, counter in self.unseen:
            context[actor] = min(context[actor], counter - 1)
        return {actor: counter for actor, counter in context.items() if counter}

    @property
    def silent(self) -> tuple[ServerReport, ...]:
        """Who could not be asked."""
        return tuple(report for report in self.servers if report.state in (State.UNREACHABLE, State.CHECKING))

    @property
    def is_lost(self) -> bool:
        """Whether nobody has it, and somebody remembers it: it vanished from every directory without having been deleted."""
        return self.kind is Kind.MISSING and any(clock.entries for clock in self.clocks)


def merged(clocks: Iterable[Clock]) -> Clock:
    return reduce(merge, clocks, EMPTY_CLOCK)


def compare(path: FilePath, answers: Mapping[ServerName, Answer]) -> Verdict:
    """The verdict on one path. `answers` has every server of the cluster, the silent ones too. Raises ValueError if it has none."""
    if not answers:
        raise ValueError("a verdict needs the answer of at least one server")
    agreed = _all_agree(path, answers)
    if agreed is not None:
        return agreed
    ordered = [(server, answers[server]) for server in sorted(answers)]
    clocks = _distinct([answer.clock for _, answer in ordered if is_known(answer)])
    known = merged(clocks)
    claims = _current_claims(answers, known)
    versions = _held(claims, ordered, known)
    kind = _kind(claims, versions, answers.values())
    reports = tuple(_report(server, answer, kind, claims) for server, answer in ordered)
    is_silent = not all(map(is_known, answers.values()))
    unseen = tuple(dot for dot, version in known.current() if is_silent and version.digest not in claims)
    return Verdict(path, kind, versions, reports, clocks, unseen)


def _all_agree(path: FilePath, answers: Mapping[ServerName, Answer]) -> Verdict | None:
    """The everyday verdict, without the general rules: whoever answered holds the same bytes, and nothing else."""
    copies: list[Present] = []
    holders: list[ServerName] = []
    silent: list[tuple[ServerName, Unreachable]] = []
    for name in sorted(answers):
        answer = answers[name]
        if type(answer) is Present and not answer.aside and (not copies or answer.digest == copies[0].digest):
            holders.append(name)
            copies.append(answer)
        elif type(answer) is Unreachable:
            silent.append((name, answer))
        else:
            return None
    if not copies or (silent and not all(map(_knows_of_no_other, copies))):
        return None
    newest = copies[0]
    for copy in copies:
        if copy.modified_ns > newest.modified_ns:
            newest = copy
    versions, reports = _agreement(tuple(holders), tuple(silent), _version_of(newest))
    kind = Kind.IDENTICAL if len(copies) > 1 else Kind.UNVERIFIED
    return Verdict(path, kind, versions, reports, _distinct([copy.clock for copy in copies]))


def _knows_of_no_other(copy: Present) -> bool:
    return all(version.digest == copy.digest for entry in copy.clock.entries for version in entry.versions)


@lru_cache(maxsize=_CACHED_AGREEMENTS)
def _agreement(
    holders: tuple[ServerName, ...], silent: tuple[tuple[ServerName, Unreachable], ...], version: Version
) -> tuple[tuple[HeldVersion, ...], tuple[ServerReport, ...]]:
    """What an agreement of `holders` on `version` looks like: the same values again for a file that is read again."""
    reports = [ServerReport(name, State.CURRENT, version.digest) for name in holders]
    reports += [ServerReport(name, State.UNREACHABLE, reason=answer.reason) for name, answer in silent]
    return (HeldVersion(version, holders, holders),), tuple(sorted(reports, key=lambda report: report.name))


def _distinct(clocks: Sequence[Clock]) -> tuple[Clock, ...]:
    # Clocks are decoded once and shared, so that the same knowledge is mostly the same object, and comparing it costs nothing.
    if all(clock is clocks[0] for clock in clocks):
        return tuple(clocks[:1])
    return tuple(dict.fromkeys(clocks))


def _claims_of(answer: Answer) -> tuple[Claim, ...]:
    """What an answer stands for, damaged or not."""
    match answer:
        case Present(digest=digest, aside=aside):
            return digest, *aside
        case Damaged(digest=Digest() as digest, aside=aside):
            return digest, *aside
        case Absent(aside=aside) | Damaged(aside=aside):
            return aside
        case Deleted():
            return (None,)
        case _:
            return ()


def keeps(answer: Answer, claim: Claim) -> bool:
    """Whether the server can deliver the version (or, of a tombstone, knows it)."""
    match answer:
        case Present(digest=digest, aside=aside):
            return claim == digest or claim in aside
        case Absent(aside=aside) | Damaged(aside=aside):
            return claim in aside
        case Deleted():
            return claim is None
        case _:
            return False


def _current_claims(answers: Mapping[ServerName, Answer], known: Clock) -> set[Claim]:
    """The claims that no other claim supersedes. Content whose every event was superseded by something nobody holds counts as
    current again: the bytes are what there is."""
    claims = {claim for answer in answers.values() for claim in _claims_of(answer)}
    surviving = claims & {version.digest for _, version in known.current()}
    return surviving or claims


def _held(claims: set[Claim], ordered: list[tuple[ServerName, Answer]], known: Clock) -> tuple[HeldVersion, ...]:
    held = []
    for claim in claims:
        copies = [
            (server, answer) for server, answer in ordered if isinstance(answer, Present) and answer.digest == claim
        ]
        version = max((_version_of(copy) for _, copy in copies), key=lambda one: one.modified_ns, default=None)
        if version is None:
            version = _remembered(claim, known)
        holders = tuple(server for server, answer in ordered if keeps(answer, claim))
        named = tuple(server for server, answer in ordered if _is_at_path(answer, claim))
        held.append(HeldVersion(version, named or holders, holders))
    return tuple(sorted(held, key=lambda one: (-one.version.modified_ns, one.version.digest or b"")))


def _is_at_path(answer: Answer, claim: Claim) -> bool:
    return isinstance(answer, Deleted) if claim is None else isinstance(answer, Present) and answer.digest == claim


def _version_of(copy: Present) -> Version:
    for entry in copy.clock.entries:
        for version in entry.versions:
            if version.digest == copy.digest:
                seen = Version(copy.digest, copy.size, copy.modified_ns, version.author, copy.executable)
                return version if version == seen else seen
    return Version(copy.digest, copy.size, copy.modified_ns, "", copy.executable)


def _remembered(claim: Claim, known: Clock) -> Version:
    """A version of which no good copy is at the path anywhere, as the clocks remember it."""
    versions = [version for _, version in known.current() if version.digest == claim]
    return max(versions, key=lambda one: one.modified_ns, default=Version(claim, 0, 0, ""))


def _kind(claims: set[Claim], versions: tuple[HeldVersion, ...], answers: Iterable[Answer]) -> Kind:
    everyone = list(answers)
    answered = [answer for answer in everyone if is_known(answer)]
    if len(claims) > 1:
        return Kind.DIVERGED
    if not claims:
        if any(isinstance(answer, Damaged) for answer in answered):
            return Kind.DAMAGED
        return Kind.MISSING if len(answered) == len(everyone) else Kind.UNKNOWN
    if None in claims:
        return Kind.DELETED
    if not versions[0].holders:
        return Kind.DAMAGED
    if len(answered) == 1:
        return Kind.UNVERIFIED
    if all(isinstance(one, Present) and one.digest in claims for one in answered):
        return Kind.IDENTICAL
    outdated = any(
        isinstance(one, Deleted) or (isinstance(one, Present) and one.digest not in claims) for one in answered
    )
    return Kind.STALE if outdated else Kind.PARTIAL


def _report(server: ServerName, answer: Answer, kind: Kind, claims: set[Claim]) -> ServerReport:
    match answer:
        case Present(digest=digest) if digest not in claims:
            return ServerReport(server, State.STALE, digest)
        case Present(digest=digest):
            return ServerReport(server, State.RIVAL if kind is Kind.DIVERGED else State.CURRENT, digest)
        case Absent(obstacle=obstacle):
            return ServerReport(server, State.ABSENT, reason=obstacle)
        case Deleted():
            return ServerReport(server, State.DELETED if None in claims else State.STALE)
        case Damaged(reason=reason, digest=digest):
            return ServerReport(server, State.DAMAGED, digest, reason)
        case Checking(hashed_bytes=done, total_bytes=total):
            return ServerReport(server, State.CHECKING, reason=f"{done} of {total} bytes hashed")
        case Unreachable(reason=reason):
            return ServerReport(server, State.UNREACHABLE, reason=reason)
