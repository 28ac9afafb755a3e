"""What clients were told, and what other hands did to the disks: all that the checks know of how things should be.

It knows nothing of clocks. It knows of each write which versions its writer had been shown: those it may take the place of, and nothing
else. Each client's write has a label of its own, which travels as the version's author; content is never the same twice by accident.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from blake3 import blake3

from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Verdict
from accord.model.versions import Context, Dot, Version
from accord.model.writing import Conditions


class Outcome(Enum):
    """What the writer knows of a write."""

    UNKNOWN = "unknown"
    """It is under way, or nobody said what came of it: it may have been made."""
    ACKNOWLEDGED = "acknowledged"
    """It was said to be durable."""
    REFUSED = "refused"
    """It was said not to have been made."""


Id = str
"""Of a version: the label of a client's write, or the digest of what came by other hands."""


@dataclass(slots=True)
class Deed:
    """One write, deletion, or change by other hands. `takes_over` are the versions it may take the place of. `is_excused`: its last
    holder was destroyed."""

    id: Id
    path: FilePath
    digest: Digest | None
    outcome: Outcome = Outcome.UNKNOWN
    takes_over: set[Id] = field(default_factory=set)
    ends: set[Id] = field(default_factory=set)
    """Of these what the servers that answered knew: what they did not know of, a write cannot take the place of."""
    stored: tuple[ServerName, ...] = ()
    at_s: float = 0.0
    is_excused: bool = False
    is_outside: bool = False
    source: FilePath | None = None
    """Of a move: where the file is deleted."""
    conditions: Conditions | None = None
    may_be: set[Digest] = field(default_factory=set)
    """What a copy may have made, while nobody has said what it did."""
    dots: set[Dot] = field(default_factory=set)


class Ledger:
    def __init__(self) -> None:
        self.deeds: dict[Id, Deed] = {}
        self.contents: dict[Digest, bytes] = {}
        self.of_path: dict[FilePath, set[Digest]] = {}
        """What may ever be served at a path."""
        self.copying: dict[FilePath, list[Deed]] = {}
        """Copies of a path that may not have read it yet: what comes there meanwhile may be what they copy."""
        self.had_absence = False
        """Whether a server was away for longer than deletions are remembered."""
        self.found: set[Digest] = set()
        """What was there before Accord, and nobody wrote."""
        self.handled: dict[tuple[ServerName, FilePath], float] = {}
        """When other hands were last at a file of a server."""
        self.makers: dict[tuple[FilePath, Dot], Id] = {}
        """Of each event the write that made it."""
        self.by_hand: set[tuple[FilePath, Digest]] = set()
        """What other hands put where: one content is one deed, that of the path where it came first."""
        self.strange: dict[FilePath, tuple[ServerName, float]] = {}
        """Files that only a server had that came back after a long absence, and when."""
        self._written = 0

    def new_content(self, path: FilePath, size: int) -> bytes:
        """Content like no other."""
        self._written += 1
        seed = b"%d of %s|" % (self._written, path.encode())
        content = (seed * (size // len(seed) + 1))[: max(size, len(seed))] if size else seed
        self.knows(path, content)
        return content

    def knows(self, path: FilePath, content: bytes) -> Digest:
        digest = digest_of(content)
        self.contents[digest] = content
        self.of_path.setdefault(path, set()).add(digest)
        for deed in self.copying.get(path, ()):
            deed.may_be.add(digest)
            self.of_path[deed.path].add(digest)
        return digest

    def begin(self, path: FilePath, digest: Digest | None, at_s: float) -> Deed:
        deed = Deed(f"w{len(self.deeds)}", path, digest, at_s=at_s)
        self.deeds[deed.id] = deed
        return deed

    def outside(self, path: FilePath, digest: Digest, at_s: float, takes_over: Iterable[Id]) -> Deed:
        deed = Deed(str(digest), path, digest, Outcome.UNKNOWN, set(takes_over), at_s=at_s, is_outside=True)
        self.deeds[deed.id] = deed
        return deed

    def id_of(self, version: Version) -> Id:
        return version.author if version.author in self.deeds else str(version.digest)

    def ids(self, verdict: Verdict) -> set[Id]:
        """The versions that a verdict shows."""
        shown = {held.version.digest for held in verdict.versions}
        return {self.id_of(version) for _, version in verdict.clock.current() if version.digest in shown} | {
            self.id_of(held.version) for held in verdict.versions
        }

    def known(self, ids: Iterable[Id], context: Context) -> set[Id]:
        """Of these what the context covers."""
        dots = {one: self.deeds[one].dots for one in ids if one in self.deeds}
        return {
            one for one, some in dots.items() if some and all(context.get(dot.actor, 0) >= dot.counter for dot in some)
        }

    def covered(self, roots: Iterable[Id]) -> set[Id]:
        """The versions that these, and what they took the place of, have taken the place of; and themselves."""
        seen: set[Id] = set()
        todo = list(roots)
        while todo:
            one = todo.pop()
            if one in seen:
                continue
            seen.add(one)
            if one in self.deeds:
                todo.extend(self.deeds[one].takes_over)
        return seen

    def at(self, path: FilePath) -> list[Deed]:
        return [deed for deed in self.deeds.values() if path in (deed.path, deed.source)]


def digest_of(content: bytes | bytearray) -> Digest:
    return Digest(blake3(content).digest())
