"""Stat data vouch for a digest only where no change can hide behind them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.model.names import Digest, ServerName
from accord.model.verdict import Deleted
from accord.model.versions import EMPTY_CLOCK, Actor, OutsideChanges, Version, found, merge, write
from accord.store.records import (
    RACY_WINDOW_NS,
    Judge,
    Record,
    Seen,
    Stat,
    age_s,
    dated,
    is_racy,
    makes_event,
    nothing_there,
)
from accord.store.todo import Todo, todo_of

times = st.integers(-(1 << 62), 1 << 62)
stats = st.builds(Stat, st.integers(0, 1 << 60), times, times, st.integers(0, 1 << 60), st.integers(0, 1 << 40))
digests = st.binary(min_size=32, max_size=32).map(Digest)
judges = st.sampled_from(OutsideChanges).map(lambda policy: Judge(ServerName("server1"), lambda: "life", policy))
TICK_NS = 10_000_000


@given(stats, times, digests)
def test_only_the_very_same_stat_data_vouch(stat: Stat, hashed_at_ns: int, digest: Digest) -> None:
    record = Record(EMPTY_CLOCK, stat, digest, hashed_at_ns)
    assert record.vouching() == (None if is_racy(stat.ctime_ns, hashed_at_ns) else stat)
    for field in Stat._fields:
        other = stat._replace(**{field: getattr(stat, field) + 1})
        assert record.vouching() != other


@given(times, st.integers(0, RACY_WINDOW_NS), st.sampled_from([1, -1]))
def test_a_change_at_the_moment_of_hashing_does_not_vouch(hashed_at_ns: int, apart_ns: int, sign: int) -> None:
    assert is_racy(hashed_at_ns + sign * apart_ns, hashed_at_ns)
    assert not is_racy(hashed_at_ns + sign * (RACY_WINDOW_NS + 1), hashed_at_ns)


@given(st.integers(0, 1 << 60), st.integers(-(10**9), 10**9), st.integers(0, 10**9), st.integers(1, TICK_NS))
def test_no_write_hides_behind_a_coarse_clock(began_ns: int, before_ns: int, after_ns: int, tick_ns: int) -> None:
    """Content was last written at `before`, hashed at `began`, and written again `after`: with a clock that ticks, either the
    change time differs or nothing vouched."""

    def stamp(at_ns: int) -> int:
        return at_ns - at_ns % tick_ns

    recorded = stamp(began_ns - abs(before_ns))
    rewritten = stamp(began_ns + after_ns)
    assert recorded != rewritten or is_racy(recorded, began_ns)


@given(stats, times, digests, st.text(min_size=1))
def test_the_damaged_and_the_deleted_never_vouch(stat: Stat, at_ns: int, digest: Digest, reason: str) -> None:
    record = Record(EMPTY_CLOCK, stat, digest, at_ns)
    assert replace(record, damaged=reason).vouching() is None
    assert replace(record, stat=None).vouching() is None
    assert replace(record, damaged=reason).known_damage(stat) is not None
    assert replace(record, damaged=reason).known_damage(stat._replace(ctime_ns=stat.ctime_ns + 1)) is None


@given(judges, stats, stats, digests, digests, times)
def test_the_record_is_always_of_what_was_seen(
    judge: Judge, stat: Stat, later: Stat, digest: Digest, other: Digest, at_ns: int
) -> None:
    first = judge.record(None, Seen(stat, digest, False, at_ns))
    assert first.clock == found(Version(digest, stat.size, stat.mtime_ns, "server1"))
    assert not makes_event(None, first)
    again = judge.record(first, Seen(later, digest, False, at_ns))
    assert (again.clock, again.stat, again.digest) == (first.clock, later, digest)
    changed = judge.record(first, Seen(later, other, True, at_ns))
    if first.vouching() == later and digest != other:
        assert changed == replace(first, damaged=changed.damaged)
        assert changed.damaged is not None
    else:
        assert (changed.stat, changed.digest, changed.executable) == (later, other, True)
        assert makes_event(first, changed) == (digest != other)
        assert other in {version.digest for _, version in changed.clock.current()}


A, B = (Digest(bytes([number]) * 32) for number in range(2))
WRITER = Actor("server2/life")
ONE = found(Version(A, 1, 1, ""))
OTHER = found(Version(B, 1, 1, ""))
RIVALS = merge(ONE, OTHER)
GONE = write(ONE, ONE.context(), WRITER, Version(None, 0, 1, ""))
GONE_OR_B = merge(GONE, OTHER)
HERE = Stat(1, 2, 3, 4, 5)
DONE, MEND, DECIDE = Todo(0), Todo.MEND, Todo.DECIDE


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Record(ONE, HERE, A), DONE),
        (Record(ONE), MEND),
        (Record(ONE, None, A), MEND),
        (Record(ONE, HERE, B), MEND),
        (Record(ONE, HERE, A, damaged="rot"), MEND),
        (Record(EMPTY_CLOCK), DONE),
        (Record(GONE), DONE),
        (Record(GONE, HERE, A), MEND),
        (Record(RIVALS, HERE, A, aside=(B,)), DECIDE),
        (Record(RIVALS, HERE, A), MEND | DECIDE),
        (Record(RIVALS, None, A, aside=(B,)), MEND | DECIDE),
        (Record(RIVALS, None, None, aside=(A, B)), MEND | DECIDE),
        (Record(RIVALS, HERE, A, damaged="rot", aside=(A, B)), MEND | DECIDE),
        (Record(GONE_OR_B, HERE, B), DECIDE),
        (Record(GONE_OR_B, None, None, aside=(B,)), MEND | DECIDE),
        (Record(merge(ONE, write(EMPTY_CLOCK, {}, WRITER, Version(A, 1, 1, ""))), HERE, A), DONE),
    ],
)
def test_a_record_alone_says_what_is_to_be_done(record: Record, expected: Todo) -> None:
    assert todo_of(record) == expected


def test_a_deletion_is_dated_when_it_is_learnt_and_keeps_its_date() -> None:
    second = 1_000_000_000
    assert dated(ONE, None, 100 * second) is None
    assert dated(GONE, None, 100 * second, 30) == 70 * second, "where nothing was known, the age counts on"
    assert dated(GONE, Record(EMPTY_CLOCK), 100 * second, 30) == 70 * second
    assert dated(GONE, Record(ONE, HERE, A), 100 * second, 30) == 100 * second, "where there was content, it is news"
    known = Record(GONE, deleted_ns=50 * second)
    assert dated(GONE, known, 100 * second, 99) == 50 * second
    again = write(GONE, GONE.context(), WRITER, Version(None, 0, 2, ""))
    assert dated(again, known, 100 * second, 30) == 70 * second
    assert dated(again, known, 100 * second, 80) == 50 * second
    assert dated(GONE, None, 100 * second, 1 << 80) == 0, "whatever is told fits the index"
    assert dated(GONE, None, 100 * second, -5) == 100 * second


def test_the_age_of_a_deletion_is_told_in_whole_seconds() -> None:
    record = Record(GONE, deleted_ns=5_000_000_000)
    told = nothing_there(record, 9_999_999_999)
    assert (told, age_s(record, 4_000_000_000)) == (Deleted(GONE), 0), (
        "a clock that was set back makes it no younger than new"
    )
    assert isinstance(told, Deleted)
    assert told.age_s == 4


@given(judges, digests)
def test_a_former_version_that_was_put_back_does_not_make_the_deletion_younger(judge: Judge, digest: Digest) -> None:
    before = Record(GONE, deleted_ns=7)
    assert judge.record(before, Seen(HERE, A, False, 9), is_past=True).deleted_ns == 7
    assert judge.record(before, Seen(HERE, B, False, 9)).deleted_ns is None
