"""What is kept of the past, for how long, and what several servers remember together."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from accord.model.history import Deed, Event, Kept, expired, superseded_by, united
from accord.model.names import FilePath
from accord.model.versions import Clock, Dot, Version, merge, write
from tests.model.histories import ACTORS, CONTENTS, histories

PATH = FilePath("notes.txt")
NOW_NS = 1_000

_dots = st.builds(Dot, st.sampled_from(ACTORS), st.integers(1, 4))
_versions = st.builds(
    Version,
    st.one_of(st.none(), st.sampled_from(CONTENTS)),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(["", "anna"]),
    st.booleans(),
)
_events = st.builds(
    Event,
    _dots,
    _versions,
    st.integers(0, 3),
    st.sampled_from(Deed),
    st.lists(_dots, max_size=2).map(tuple),
    st.sampled_from(["", "why"]),
    st.sampled_from(["", "from.txt"]),
)
_stories = st.lists(_events, max_size=8)
_kept = st.lists(
    st.builds(Kept, st.just(PATH), _dots, st.integers(-10, 2 * NOW_NS)), max_size=12, unique_by=lambda one: one.dot
)


@given(_stories, _stories, _stories)
def test_remembering_together_is_commutative_associative_and_idempotent(
    a: list[Event], b: list[Event], c: list[Event]
) -> None:
    assert len({tuple(united(order)) for order in permutations([a, b, c])}) == 1
    assert united([united([a, b]), c]) == united([a, united([b, c])]) == united([a, b, c])
    assert united([united([a])]) == united([a, a]) == united([a])
    assert united([]) == united([[]]) == []


@given(_stories, _stories)
def test_each_event_is_told_once(a: list[Event], b: list[Event]) -> None:
    together = united([a, b])
    assert {one.dot for one in together} == {one.dot for one in a + b}
    assert len({one.dot for one in together}) == len(together)
    assert set(together) <= set(a + b)


@given(_stories)
def test_where_the_clocks_of_servers_agree_the_newest_comes_first(events: list[Event]) -> None:
    together = united([[one._replace(supersedes=()) for one in events]])
    assert [one.at_ns for one in together] == sorted((one.at_ns for one in together), reverse=True)


@given(_stories)
def test_no_event_comes_after_what_it_superseded_whatever_the_times(events: list[Event]) -> None:
    causal = [
        one._replace(supersedes=tuple(dot for dot in one.supersedes if dot.counter < one.dot.counter)) for one in events
    ]
    together = united([causal])
    place = {one.dot: number for number, one in enumerate(together)}
    for one in together:
        assert all(place[one.dot] < place[dot] for dot in one.supersedes if dot in place)


@given(_kept, st.integers(0, 6), st.integers(0, NOW_NS), st.randoms())
def test_the_order_in_which_versions_are_told_does_not_matter(
    kept: list[Kept], keep_versions: int, keep_ns: int, random: object
) -> None:
    limits = {"now_ns": NOW_NS, "keep_versions": keep_versions, "keep_ns": keep_ns}
    gone = expired(kept, **limits)
    random.shuffle(kept)  # type: ignore[attr-defined]
    assert expired(kept, **limits) == gone


@given(_kept, st.integers(0, 6), st.integers(0, NOW_NS))
def test_the_newest_are_kept_and_the_old_and_the_many_are_not(
    kept: list[Kept], keep_versions: int, keep_ns: int
) -> None:
    gone = set(expired(kept, now_ns=NOW_NS, keep_versions=keep_versions, keep_ns=keep_ns))
    stays = [one for one in kept if one not in gone]
    assert gone <= set(kept)
    assert len(stays) <= keep_versions
    assert all(NOW_NS - one.superseded_ns <= keep_ns for one in stays)
    for one in gone:
        newer = [other for other in kept if (other.superseded_ns, other.dot) > (one.superseded_ns, one.dot)]
        assert len(newer) >= keep_versions or NOW_NS - one.superseded_ns > keep_ns


@given(_kept, st.integers(0, 6), st.integers(0, NOW_NS), st.integers(0, NOW_NS))
def test_what_is_let_go_of_now_would_be_later(
    kept: list[Kept], keep_versions: int, keep_ns: int, later_ns: int
) -> None:
    now = set(expired(kept, now_ns=NOW_NS, keep_versions=keep_versions, keep_ns=keep_ns))
    later = set(expired(kept, now_ns=NOW_NS + later_ns, keep_versions=keep_versions, keep_ns=keep_ns))
    assert now <= later
    left = [one for one in kept if one not in now]
    assert expired(left, now_ns=NOW_NS, keep_versions=keep_versions, keep_ns=keep_ns) == []


def test_a_clock_that_was_set_back_lets_nothing_go() -> None:
    ahead = [Kept(PATH, Dot(ACTORS[0], 1), NOW_NS * 1000)]
    assert expired(ahead, now_ns=0, keep_versions=1, keep_ns=0) == []


@given(histories(), st.data())
def test_what_a_merge_or_a_write_supersedes_is_told(states: list[object], data: st.DataObject) -> None:
    clocks: list[Clock] = [state.clock for state in states]  # type: ignore[attr-defined]
    before, other = (data.draw(st.sampled_from(clocks)) for _ in range(2))
    for after in (merge(before, other), write(before, other.context(), ACTORS[0], Version(None, 0, 0, ""))):
        gone = superseded_by(before, after)
        assert set(gone) <= set(before.current())
        assert {dot for dot, _ in gone} == {dot for dot, _ in before.current()} - {dot for dot, _ in after.current()}
    assert superseded_by(before, before) == []
