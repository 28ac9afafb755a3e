"""Fingerprints add up, and tell sets apart; reconciliation by them finds exactly what differs, at a cost that follows that."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some

from accord.model.fingerprints import (
    MARK_BYTES,
    MAX_NAMED_ITEMS,
    PARTS,
    SUM_MODULUS,
    WHOLE,
    Cut,
    Fingerprint,
    Item,
    Named,
    Reply,
    Same,
    Span,
    Summary,
    differing,
    summed,
)
from accord.model.names import FilePath

marks = some.binary(min_size=MARK_BYTES, max_size=MARK_BYTES)
names = some.text(some.sampled_from("ab/é😀0"), min_size=1, max_size=4).map(FilePath.trusted)
states = some.dictionaries(names, some.integers(0, 2), max_size=30)
"""Of each path which of a few states it is in: its mark follows from both, as `codec.mark_of` does."""
sets = states.map(lambda known: {path: _mark(path, state) for path, state in known.items()})
spans = some.builds(Span, some.one_of(some.just(""), names), some.one_of(some.none(), names))


def _mark(path: FilePath, state: int) -> bytes:
    return hashlib.blake2b(f"{path}\n{state}".encode(), digest_size=MARK_BYTES).digest()


def fingerprint(items: Iterable[Item]) -> Fingerprint:
    return summed(Fingerprint(1, int.from_bytes(item.mark)) for item in items)


class Side:
    """A server's set, and the protocol's answers out of it."""

    def __init__(self, marks: Mapping[FilePath, bytes]) -> None:
        self.marks = marks
        self._sorted = [Item(path, marks[path]) for path in sorted(marks)]

    def items(self, span: Span) -> list[Item]:
        return [item for item in self._sorted if span.covers(item.path)]

    def summary(self, span: Span) -> Summary:
        return Summary(span, fingerprint(self.items(span)))

    def reply(self, asked: Summary) -> Reply:
        items = self.items(asked.span)
        if fingerprint(items) == asked.fingerprint:
            return Same()
        if len(items) <= MAX_NAMED_ITEMS:
            return Named(tuple(items))
        starts = [len(items) * part // PARTS for part in range(1, PARTS)]
        edges = [asked.span.after, *(items[start - 1].path for start in starts)]
        parts = map(Span, edges, [*edges[1:], asked.span.upto])
        return Cut(tuple(self.summary(part) for part in parts))


def reconciled(mine: Side, theirs: Side) -> tuple[set[FilePath], int]:
    """What the two know differently, and how many summaries that took."""
    asked, found, summaries = [mine.summary(WHOLE)], set(), 1
    while asked:
        one = asked.pop()
        match theirs.reply(one):
            case Named(items):
                found.update(*differing(mine.items(one.span), items))
                summaries += len(items)
            case Cut(parts):
                summaries += len(parts)
                asked += [my for part in parts if (my := mine.summary(part.span)) != part]
            case Same():
                pass
    return found, summaries


@given(sets, spans, names)
def test_a_range_is_the_sum_of_its_parts(marks: dict[FilePath, bytes], span: Span, edge: FilePath) -> None:
    side = Side(marks)
    if span.covers(edge) and edge != span.upto:
        low, high = Span(span.after, edge), Span(edge, span.upto)
        parts = [side.summary(part).fingerprint for part in (low, high)]
        assert summed(parts) == parts[0].plus(parts[1]) == side.summary(span).fingerprint
        assert side.summary(span).fingerprint.minus(parts[0]) == parts[1]


@given(sets, names, marks)
def test_a_change_is_one_subtraction_and_one_addition(
    marks: dict[FilePath, bytes], path: FilePath, mark: bytes
) -> None:
    after = {**marks, path: mark}
    gone = fingerprint([Item(path, marks[path])]) if path in marks else Fingerprint()
    changed = Side(marks).summary(WHOLE).fingerprint.minus(gone).plus(fingerprint([Item(path, mark)]))
    assert changed == Side(after).summary(WHOLE).fingerprint
    assert 0 <= changed.total < SUM_MODULUS


@given(sets, sets)
def test_what_differs_is_told_apart(mine: dict[FilePath, bytes], theirs: dict[FilePath, bytes]) -> None:
    here, there, both = differing(Side(mine).items(WHOLE), Side(theirs).items(WHOLE))
    assert set(here) == mine.keys() - theirs.keys()
    assert set(there) == theirs.keys() - mine.keys()
    assert set(both) == {path for path in mine.keys() & theirs.keys() if mine[path] != theirs[path]}
    assert [list(one) for one in (here, there, both)] == [sorted(one) for one in (here, there, both)]


@given(sets, sets)
def test_reconciliation_finds_exactly_what_differs(mine: dict[FilePath, bytes], theirs: dict[FilePath, bytes]) -> None:
    expected = {path for path in mine.keys() | theirs.keys() if mine.get(path) != theirs.get(path)}
    assert reconciled(Side(mine), Side(theirs))[0] == expected


def _large(count: int, chance: random.Random) -> dict[FilePath, bytes]:
    return {FilePath.trusted(f"folder/{number:05}"): chance.randbytes(MARK_BYTES) for number in range(count)}


@pytest.mark.parametrize("changes", [0, 1, 3, 10, 30])
def test_it_costs_so_much_for_each_difference_and_level(changes: int) -> None:
    chance = random.Random(changes)
    mine = _large(5_000, chance)
    theirs = dict(mine)
    changed: Sequence[FilePath] = chance.sample(sorted(mine), changes)
    for number, path in enumerate(changed):
        if number % 3 == 0:
            del theirs[path]
        elif number % 3 == 1:
            theirs[path] = chance.randbytes(MARK_BYTES)
        else:
            del theirs[path]
            theirs[FilePath.trusted(path + "x")] = chance.randbytes(MARK_BYTES)
    found, summaries = reconciled(Side(mine), Side(theirs))
    assert found == {path for path in mine.keys() | theirs.keys() if mine.get(path) != theirs.get(path)}
    levels = math.ceil(math.log(len(mine) / MAX_NAMED_ITEMS, PARTS))
    assert summaries <= 1 + 2 * changes * (PARTS * levels + MAX_NAMED_ITEMS)
