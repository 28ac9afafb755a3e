"""Whoever lacks something can be brought up to date, and once everybody has been, nobody lacks anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.model.names import Digest, FilePath, ServerName
from accord.model.placement import current_contents, others, place
from accord.model.repair import deleted_age_s, is_outlived, lacks, needs
from accord.model.verdict import (
    EMPTY_FOLDER,
    FOLDER,
    Absent,
    Answer,
    Checking,
    Claim,
    Damaged,
    Deleted,
    Kind,
    Known,
    Present,
    Unreachable,
    Verdict,
    compare,
    is_known,
    keeps,
)
from accord.model.versions import EMPTY_CLOCK, Version, found, merge, write
from tests.model.histories import ACTORS, CONTENTS, Replica, answer_of, histories, version

PATH = FilePath("notes.txt")
SERVERS = [ServerName(f"server{number}") for number in range(1, 5)]
A, B, C, D, E = CONTENTS
FOUND_A = found(version(0))
B_OVER_A = write(FOUND_A, FOUND_A.context(), ACTORS[0], version(1))
A_DELETED = write(FOUND_A, FOUND_A.context(), ACTORS[1], Version(None, 0, 0, ""))


def brought_up(verdict: Verdict, answer: Known) -> Known:
    """What the server answers after it merged what everybody knows, and got the bytes it needs."""
    clock = merge(answer.clock, verdict.clock)
    there = answer.digest if isinstance(answer, Present) else None
    kept: tuple[Claim, ...] = () if isinstance(answer, Deleted) else answer.aside
    held = {one for one in (*kept, *needs(verdict, answer)) if one is not None}
    damaged = answer.digest if isinstance(answer, Damaged) else None
    placement = place(clock, there, held, damaged=damaged)
    beside = others(clock, placement.aside, there=placement.at_path)
    if placement.at_path is not None:
        return Present(placement.at_path, 10, 0, clock, aside=beside)
    if clock.current() and not current_contents(clock):
        return Deleted(clock)
    if isinstance(answer, Damaged):
        return Damaged(answer.reason, answer.digest, clock, beside)
    return Absent(None, clock, beside)


def mended(answers: dict[ServerName, Answer]) -> dict[ServerName, Answer]:
    """Everybody who lacks something is brought up to date, one after the other."""
    for server in sorted(answers):
        verdict, answer = compare(PATH, answers), answers[server]
        if lacks(verdict, answer):
            assert is_known(answer)
            answers = {**answers, server: brought_up(verdict, answer)}
    return answers


@st.composite
def clusters(draw: st.DrawFn) -> dict[ServerName, Answer]:
    """Servers in states that a history passed through, some of their copies lost, damaged or not told."""
    states: list[Replica] = draw(histories())
    answers: dict[ServerName, Answer] = {}
    for server in SERVERS[: draw(st.integers(1, 4))]:
        replica = draw(st.sampled_from(states))
        answer = answer_of(replica, draw(st.sets(st.sampled_from(CONTENTS))))
        if isinstance(answer, Present):
            fate = draw(st.sampled_from(["fine", "fine", "fine", "lost", "damaged", "unreadable", "put back"]))
            rivals = others(answer.clock, [one for one in answer.aside if one is not None], there=None)
            old = sorted({digest for digest in replica.events.values() if digest} - {*replica.current().values()})
            if fate == "put back" and old:
                there = draw(st.sampled_from(old))
                answer = Present(there, 10, 0, answer.clock, aside=rivals)
            elif fate == "lost":
                answer = Absent(None, answer.clock, rivals)
            elif fate in ("damaged", "unreadable"):
                answer = Damaged("rot", answer.digest if fate == "damaged" else None, answer.clock, rivals)
        answers[server] = draw(st.sampled_from([answer, answer, answer, answer, Absent(), Unreachable("down")]))
    return answers


def contents_of(answers: dict[ServerName, Answer]) -> set[Digest]:
    """The current contents that somebody has."""
    current = current_contents(compare(PATH, answers).clock)
    return {digest for digest in current if any(keeps(answer, digest) for answer in answers.values())}


@given(clusters())
def test_who_is_brought_up_to_date_lacks_nothing(answers: dict[ServerName, Answer]) -> None:
    verdict = compare(PATH, answers)
    for server, answer in answers.items():
        if lacks(verdict, answer):
            assert is_known(answer)
            after = brought_up(verdict, answer)
            assert not lacks(verdict, after)
            assert not lacks(compare(PATH, {**answers, server: after}), after)


@given(clusters())
def test_once_everybody_was_mended_nobody_lacks_anything(answers: dict[ServerName, Answer]) -> None:
    before = contents_of(answers)
    after = mended(mended(answers))
    verdict = compare(PATH, after)
    assert [server for server, answer in after.items() if lacks(verdict, answer)] == []
    assert mended(after) == after
    assert contents_of(after) == before
    for answer in after.values():
        if is_known(answer):
            assert all(keeps(answer, digest) for digest in before)


@given(clusters())
def test_mending_hides_no_rival_and_makes_no_version(answers: dict[ServerName, Answer]) -> None:
    before, after = compare(PATH, answers), compare(PATH, mended(answers))
    assert before.clock == after.clock
    assert (before.kind is Kind.DIVERGED) == (after.kind is Kind.DIVERGED)
    assert {held.version.digest for held in before.versions} == {held.version.digest for held in after.versions}


@given(clusters())
def test_only_what_another_server_has_is_needed(answers: dict[ServerName, Answer]) -> None:
    verdict = compare(PATH, answers)
    for server, answer in answers.items():
        for digest in needs(verdict, answer):
            assert lacks(verdict, answer) or not is_known(answer) or isinstance(answer, Absent)
            assert any(keeps(other, digest) for name, other in answers.items() if name != server)
            assert digest in current_contents(verdict.clock)


def verdict_of(*answers: Answer) -> Verdict:
    return compare(PATH, dict(zip(SERVERS, answers, strict=False)))


HAS_B = Present(B, 10, 0, B_OVER_A)


@pytest.mark.parametrize(
    ("mine", "theirs", "is_lacking"),
    [
        (HAS_B, HAS_B, False),
        (Present(A, 10, 0, FOUND_A), HAS_B, True),
        (Present(A, 10, 0, B_OVER_A), HAS_B, True),
        (Absent(), HAS_B, True),
        (Absent(EMPTY_FOLDER), HAS_B, True),
        (Absent(FOLDER), HAS_B, False),
        (Absent("a symbolic link"), HAS_B, False),
        (Damaged("rot", B, B_OVER_A), HAS_B, True),
        (Damaged("rot", B, B_OVER_A), Absent(), False),
        (Absent(None, B_OVER_A, (B,)), Absent(), True),
        (Damaged("rot", A, merge(FOUND_A, found(version(3))), (D,)), Absent(), False),
        (Damaged("rot", A, FOUND_A), Present(D, 10, 0, found(version(3))), True),
        (Damaged("rot", A, A_DELETED, (None,)), Deleted(A_DELETED), True),
        (Damaged("rot", A, FOUND_A), Deleted(A_DELETED), True),
        (Checking(), HAS_B, False),
        (Unreachable("down"), HAS_B, False),
        (Present(A, 10, 0, FOUND_A), Deleted(A_DELETED), True),
        (Present(A, 10, 0, A_DELETED, aside=(None,)), Deleted(A_DELETED), True),
        (Present(A, 10, 0, A_DELETED, aside=(None,)), Unreachable("down"), True),
        (Absent(), Deleted(A_DELETED), True),
        (Deleted(A_DELETED), Absent(), False),
        (Deleted(A_DELETED), Present(D, 10, 0, found(version(3))), True),
        (Present(D, 10, 0, found(version(3))), Deleted(A_DELETED), True),
        (Present(A, 10, 0, B_OVER_A), Absent(), False),
        (Absent(), Present(A, 10, 0, B_OVER_A), False),
        (Absent(), Absent(), False),
        (Present(A, 10, 0, FOUND_A), Damaged("rot", B, B_OVER_A), False),
    ],
)
def test_who_lacks_something(mine: Answer, theirs: Answer, is_lacking: bool) -> None:
    assert lacks(verdict_of(mine, theirs), mine) is is_lacking


def test_content_whose_successor_nobody_has_stays_and_is_not_spread() -> None:
    """Its successor is with somebody who is silent, or lost: it is shown, as it is all there is, and goes no further."""
    stale = Present(A, 10, 0, B_OVER_A)
    verdict = verdict_of(Absent(), stale, Unreachable("down"))
    assert not lacks(verdict, Absent())
    assert needs(verdict, Absent()) == []
    assert not lacks(verdict, stale)


def test_a_clock_nobody_knows_is_no_lack() -> None:
    assert not lacks(verdict_of(Absent(None, EMPTY_CLOCK), Absent()), Absent())


@pytest.mark.parametrize(
    ("local", "others", "expected"),
    [
        (Absent(), [Deleted(A_DELETED, 100)], True),
        (Absent(), [Deleted(A_DELETED, 99)], False),
        (Absent(), [Deleted(A_DELETED, 3), Deleted(A_DELETED, 100)], True),
        (Absent(), [Deleted(A_DELETED, 100), Unreachable("gone")], True),
        (Absent(EMPTY_FOLDER), [Deleted(A_DELETED, 100)], True),
        (Absent(None, FOUND_A), [Deleted(A_DELETED, 100)], False),
        (Present(A, 1, 1, FOUND_A), [Deleted(A_DELETED, 100)], False),
        (Damaged("rot", A, FOUND_A), [Deleted(A_DELETED, 100)], False),
        (Absent(), [Deleted(A_DELETED, 100), Present(B, 1, 1, B_OVER_A)], False),
        (Absent(), [Absent()], False),
    ],
)
def test_who_knows_nothing_takes_no_deletion_that_is_about_to_be_forgotten(
    local: Answer, others: list[Answer], expected: bool
) -> None:
    answers = dict(zip(SERVERS, [local, *others], strict=False))
    assert is_outlived(compare(PATH, answers), local, answers.values(), 100) == expected


def test_the_age_of_a_deletion_is_the_greatest_that_is_told() -> None:
    assert deleted_age_s([Deleted(A_DELETED, 3), Absent(), Deleted(A_DELETED, 7)]) == 7
    assert deleted_age_s([Present(A, 1, 1, FOUND_A)]) == 0
