"""Every row of the verdict table, checked on all combinations of answers against a twin that spells the rows out one by one.

The twin knows the causal past of each sample answer from a table written by hand, so it shares nothing with the clocks it checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.model import verdict as rules
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import (
    Absent,
    Answer,
    Checking,
    Damaged,
    Deleted,
    Kind,
    Present,
    State,
    Unreachable,
    Verdict,
    compare,
)
from accord.model.versions import (
    EMPTY_CLOCK,
    Clock,
    Dot,
    Life,
    OutsideChanges,
    Version,
    found,
    found_actor,
    merge,
    outside_actor,
    outside_change,
    server_actor,
    write,
)
from tests.model.histories import CONTENTS, Replica, answer_of, histories
from tests.verdicts import state_of

PATH = FilePath("notes.txt")
SERVERS = [ServerName(f"server{number}") for number in range(1, 10)]
A, B, C, D, E = CONTENTS


def _version(digest: Digest | None, modified_ns: int) -> Version:
    return Version(digest, 10, modified_ns, "somebody")


def _after(clock: Clock, server: int, digest: Digest | None, modified_ns: int) -> Clock:
    return write(clock, clock.context(), server_actor(SERVERS[server], "life"), _version(digest, modified_ns))


def _disputing(clock: Clock, server: int, digest: Digest) -> Clock:
    life = Life(SERVERS[server], "life")
    return outside_change(clock, A, _version(digest, 5), life, OutsideChanges.DISPUTE, shared=False)


_FOUND_A = found(_version(A, 1))
_B_OVER_A = _after(_FOUND_A, 0, B, 2)
_C_OVER_A = _after(_FOUND_A, 1, C, 3)
_FOUND_D = found(_version(D, 4))
_E_BESIDE_A = _disputing(_FOUND_A, 2, E)
_A_DELETED = _after(_FOUND_A, 3, None, 6)
_B_DELETED = _after(_B_OVER_A, 4, None, 7)
_B_AND_C = merge(_B_OVER_A, _C_OVER_A)
_C_AND_DELETED = merge(_C_OVER_A, _A_DELETED)


def _copy(digest: Digest, clock: Clock, modified_ns: int, aside: tuple[Digest | None, ...] = ()) -> Present:
    return Present(digest, 10, modified_ns, clock, aside=aside)


DOTS = {
    "a": Dot(found_actor(A), 1),
    "b": Dot(server_actor(SERVERS[0], "life"), 1),
    "c": Dot(server_actor(SERVERS[1], "life"), 1),
    "d": Dot(found_actor(D), 1),
    "e": Dot(outside_actor(SERVERS[2], "life", 1), 1),
    "t": Dot(server_actor(SERVERS[3], "life"), 1),
    "u": Dot(server_actor(SERVERS[4], "life"), 1),
}
"""The events of the samples, by hand."""


@dataclass(frozen=True)
class Sample:
    """An answer, and by hand: the events its server knows, and which of them it holds as current, with their content."""

    answer: Answer
    knows: str = ""
    current: tuple[tuple[str, Digest | None], ...] = ()


SAMPLES = {
    "A": Sample(_copy(A, _FOUND_A, 1), "a", (("a", A),)),
    "B over A": Sample(_copy(B, _B_OVER_A, 2), "ab", (("b", B),)),
    "C over A": Sample(_copy(C, _C_OVER_A, 3), "ac", (("c", C),)),
    "D, unrelated": Sample(_copy(D, _FOUND_D, 4), "d", (("d", D),)),
    "E beside A": Sample(_copy(E, _E_BESIDE_A, 5), "ae", (("a", A), ("e", E))),
    "A deleted": Sample(Deleted(_A_DELETED), "at", (("t", None),)),
    "B deleted": Sample(Deleted(_B_DELETED), "abu", (("u", None),)),
    "A damaged": Sample(Damaged("rot", A, _FOUND_A), "a", (("a", A),)),
    "B damaged": Sample(Damaged("rot", B, _B_OVER_A), "ab", (("b", B),)),
    "unreadable": Sample(Damaged("input/output error")),
    "B, C aside": Sample(_copy(B, _B_AND_C, 2, (C,)), "abc", (("b", B), ("c", C))),
    "B, C told": Sample(_copy(B, _B_AND_C, 2), "abc", (("b", B), ("c", C))),
    "C, deleted aside": Sample(_copy(C, _C_AND_DELETED, 3, (None,)), "act", (("c", C), ("t", None))),
    "A back over B": Sample(_copy(A, _B_OVER_A, 8), "ab", (("b", B),)),
    "A back, deleted": Sample(_copy(A, _A_DELETED, 8, (None,)), "at", (("t", None),)),
    "A back, B aside": Sample(_copy(A, _B_OVER_A, 8, (B,)), "ab", (("b", B),)),
    "A lost": Sample(Absent(None, _FOUND_A), "a", (("a", A),)),
    "B lost, C aside": Sample(Absent(None, _B_AND_C, (C,)), "abc", (("b", B), ("c", C))),
    "C lost, deleted": Sample(Absent("a folder", _C_AND_DELETED, (None,)), "act", (("c", C), ("t", None))),
    "B damaged, C aside": Sample(Damaged("rot", B, _B_AND_C, (C,)), "abc", (("b", B), ("c", C))),
    "unreadable, B aside": Sample(Damaged("input/output error", None, _B_OVER_A, (B,)), "ab", (("b", B),)),
    "absent": Sample(Absent()),
    "checking": Sample(Checking(1, 2)),
    "unreachable": Sample(Unreachable("refused")),
}

EVERYTHING = sorted(SAMPLES)


def answers_of(names: tuple[str, ...] | list[str]) -> dict[ServerName, Answer]:
    return {server: SAMPLES[name].answer for server, name in zip(SERVERS, names, strict=False)}


class Twin:
    """The table of design, row by row, each row on its own."""

    def __init__(self, names: tuple[str, ...] | list[str]) -> None:
        self.samples = [SAMPLES[name] for name in names]
        self.answered = [one for one in self.samples if not isinstance(one.answer, Checking | Unreachable)]
        claims = {claim for one in self.answered for claim in self.claims(one)}
        # What everybody holds only copies of former versions of is all there is.
        self.current = {claim for claim in claims if not self.superseded(claim)} or claims

    @classmethod
    def claims(cls, sample: Sample) -> set[Digest | None]:
        match sample.answer:
            case Damaged(digest=Digest() as digest):
                return {digest} | cls.kept(sample)
        return cls.kept(sample)

    @staticmethod
    def kept(sample: Sample) -> set[Digest | None]:
        """What the server can deliver: good copies at the path and aside, and the knowledge of a deletion."""
        match sample.answer:
            case Present(digest=digest, aside=aside):
                return {digest, *aside}
            case Absent(aside=aside) | Damaged(aside=aside):
                return set(aside)
            case Deleted():
                return {None}
        return set()

    @staticmethod
    def at_path(sample: Sample) -> set[Digest | None]:
        match sample.answer:
            case Present(digest=digest):
                return {digest}
            case Deleted():
                return {None}
        return set()

    def is_over(self, event: str) -> bool:
        return any(event in one.knows and event not in dict(one.current) for one in self.samples)

    def superseded(self, claim: Digest | None) -> bool:
        events = {event for one in self.samples for event, content in one.current if content == claim}
        return all(map(self.is_over, events))

    def unseen(self) -> set[str]:
        """Current events that nobody who answered has the content of, while somebody is silent."""
        if len(self.answered) == len(self.samples):
            return set()
        events = {one for sample in self.samples for one in sample.current}
        return {event for event, content in events if not self.is_over(event) and content not in self.current}

    def holds(self, sample: Sample) -> bool:
        return isinstance(sample.answer, Present) and sample.answer.digest in self.current

    def outdated(self, sample: Sample) -> bool:
        if isinstance(sample.answer, Present):
            return sample.answer.digest not in self.current
        return isinstance(sample.answer, Deleted) and None not in self.current

    @property
    def one_version_with_a_good_copy(self) -> bool:
        return (
            len(self.current) == 1
            and None not in self.current
            and any(map(self.current.__le__, map(self.kept, self.answered)))
        )

    def rows(self) -> dict[Kind, bool]:
        good, several = self.one_version_with_a_good_copy, len(self.answered) >= 2
        silent = len(self.answered) < len(self.samples)
        damaged = any(isinstance(one.answer, Damaged) for one in self.answered)
        only_absent = all(isinstance(one.answer, Absent) for one in self.answered) and not self.current
        return {
            Kind.IDENTICAL: good and several and all(map(self.holds, self.answered)),
            Kind.STALE: good and several and any(map(self.outdated, self.answered)),
            Kind.PARTIAL: good
            and several
            and not all(map(self.holds, self.answered))
            and not any(map(self.outdated, self.answered)),
            Kind.UNVERIFIED: good and not several,
            Kind.DIVERGED: len(self.current) >= 2,
            Kind.DELETED: self.current == {None},
            Kind.MISSING: only_absent and not silent,
            Kind.UNKNOWN: only_absent and silent,
            Kind.DAMAGED: damaged and len(self.current) < 2 and None not in self.current and not good,
        }

    def state(self, sample: Sample) -> State:
        match sample.answer:
            case Unreachable():
                return State.UNREACHABLE
            case Checking():
                return State.CHECKING
            case Absent():
                return State.ABSENT
            case Damaged():
                return State.DAMAGED
        if self.outdated(sample):
            return State.STALE
        if isinstance(sample.answer, Deleted):
            return State.DELETED
        return State.RIVAL if len(self.current) >= 2 else State.CURRENT


def check_against_twin(names: tuple[str, ...] | list[str]) -> None:
    twin, outcome = Twin(names), compare(PATH, answers_of(names))
    rows = [kind for kind, applies in twin.rows().items() if applies]
    assert rows == [outcome.kind], names
    assert {held.version.digest for held in outcome.versions} == twin.current, names
    assert [report.state for report in outcome.servers] == [twin.state(sample) for sample in twin.samples], names
    named = list(zip(SERVERS, twin.samples, strict=False))
    for held in outcome.versions:
        digest = held.version.digest
        holders = [server for server, sample in named if digest in twin.kept(sample)]
        there = [server for server, sample in named if digest in twin.at_path(sample)]
        assert list(held.holders) == holders, names
        assert list(held.servers) == (there or holders), names
    assert set(outcome.unseen) == {DOTS[event] for event in twin.unseen()}, names
    check_seen(outcome, twin, names)
    ages = [held.version.modified_ns for held in outcome.versions]
    assert ages == sorted(ages, reverse=True), names


def check_seen(outcome: Verdict, twin: Twin, names: tuple[str, ...] | list[str]) -> None:
    """A reader has seen everything that anybody knows, but for what nobody could show."""
    events = {event for one in twin.samples for event in one.knows}
    seen = {event for event in events if DOTS[event].counter <= outcome.seen().get(DOTS[event].actor, 0)}
    assert seen == events - twin.unseen(), names
    assert all(outcome.seen().values()), names


@pytest.mark.parametrize("servers", [1, 2, 3])
def test_every_combination_of_answers_is_exactly_one_row_and_the_right_one(servers: int) -> None:
    for names in product(EVERYTHING, repeat=servers):
        check_against_twin(names)


def test_four_servers_too() -> None:
    for names in combinations_with_replacement(EVERYTHING, 4):
        check_against_twin(names)


@given(st.lists(st.sampled_from(EVERYTHING), min_size=1, max_size=9))
def test_up_to_nine_servers_the_rows_hold_too(names: list[str]) -> None:
    check_against_twin(names)


def test_every_row_is_reached() -> None:
    reached = {compare(PATH, answers_of(names)).kind for names in product(EVERYTHING, repeat=2)}
    assert reached == set(Kind)


def orders(answers: Mapping[ServerName, Answer]) -> Iterator[dict[ServerName, Answer]]:
    for order in permutations(answers):
        yield {server: answers[server] for server in order}


def test_the_order_of_answers_never_matters() -> None:
    for names in combinations_with_replacement(EVERYTHING, 3):
        answers = answers_of(names)
        expected = compare(PATH, answers)
        assert all(compare(PATH, order) == expected for order in orders(answers)), names


def test_the_order_of_answers_does_not_matter_when_all_agree_on_the_bytes_alone() -> None:
    told_apart = [
        Present(A, 10, 7, _FOUND_A, executable=True),
        Present(A, 10, 7, _after(_FOUND_D, 1, A, 7)),
        Present(A, 10, 7, EMPTY_CLOCK),
    ]
    answers: dict[ServerName, Answer] = dict(zip(SERVERS, told_apart, strict=False))
    assert len({repr(compare(PATH, order)) for order in orders(answers)}) == 1


SILENT: list[Answer] = [Unreachable("timed out"), Checking(3, 4)]


def shown(outcome: Verdict) -> object:
    return outcome.versions, [report for report in outcome.servers if report not in outcome.silent]


def test_a_silent_server_more_never_turns_a_difference_into_agreement() -> None:
    """Stronger: it changes nothing but 'missing', which nobody can say any more."""
    for names in combinations_with_replacement(EVERYTHING, 3):
        answers = answers_of(names)
        before = compare(PATH, answers)
        for silence in SILENT:
            after = compare(PATH, {**answers, SERVERS[8]: silence})
            assert after.kind is (Kind.UNKNOWN if before.kind is Kind.MISSING else before.kind), names
            assert shown(after) == shown(before), names


@given(st.lists(st.sampled_from(EVERYTHING), max_size=8), st.sampled_from(SILENT))
def test_missing_is_never_said_while_a_server_is_silent(names: list[str], silence: Answer) -> None:
    outcome = compare(PATH, {**answers_of(names), SERVERS[8]: silence})
    assert outcome.kind is not Kind.MISSING
    assert [report.name for report in outcome.silent][-1] == SERVERS[8]


def _rank_free(answers: Mapping[ServerName, Answer]) -> Verdict:
    """`compare` without its fast way."""
    fast = rules._all_agree
    try:
        rules._all_agree = lambda path, answers: None
        return compare(PATH, answers)
    finally:
        rules._all_agree = fast


copies = st.builds(
    Present,
    st.sampled_from([A, A, A, B]),
    st.just(10),
    st.integers(0, 2),
    st.sampled_from([_FOUND_A, _B_OVER_A, _C_OVER_A, _E_BESIDE_A, EMPTY_CLOCK, _after(_FOUND_D, 1, A, 9)]),
    st.booleans(),
    st.sampled_from([(), (), (), (C,), (None,)]),
)


@given(st.lists(st.one_of(copies, st.just(Unreachable("refused"))), min_size=1, max_size=9), st.randoms())
def test_the_fast_way_and_the_general_way_agree(held: list[Answer], random: object) -> None:
    order = list(zip(SERVERS, held, strict=False))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert compare(PATH, dict(order)) == _rank_free(dict(order))


@given(histories(), st.permutations(SERVERS[:4]), st.data())
def test_over_real_histories_order_and_silence_behave_and_nothing_current_is_hidden(
    states: list[Replica], order: list[ServerName], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(states), min_size=1, max_size=4))
    answers: dict[ServerName, Answer] = {
        server: answer_of(replica, data.draw(st.sets(st.sampled_from(CONTENTS))))
        for server, replica in zip(SERVERS, chosen, strict=False)
    }
    outcome = compare(PATH, answers)
    assert compare(PATH, {server: answers[server] for server in order if server in answers}) == outcome
    assert compare(PATH, {**answers, SERVERS[8]: Unreachable("")}).versions == outcome.versions
    superseded = {dot for replica in chosen for dot in replica.superseded}
    alive = {digest for replica in chosen for dot, digest in replica.current().items() if dot not in superseded}
    claims = {claim for answer in answers.values() for claim in Twin.kept(Sample(answer))}
    assert {held.version.digest for held in outcome.versions} == (alive & claims or claims)


@given(histories(), st.data())
def test_what_nobody_could_show_has_not_been_seen(states: list[Replica], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(states), min_size=1, max_size=4))
    answers: dict[ServerName, Answer] = {
        server: answer_of(replica, set()) for server, replica in zip(SERVERS, chosen, strict=False)
    }
    outcome = compare(PATH, {**answers, SERVERS[8]: Unreachable("")})
    seen, shown_ = outcome.seen(), {held.version.digest for held in outcome.versions}
    for (actor, counter), version in outcome.clock.current():
        if version.digest not in shown_:
            assert counter > seen.get(actor, 0)
    assert seen.items() <= outcome.clock.context().items() or outcome.unseen
    assert all(counter <= outcome.clock.context()[actor] for actor, counter in seen.items())


def test_a_verdict_needs_an_answer() -> None:
    with pytest.raises(ValueError, match="at least one"):
        compare(PATH, {})


def test_rivals_of_which_no_good_copy_answered_are_still_named() -> None:
    outcome = compare(PATH, answers_of(["B damaged", "C over A"]))
    assert outcome.kind is Kind.DIVERGED
    assert {held.version.digest: held.servers for held in outcome.versions} == {B: (), C: (SERVERS[1],)}
    assert outcome.versions[1].version.author == "somebody"


def test_one_of_three_unreachable_is_identical_and_says_so() -> None:
    outcome = compare(PATH, answers_of(["A", "A", "unreachable"]))
    assert outcome.kind is Kind.IDENTICAL
    assert state_of(outcome, SERVERS[2]) is State.UNREACHABLE
    assert [report.reason for report in outcome.silent] == ["refused"]


def test_the_newest_of_equal_copies_lends_its_time_and_decides_nothing() -> None:
    older, newer = _copy(A, _FOUND_A, 1), replace(_copy(A, _FOUND_A, 9), executable=True)
    outcome = compare(PATH, {SERVERS[0]: newer, SERVERS[1]: older})
    assert (outcome.version.version.modified_ns, outcome.version.version.executable) == (9, True)
