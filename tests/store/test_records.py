"""Stat data vouch for a digest only where no change can hide behind them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from accord.model.names import Digest, ServerName
from accord.model.versions import EMPTY_CLOCK, OutsideChanges, Version, found
from accord.store.records import RACY_WINDOW_NS, Judge, Record, Seen, Stat, is_racy, makes_event

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
