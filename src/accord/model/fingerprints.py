"""Fingerprints of ranges of paths, and the rule by which two servers find where they differ.

Range-based set reconciliation (Meyer, arXiv 2212.13567). A server's set has one item for each path it knows: the path and its *mark*, a
digest of the causal state (`accord.codec.mark_of`). The fingerprint of a range is the number of its items and the sum of their marks
modulo 2**128, so that it can be kept up to date by one subtraction and one addition, and those of neighbouring ranges add up.

Two servers whose fingerprints of a range are equal have the same items in it. Otherwise the one that was asked names its items, where
they are few, or cuts the range into parts and gives the fingerprint of each: n items of which d differ are compared in about
d · log n summaries. Where items are kept is left to the store, who asks whom, to `engine.sync`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from accord.model.names import FilePath

MARK_BYTES: Final = 16
SUM_MODULUS: Final = 1 << (8 * MARK_BYTES)
MAX_NAMED_ITEMS: Final = 32
"""A range of at most so many items is answered with the items themselves."""
PARTS: Final = 64
"""A range of more is cut into about so many parts."""


class Span(NamedTuple):
    """The paths with `after` < path, and path <= `upto` (None: no end), in the order of their UTF-8 bytes. '' is before all paths."""

    after: str
    upto: str | None

    def covers(self, path: str) -> bool:
        return self.after < path and (self.upto is None or path <= self.upto)


WHOLE: Final = Span("", None)


class Fingerprint(NamedTuple):
    """Of a set of items. `deleted` of the `paths` are tombstones; that follows from the marks, and is told apart for counting only."""

    paths: int = 0
    total: int = 0
    deleted: int = 0

    def plus(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(
            self.paths + other.paths, (self.total + other.total) % SUM_MODULUS, self.deleted + other.deleted
        )

    def minus(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(
            self.paths - other.paths, (self.total - other.total) % SUM_MODULUS, self.deleted - other.deleted
        )


def summed(fingerprints: Iterable[Fingerprint]) -> Fingerprint:
    """Of sets that have nothing in common."""
    paths = total = deleted = 0
    for one in fingerprints:
        paths += one.paths
        total += one.total
        deleted += one.deleted
    return Fingerprint(paths, total % SUM_MODULUS, deleted)


class Item(NamedTuple):
    """One path of a server's set."""

    path: FilePath
    mark: bytes


class Summary(NamedTuple):
    """What one server has in a range."""

    span: Span
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class Same:
    """Both have the same items in the range."""


@dataclass(frozen=True, slots=True)
class Named:
    """All items of the one who answers, in order."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """The range in parts that cover it, in order, with the fingerprints of the one who answers."""

    parts: tuple[Summary, ...]


Reply = Same | Named | Cut


class Differing(NamedTuple):
    """Paths that two servers know differently: only this one knows, only the other one, both."""

    here: tuple[FilePath, ...]
    there: tuple[FilePath, ...]
    both: tuple[FilePath, ...]


def differing(mine: Sequence[Item], theirs: Sequence[Item]) -> Differing:
    """The paths of one range, each sorted."""
    own, other = dict(mine), dict(theirs)
    return Differing(
        tuple(sorted(own.keys() - other.keys())),
        tuple(sorted(other.keys() - own.keys())),
        tuple(sorted(path for path in own.keys() & other.keys() if own[path] != other[path])),
    )
