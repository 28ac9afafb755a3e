"""Where versions belong: one at the path, the rivals aside, and no current one is ever exchanged for another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from accord.model.names import Digest
from accord.model.placement import current_contents, others, place
from accord.model.versions import EMPTY_CLOCK, Clock, Version, found, merge, write
from tests.model.histories import ACTORS, CONTENTS, histories, version

A, B, C, D, E = CONTENTS
_clocks = histories().flatmap(lambda states: st.sampled_from([state.clock for state in states]))
_held = st.sets(st.sampled_from(CONTENTS))
_there = st.one_of(st.none(), st.sampled_from(CONTENTS))


@given(_clocks, _there, _held)
def test_every_current_content_is_at_the_path_or_aside_or_missing(
    clock: Clock, there: Digest | None, held: set[Digest]
) -> None:
    placement, contents = place(clock, there, held), current_contents(clock).keys()
    assert (placement.aside | placement.missing | {placement.at_path}) >= contents
    assert not placement.aside & placement.missing
    assert placement.at_path not in placement.aside | placement.missing
    assert placement.aside <= contents
    assert placement.missing == contents - held - {there}


@given(_clocks, _there, _held)
def test_what_is_current_stays_where_it_is(clock: Clock, there: Digest | None, held: set[Digest]) -> None:
    placement, contents = place(clock, there, held), current_contents(clock)
    if there in contents:
        assert (placement.at_path, placement.retires) == (there, False)
    elif placement.at_path is None:
        assert not held & contents.keys()
    assert placement.retires == (there is not None and placement.at_path != there)


@given(_clocks, _there, _held)
def test_what_is_all_there_is_stays_unless_it_was_deleted(
    clock: Clock, there: Digest | None, held: set[Digest]
) -> None:
    placement, contents = place(clock, there, held), current_contents(clock)
    if there is not None and placement.retires:
        assert there not in contents
        is_deleted = any(version.is_tombstone for _, version in clock.current())
        assert placement.at_path in contents or not contents or is_deleted


@given(_clocks, _there, _held)
def test_placing_again_moves_nothing(clock: Clock, there: Digest | None, held: set[Digest]) -> None:
    first = place(clock, there, held)
    second = place(clock, first.at_path, first.aside)
    assert (second.at_path, second.aside, second.missing) == (first.at_path, first.aside, first.missing)
    assert not second.retires


@given(_clocks, _held, _held)
def test_servers_that_begin_with_nothing_and_get_the_same_show_the_same(
    clock: Clock, held: set[Digest], more: set[Digest]
) -> None:
    contents = current_contents(clock).keys()
    assert place(clock, None, held) == place(clock, None, held | (more - contents))


@given(_clocks, _held, st.sampled_from(CONTENTS))
def test_a_damaged_copy_gives_way_to_its_equal_and_to_what_superseded_it_alone(
    clock: Clock, held: set[Digest], damaged: Digest
) -> None:
    placement, contents = place(clock, None, held, damaged=damaged), current_contents(clock).keys()
    if damaged in contents and damaged not in held:
        assert placement.at_path is None
        assert placement.aside == contents & held
    else:
        assert placement == place(clock, None, held)


def test_of_several_the_newest_takes_the_empty_place() -> None:
    clock = merge(found(version(0, modified_ns=5)), merge(found(version(1, modified_ns=9)), found(version(2))))
    assert place(clock, None, CONTENTS).at_path == B
    assert place(clock, None, {A, C}).at_path == A
    as_new = merge(found(version(0, modified_ns=5)), found(version(1, modified_ns=5)))
    assert place(as_new, None, CONTENTS).at_path == max(A, B)


def test_a_deletion_takes_the_file_away() -> None:
    clock = found(version(0))
    deleted = write(clock, clock.context(), ACTORS[0], Version(None, 0, 0, ""))
    placement = place(deleted, A, {A})
    assert (placement.at_path, placement.retires, placement.aside) == (None, True, frozenset())


def test_content_that_only_missing_content_supersedes_stays() -> None:
    clock = write(found(version(0)), found(version(0)).context(), ACTORS[0], version(1))
    placement = place(clock, A, {A})
    assert (placement.at_path, placement.retires, placement.missing) == (A, False, frozenset({B}))


@given(_clocks)
def test_the_newest_version_of_each_content_is_told(clock: Clock) -> None:
    contents = current_contents(clock)
    for _, one in clock.current():
        if one.digest is not None:
            assert contents[one.digest].modified_ns >= one.modified_ns
            assert contents[one.digest].digest == one.digest


def test_of_equal_content_the_newest_version_counts_whatever_order_it_came_in() -> None:
    for first, second in ((1, 2), (2, 1)):
        clock = write(write(EMPTY_CLOCK, {}, ACTORS[0], version(0, first)), {}, ACTORS[1], version(0, second))
        assert current_contents(clock)[A].modified_ns == 2


@given(_clocks, _held, _there)
def test_an_answer_tells_what_is_current_beside_the_path(clock: Clock, held: set[Digest], there: Digest | None) -> None:
    told = others(clock, held, there=there)
    contents = current_contents(clock).keys()
    assert set(told) - {None} == (held & contents) - {there}
    assert (None in told) == any(one.is_tombstone for _, one in clock.current())
    assert list(told) == [*sorted(one for one in told if one is not None), *([None] if None in told else [])]


def test_nothing_known_is_nothing_to_place() -> None:
    placement = place(EMPTY_CLOCK, None, CONTENTS)
    assert (placement.at_path, placement.aside, placement.missing) == (None, frozenset(), frozenset())
