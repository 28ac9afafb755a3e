"""The laws of clocks, over clocks that histories of writes, merges, deletions and outside changes really reach."""

from __future__ import annotations

from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.model.names import ServerName
from accord.model.versions import (
    EMPTY_CLOCK,
    Actor,
    Dot,
    OutsideChanges,
    Version,
    discard,
    found,
    merge,
    newest_generation,
    outside_change,
    server_actor,
    write,
)
from tests.model.histories import (
    ACTORS,
    CONTENTS,
    LIVES,
    Replica,
    do_merge,
    do_outside,
    do_take,
    do_write,
    histories,
    version,
)

LIFE = LIVES[ACTORS[0]]


@given(histories())
def test_a_clock_knows_just_what_its_twin_remembers(states: list[Replica]) -> None:
    for replica in states:
        assert {dot: one.digest for dot, one in replica.clock.current()} == replica.current()
        context = replica.clock.context()
        assert set(replica.events) == {
            Dot(actor, number) for actor, top in context.items() for number in range(1, top + 1)
        }


@given(histories(), st.data())
def test_merging_is_commutative_associative_and_idempotent(states: list[Replica], data: st.DataObject) -> None:
    a, b, c = (data.draw(st.sampled_from(states)).clock for _ in range(3))
    assert merge(a, b) == merge(b, a)
    assert merge(a, merge(b, c)) == merge(merge(a, b), c)
    assert merge(a, a) == a
    assert merge(a, merge(a, b)) == merge(a, b)
    assert merge(a, EMPTY_CLOCK) == a == merge(EMPTY_CLOCK, a)


@given(histories())
def test_whoever_hears_everything_in_any_order_knows_the_same(states: list[Replica]) -> None:
    outcomes = set()
    for order in permutations(state.clock for state in states[:4]):
        total = EMPTY_CLOCK
        for clock in order:
            total = merge(total, clock)
        outcomes.add(total)
    assert len(outcomes) == 1


@given(histories(), st.data())
def test_a_write_supersedes_exactly_what_its_context_covers(states: list[Replica], data: st.DataObject) -> None:
    me = data.draw(st.sampled_from(states[:4]))
    seen = data.draw(st.sampled_from(states)).clock.context()
    before = me.clock.current()
    after = write(me.clock, seen, me.actor, version(0, modified_ns=77))
    kept = [(dot, one) for dot, one in before if dot.counter > seen.get(dot.actor, 0)]
    top = max(me.clock.context().get(me.actor, 0), seen.get(me.actor, 0))
    new = (Dot(me.actor, top + 1), version(0, modified_ns=77))
    assert sorted(after.current()) == sorted([*kept, new])
    everything = {
        actor: max(seen.get(actor, 0), me.clock.context().get(actor, 0)) for actor in {*seen, *me.clock.context()}
    }
    assert after.context() == {**everything, me.actor: top + 1}


@given(histories(), st.data())
def test_discarding_forgets_versions_and_never_events(states: list[Replica], data: st.DataObject) -> None:
    clock, other = (data.draw(st.sampled_from(states)).clock for _ in range(2))
    assert discard(clock, {}) == clock
    assert discard(clock, clock.context()).current() == []
    left = discard(clock, other.context())
    assert set(left.current()) <= set(clock.current())
    assert all(left.context()[actor] >= counter for actor, counter in clock.context().items())
    assert merge(clock, left) == left


@given(histories())
def test_a_clock_is_bounded_by_actors_and_rivals(states: list[Replica]) -> None:
    for replica in states:
        actors = {dot.actor for dot in replica.events}
        assert len(replica.clock.entries) == len(actors)
        assert sum(len(entry.versions) for entry in replica.clock.entries) == len(replica.current())
        assert [entry.actor for entry in replica.clock.entries] == sorted(actors)


def test_a_thousand_writes_in_a_row_leave_one_version() -> None:
    clock = EMPTY_CLOCK
    for number in range(1000):
        clock = write(clock, clock.context(), ACTORS[number % 2], version(number % 5))
    assert len(clock.current()) == 1
    assert len(clock.entries) == 2


_deeds = st.lists(
    st.tuples(
        st.sampled_from(["write", "outside", "outside", "adopt", "take", "resolve", "merge"]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 4),
    ),
    min_size=30,
    max_size=120,
)


@given(_deeds)
@settings(max_examples=50)
def test_a_clock_is_bounded_by_servers_and_rivals_and_not_by_what_was_done(
    deeds: list[tuple[str, int, int, int]],
) -> None:
    """For ever: each server has one actor for what it wrote, one for what it found, and as many for outside changes as it ever had
    rivals standing at once."""
    servers = [Replica(actor) for actor in ACTORS[:3]]
    most_rivals = 1
    for deed, number, other, content in deeds:
        me = servers[number]
        match deed:
            case "write":
                do_write(me, servers[other], content)
            case "outside":
                do_outside(me, content, OutsideChanges.DISPUTE)
            case "adopt":
                do_outside(me, content, OutsideChanges.ADOPT)
            case "take":
                do_take(me, servers[other])
            case "merge":
                do_merge(me, servers[other])
            case "resolve":
                for peer in servers:
                    do_merge(me, peer)
                do_write(me, me, content)
                for peer in servers:
                    do_merge(peer, me)
        everything = reduce(merge, (one.clock for one in servers))
        most_rivals = max(most_rivals, len(everything.current()))
    outside = {entry.actor for entry in everything.entries if "/outside/" in entry.actor}
    assert len(outside) <= len(servers) * most_rivals
    assert len(everything.entries) - len(outside) <= 2 * len(servers)


def test_edits_that_are_taken_and_resolved_again_and_again_leave_no_trace() -> None:
    mine, theirs = Replica(ACTORS[0]), Replica(ACTORS[1])
    do_write(mine, mine, 0)
    for number in range(200):
        do_outside(mine, 1 + number % 4, OutsideChanges.DISPUTE)
        do_take(theirs, mine)
        do_write(theirs, mine, 0)  # who resolves has seen what is there
        do_take(mine, theirs)
    assert len(mine.clock.entries) <= 3
    assert len(mine.clock.current()) == 1


def test_concurrent_writes_both_survive_until_somebody_has_seen_both() -> None:
    start = write(EMPTY_CLOCK, {}, ACTORS[0], version(0))
    left = write(start, start.context(), ACTORS[0], version(1))
    right = write(start, start.context(), ACTORS[1], version(2))
    both = merge(left, right)
    assert {one.digest for _, one in both.current()} == {CONTENTS[1], CONTENTS[2]}
    resolved = write(both, both.context(), ACTORS[1], version(3))
    assert merge(merge(left, resolved), right) == resolved


def test_the_same_bytes_found_twice_are_one_event() -> None:
    here, there = found(version(1, modified_ns=5)), found(version(1, modified_ns=9))
    assert here.context() == there.context()
    assert [one.modified_ns for _, one in merge(here, there).current()] == [9]
    assert merge(here, there) == merge(there, here)


def test_different_bytes_found_are_rivals() -> None:
    assert len(merge(found(version(1)), found(version(2))).current()) == 2


def test_a_tombstone_is_never_found() -> None:
    with pytest.raises(ValueError, match="tombstone"):
        found(Version(None, 0, 0, ""))


def test_a_disputed_outside_change_stands_beside_what_was_there() -> None:
    clock = outside_change(found(version(0)), CONTENTS[0], version(1), LIFE, OutsideChanges.DISPUTE, shared=False)
    assert {one.digest for _, one in clock.current()} == {CONTENTS[0], CONTENTS[1]}


def test_a_file_edited_again_and_again_leaves_one_rival_not_many() -> None:
    written = write(EMPTY_CLOCK, {}, ACTORS[0], version(0))
    clock = written
    for content in (1, 2, 3, 4):
        clock = outside_change(
            clock, CONTENTS[content - 1], version(content), LIFE, OutsideChanges.DISPUTE, shared=False
        )
    assert {one.digest for _, one in clock.current()} == {CONTENTS[0], CONTENTS[4]}


def test_an_edit_stands_beside_an_earlier_one_that_another_server_may_hold() -> None:
    dispute = OutsideChanges.DISPUTE
    clock = outside_change(found(version(0)), CONTENTS[0], version(1), LIFE, dispute, shared=False)
    clock = outside_change(clock, CONTENTS[1], version(2), LIFE, dispute, shared=True)
    assert {one.digest for _, one in clock.current()} == {CONTENTS[0], CONTENTS[1], CONTENTS[2]}
    clock = outside_change(clock, CONTENTS[2], version(3), LIFE, dispute, shared=False)
    assert {one.digest for _, one in clock.current()} == {CONTENTS[0], CONTENTS[1], CONTENTS[3]}


@given(histories(), st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=8))
def test_no_outside_edit_supersedes_what_another_server_took(
    states: list[Replica], steps: list[tuple[bool, int]]
) -> None:
    lender, taker = states[0], states[1]
    lender.lent.clear()
    for takes, content in steps:
        if takes:
            do_take(taker, lender)
        do_outside(lender, content, OutsideChanges.DISPUTE)
        assert lender.lent <= {dot for dot, _ in lender.clock.current()}


def test_a_generation_that_a_peer_made_up_is_not_ours() -> None:
    for number in ("x", "-1", "0", "007", "9" * 5000, "٣"):
        forged = write(EMPTY_CLOCK, {}, Actor(f"{LIFE.server}/{LIFE.incarnation}/outside/{number}"), version(1))
        assert newest_generation(forged, LIFE) == 0


def test_an_adopted_outside_change_supersedes_what_was_on_that_disk_and_nothing_else() -> None:
    rivals = merge(found(version(0)), found(version(2)))
    clock = outside_change(rivals, CONTENTS[0], version(1), LIFE, OutsideChanges.ADOPT, shared=True)
    assert {one.digest for _, one in clock.current()} == {CONTENTS[1], CONTENTS[2]}


@pytest.mark.parametrize("policy", OutsideChanges)
def test_known_content_put_back_is_that_version(policy: OutsideChanges) -> None:
    changed = outside_change(found(version(0)), CONTENTS[0], version(1), LIFE, OutsideChanges.DISPUTE, shared=False)
    assert outside_change(changed, CONTENTS[1], version(0), LIFE, policy, shared=True) == changed


@pytest.mark.parametrize("policy", OutsideChanges)
def test_content_of_an_unknown_path_is_found(policy: OutsideChanges) -> None:
    assert outside_change(EMPTY_CLOCK, None, version(3), LIFE, policy, shared=False) == found(version(3))


def test_a_new_life_of_an_index_makes_events_of_its_own() -> None:
    name = ServerName("server1")
    old, new = server_actor(name, "life1"), server_actor(name, "life2")
    before = write(EMPTY_CLOCK, {}, old, version(0))
    after_loss = write(EMPTY_CLOCK, {}, new, version(1))
    assert len(merge(before, after_loss).current()) == 2


@given(st.integers(0, 9), st.integers(0, 9))
def test_counters_below_the_floor_are_not_used_where_nothing_is_known(used: int, floor: int) -> None:
    """A path was written, deleted and forgotten; who comes with what was there before does not bury what is written now."""
    old = EMPTY_CLOCK
    for number in range(used):
        old = write(old, old.context(), ACTORS[0], version(number % 2))
    after = write(EMPTY_CLOCK, {}, ACTORS[0], version(4), floor=floor)
    assert after.context() == {ACTORS[0]: floor + 1}
    if floor >= used:
        assert [one for _, one in merge(old, after).current()] == [version(4)]


def test_the_floor_leaves_the_dots_of_what_is_current_as_they_are() -> None:
    mine = write(EMPTY_CLOCK, {}, ACTORS[0], version(0))
    beside = write(mine, {}, ACTORS[0], version(1), floor=5)
    assert [dot for dot, _ in beside.current()] == [Dot(ACTORS[0], 2), Dot(ACTORS[0], 1)]
    assert write(mine, mine.context(), ACTORS[0], version(1), floor=5).context() == {ACTORS[0]: 6}


def test_outside_changes_keep_above_the_floor() -> None:
    written = write(EMPTY_CLOCK, {}, ACTORS[1], version(0))
    for policy in OutsideChanges:
        clock = outside_change(written, CONTENTS[0], version(1), LIFE, policy, shared=False, floor=7)
        assert 8 in clock.context().values()
