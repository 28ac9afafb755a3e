"""When a write is made, and what it supersedes: what its writer has seen, and not an event more."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import (
    Absent,
    Answer,
    Checking,
    Damaged,
    Deleted,
    Kind,
    Present,
    Unreachable,
    Verdict,
    compare,
)
from accord.model.versions import Actor, Clock, Version, found, found_actor, is_found, merge, server_actor, write
from accord.model.writing import Conditions, Refusal, covered, mint, refusal
from tests.model.histories import ACTORS, CONTENTS, Replica, answer_of, histories, version

PATH = FilePath("notes.txt")
SERVERS = [ServerName(f"server{number}") for number in range(1, 5)]
A, B, C, D, E = CONTENTS
FOUND_A, FOUND_B = found(version(0)), found(version(1))
A_DELETED = write(FOUND_A, FOUND_A.context(), ACTORS[1], Version(None, 0, 0, ""))
NEW = Version(E, 4, 99, "writer")
WRITER = Actor("server1/writer")
_contexts = st.dictionaries(
    st.sampled_from([*ACTORS, Actor("nobody/knows"), *(entry.actor for entry in FOUND_A.entries)]), st.integers(1, 50)
)


def verdict_of(*answers: Answer) -> Verdict:
    return compare(PATH, dict(zip(SERVERS, answers, strict=False)))


@st.composite
def verdicts(draw: st.DrawFn) -> tuple[Verdict, Clock]:
    """A verdict over states of a real history, with the clock of the first server, which is the one that writes."""
    states: list[Replica] = draw(histories())
    chosen = draw(st.lists(st.sampled_from(states), min_size=1, max_size=3))
    kept = st.sets(st.sampled_from(CONTENTS))
    answers = [answer_of(replica, draw(kept)) for replica in chosen]
    if draw(st.booleans()):
        answers.append(Unreachable("down"))
    return verdict_of(*answers), chosen[0].clock


@given(verdicts(), st.one_of(st.none(), _contexts))
def test_nothing_is_covered_beyond_what_is_known(told: tuple[Verdict, Clock], seen: dict[Actor, int] | None) -> None:
    verdict, _ = told
    covers, known = covered(verdict, Conditions(seen=seen)), verdict.clock.context()
    for actor, counter in covers.items():
        assert 0 < counter <= (1 if is_found(actor) else known[actor])
        assert seen is None or counter <= seen.get(actor, 1 if is_found(actor) else 0)
    if seen is not None:
        assert covers.keys() >= {actor for actor in seen if is_found(actor) or actor in known}
        shown = {one.digest for dot, one in verdict.clock.current() if dot.counter <= seen.get(dot.actor, 0)}
        assert {actor for actor in covers if actor not in seen} <= {found_actor(one) for one in shown if one}


def test_what_a_writer_saw_is_superseded_by_whatever_name_it_is_known() -> None:
    """A server that lost its index after the writer had looked finds the written content, and tells of it as found."""
    wrote = write(Clock(), {}, ACTORS[1], Version(A, 1, 1, ""))
    seen = wrote.context()
    told = verdict_of(Present(A, 1, 1, merge(wrote, found(Version(A, 1, 1, "")))), Present(A, 1, 1, wrote))
    minted = mint(wrote, told.clock, covered(told, Conditions(seen=seen)), WRITER, NEW)
    assert [one for _, one in merge(minted.clock, told.clock).current()] == [NEW]


def test_content_that_somebody_wrote_once_more_is_not_covered() -> None:
    one, other = (write(Clock(), {}, actor, Version(A, 1, 1, "")) for actor in ACTORS[1:3])
    told = verdict_of(Present(A, 1, 1, one), Present(A, 1, 1, other))
    assert covered(told, Conditions(seen=one.context())) == one.context()


def test_found_content_that_a_writer_saw_is_superseded_though_whoever_has_it_is_away() -> None:
    """The writer resolved what three servers had, and the third left meanwhile: what it had does not come back as a rival."""
    theirs, mine = found(Version(A, 1, 1, "")), found(Version(B, 1, 1, ""))
    seen = merge(mine, theirs).context()
    told = verdict_of(Present(B, 1, 1, mine), Unreachable("left"))
    minted = mint(mine, told.clock, covered(told, Conditions(seen=seen)), WRITER, NEW)
    assert [version for _, version in merge(minted.clock, theirs).current()] == [NEW]


@given(verdicts())
def test_a_writer_who_says_nothing_covers_all_that_was_shown_and_nothing_unseen(told: tuple[Verdict, Clock]) -> None:
    verdict, mine = told
    minted = mint(mine, verdict.clock, covered(verdict, Conditions()), WRITER, NEW)
    assert not set(minted.supersedes) & set(verdict.unseen)
    left = {dot for dot, _ in merge(minted.clock, verdict.clock).current()} - {minted.dot}
    assert set(verdict.unseen) <= left
    # What an actor made after something unseen stays too: contexts are prefixes.
    unseen = {dot.actor: dot.counter for dot in sorted(verdict.unseen, reverse=True)}
    assert all(dot.actor in unseen and dot.counter >= unseen[dot.actor] for dot in left)


@given(verdicts())
def test_with_nobody_silent_everything_is_superseded(told: tuple[Verdict, Clock]) -> None:
    verdict, mine = told
    if not verdict.silent:
        minted = mint(mine, verdict.clock, covered(verdict, Conditions()), WRITER, NEW)
        assert [one for _, one in merge(minted.clock, verdict.clock).current()] == [NEW]
        assert set(minted.supersedes) == {dot for dot, _ in verdict.clock.current()}


@given(verdicts(), _contexts, st.sampled_from([WRITER, *ACTORS]))
def test_a_write_supersedes_exactly_what_is_covered(
    told: tuple[Verdict, Clock], context: dict[Actor, int], actor: Actor
) -> None:
    verdict, mine = told
    seen = covered(verdict, Conditions(seen=context))
    minted = mint(mine, verdict.clock, seen, actor, NEW)
    everything = merge(mine, verdict.clock).current()
    is_covered = {dot for dot, _ in everything if dot.counter <= seen.get(dot.actor, 0)}
    assert set(minted.supersedes) == is_covered
    # This server goes on with what it knew itself: of rivals that only others have, it has no bytes.
    kept = {dot for dot, _ in mine.current() if dot.counter > seen.get(dot.actor, 0)}
    assert {dot for dot, _ in minted.clock.current()} == kept | {minted.dot}
    assert dict(minted.clock.current())[minted.dot] == NEW


@given(verdicts(), _contexts, st.sampled_from([WRITER, *ACTORS]))
def test_an_event_is_new_wherever_it_is_made(
    told: tuple[Verdict, Clock], context: dict[Actor, int], actor: Actor
) -> None:
    verdict, mine = told
    seen = covered(verdict, Conditions(seen=context))
    minted = mint(mine, verdict.clock, seen, actor, NEW)
    assert minted.dot.counter > mine.context().get(actor, 0)
    assert minted.dot.counter > seen.get(actor, 0)
    assert minted.dot.actor == actor
    assert merge(mine, minted.clock) == minted.clock


def test_two_writers_who_saw_the_same_are_rivals_and_one_who_saw_both_is_not() -> None:
    start = verdict_of(Present(A, 10, 0, FOUND_A))
    seen = covered(start, Conditions())
    left = mint(FOUND_A, start.clock, seen, ACTORS[0], version(1)).clock
    right = mint(FOUND_A, start.clock, seen, ACTORS[1], version(2)).clock
    both = verdict_of(Present(B, 10, 0, left), Present(C, 10, 0, right))
    assert both.kind is Kind.DIVERGED
    resolved = mint(left, both.clock, covered(both, Conditions(seen=both.seen())), ACTORS[0], version(3)).clock
    assert verdict_of(Present(D, 10, 0, resolved), Present(C, 10, 0, right)).kind is Kind.STALE


HAS_A, HAS_B, DOWN = Present(A, 10, 0, FOUND_A), Present(B, 10, 0, FOUND_B), Unreachable("down")
STATES: dict[str, Verdict] = {
    "missing": verdict_of(Absent(), Absent()),
    "unknown": verdict_of(Absent(), DOWN),
    "still checking": verdict_of(Absent(), Checking(1, 2)),
    "identical": verdict_of(HAS_A, HAS_A),
    "unverified": verdict_of(HAS_A, DOWN),
    "partial": verdict_of(HAS_A, Absent()),
    "stale": verdict_of(HAS_A, Present(B, 10, 0, write(FOUND_A, FOUND_A.context(), ACTORS[0], version(1)))),
    "deleted": verdict_of(Deleted(A_DELETED), Absent()),
    "diverged": verdict_of(HAS_A, HAS_B),
    "diverged from a deletion": verdict_of(HAS_B, Deleted(A_DELETED)),
    "damaged": verdict_of(Damaged("rot", A, FOUND_A), Absent()),
    "damaged, of nobody knows what": verdict_of(Damaged("input/output error"), Absent()),
}
HAVE_A = {"identical", "unverified", "partial", "damaged"}
CONDITIONS: dict[str, Conditions] = {
    "nothing": Conditions(),
    "a context": Conditions(seen={}),
    "is new": Conditions(is_new=True),
    "is new, with a context": Conditions(is_new=True, seen={}),
    "any": Conditions(any_version=True),
    "any, with a context": Conditions(any_version=True, seen={}),
    "is A": Conditions(matches=frozenset({A})),
    "is B": Conditions(matches=frozenset({B})),
    "is A or B": Conditions(matches=frozenset({A, B})),
    "is E": Conditions(matches=frozenset({E})),
}
_NO_CONTENT = {"missing", "unknown", "still checking", "deleted", "damaged, of nobody knows what"}
_DIVERGED = {"diverged", "diverged from a deletion"}


def expected(state: str, demanded: str, deletes: bool) -> Refusal | None:
    """The table, by hand."""
    conditional = demanded not in ("nothing", "a context")
    if state in ("unknown", "still checking") and conditional:
        return Refusal.UNKNOWN
    if demanded.startswith("is new") and state not in _NO_CONTENT:
        return Refusal.EXISTS
    if demanded.startswith("any") and state in _NO_CONTENT:
        return Refusal.NOT_THE_VERSION
    holds_for = {"is A": HAVE_A, "is B": {"stale", "diverged from a deletion"}, "is E": set()}
    holds_for["is A or B"] = holds_for["is A"] | holds_for["is B"] | {"diverged"}
    if demanded in holds_for and state not in holds_for[demanded]:
        return Refusal.NOT_THE_VERSION
    if state in _DIVERGED and demanded in ("nothing", "any"):
        return Refusal.DIVERGED
    if deletes and state in _NO_CONTENT:
        return {"missing": Refusal.MISSING, "deleted": Refusal.DELETED}.get(state, Refusal.UNKNOWN)
    return None


@pytest.mark.parametrize(("state", "demanded", "deletes"), list(product(STATES, CONDITIONS, [False, True])))
def test_every_refusal(state: str, demanded: str, deletes: bool) -> None:
    assert refusal(STATES[state], CONDITIONS[demanded], deletes=deletes) is expected(state, demanded, deletes)


def test_every_refusal_is_reached() -> None:
    reached = {
        refusal(verdict, conditions, deletes=True) for verdict in STATES.values() for conditions in CONDITIONS.values()
    }
    assert reached == {None, *Refusal}


@given(verdicts())
def test_who_demands_nothing_is_refused_only_in_a_dispute(told: tuple[Verdict, Clock]) -> None:
    verdict, _ = told
    refused = refusal(verdict, Conditions(), deletes=False)
    assert refused is (Refusal.DIVERGED if verdict.kind is Kind.DIVERGED else None)
    assert refusal(verdict, Conditions(seen=verdict.seen()), deletes=False) is None


@given(verdicts(), st.sets(st.sampled_from(CONTENTS)))
def test_a_match_holds_for_all_there_is(told: tuple[Verdict, Clock], matches: set[Digest]) -> None:
    verdict, _ = told
    contents = {held.version.digest for held in verdict.versions} - {None}
    refused = refusal(verdict, Conditions(matches=frozenset(matches)), deletes=False)
    assert (refused is None) == (bool(contents) and contents <= matches)


def test_an_actor_of_a_new_life_never_continues_an_old_one() -> None:
    old, new = (server_actor(SERVERS[0], life) for life in ("old", "new"))
    before = write(FOUND_A, FOUND_A.context(), old, version(1))
    lost = verdict_of(Present(B, 10, 0, before))
    minted = mint(FOUND_A, lost.clock, covered(lost, Conditions()), new, NEW)
    assert (minted.dot.actor, minted.dot.counter) == (new, 1)
