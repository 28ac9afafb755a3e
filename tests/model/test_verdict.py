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
    Life,
    OutsideChanges,
    Version,
    found,
    outside_change,
    server_actor,
    write,
)
from tests.model.histories import CONTENTS, Replica, histories

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


def _copy(digest: Digest, clock: Clock, modified_ns: int) -> Present:
    return Present(digest, 10, modified_ns, clock)


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
        self.current = {claim for one in self.answered for claim in self.claims(one) if not self.superseded(claim)}

    @staticmethod
    def claims(sample: Sample) -> list[Digest | None]:
        match sample.answer:
            case Present(digest=digest):
                return [digest]
            case Damaged(digest=Digest() as digest):
                return [digest]
            case Deleted():
                return [None]
        return []

    def superseded(self, claim: Digest | None) -> bool:
        events = {event for one in self.samples for event, content in one.current if content == claim}
        return all(
            any(event in one.knows and event not in dict(one.current) for one in self.samples) for event in events
        )

    def holds(self, sample: Sample) -> bool:
        return isinstance(sample.answer, Present) and sample.answer.digest in self.current

    def outdated(self, sample: Sample) -> bool:
        if isinstance(sample.answer, Present):
            return sample.answer.digest not in self.current
        return isinstance(sample.answer, Deleted) and None not in self.current

    @property
    def one_version_with_a_good_copy(self) -> bool:
        return len(self.current) == 1 and None not in self.current and any(map(self.holds, self.answered))

    def rows(self) -> dict[Kind, bool]:
        good, several = self.one_version_with_a_good_copy, len(self.answered) >= 2
        silent = len(self.answered) < len(self.samples)
        damaged = any(isinstance(one.answer, Damaged) for one in self.answered)
        only_absent = all(isinstance(one.answer, Absent) for one in self.answered)
        return {
            Kind.IDENTICAL: good and several and all(map(self.holds, self.answered)),
            Kind.STALE: good and any(map(self.outdated, self.answered)),
            Kind.PARTIAL: good
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
    for held in outcome.versions:
        holders = [
            server
            for server, sample in zip(SERVERS, twin.samples, strict=False)
            if twin.claims(sample) == [held.version.digest] and not isinstance(sample.answer, Damaged)
        ]
        assert list(held.servers) == holders, names
    ages = [held.version.modified_ns for held in outcome.versions]
    assert ages == sorted(ages, reverse=True), names


@pytest.mark.parametrize("servers", [1, 2, 3, 4])
def test_every_combination_of_answers_is_exactly_one_row_and_the_right_one(servers: int) -> None:
    for names in product(EVERYTHING, repeat=servers):
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
)


@given(st.lists(copies, min_size=2, max_size=9), st.randoms())
def test_the_fast_way_and_the_general_way_agree(held: list[Present], random: object) -> None:
    order = list(zip(SERVERS, held, strict=False))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert compare(PATH, dict(order)) == _rank_free(dict(order))


def answer_of(replica: Replica) -> Answer:
    if not replica.clock.entries:
        return Absent()
    if replica.disk is None:
        return Deleted(replica.clock)
    return Present(replica.disk, 10, 0, replica.clock)


def honest(replica: Replica) -> bool:
    """A server that heard of something newer has healed; until then its disk holds what one of its events says."""
    return replica.disk in replica.current().values()


@given(histories(), st.permutations(SERVERS[:4]), st.data())
def test_over_real_histories_order_and_silence_behave_and_nothing_current_is_hidden(
    states: list[Replica], order: list[ServerName], data: st.DataObject
) -> None:
    replicas = [state for state in states if honest(state)] or states[:1]
    chosen = data.draw(st.lists(st.sampled_from(replicas), min_size=1, max_size=4))
    answers = dict(zip(SERVERS, map(answer_of, chosen), strict=False))
    outcome = compare(PATH, answers)
    assert compare(PATH, {server: answers[server] for server in order if server in answers}) == outcome
    assert compare(PATH, {**answers, SERVERS[8]: Unreachable("")}).versions == outcome.versions
    superseded = {dot for replica in chosen for dot in replica.superseded}
    alive = {
        digest
        for replica in chosen
        for dot, digest in replica.current().items()
        if dot not in superseded and isinstance(answer_of(replica), Present | Deleted)
    }
    disks = {replica.disk for replica in chosen if isinstance(answer_of(replica), Present | Deleted)}
    assert {held.version.digest for held in outcome.versions} == (alive & disks or disks)


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
    assert outcome.state_of(SERVERS[2]) is State.UNREACHABLE
    assert [report.reason for report in outcome.silent] == ["refused"]


def test_the_newest_of_equal_copies_lends_its_time_and_decides_nothing() -> None:
    older, newer = _copy(A, _FOUND_A, 1), replace(_copy(A, _FOUND_A, 9), executable=True)
    outcome = compare(PATH, {SERVERS[0]: newer, SERVERS[1]: older})
    assert (outcome.version.version.modified_ns, outcome.version.version.executable) == (9, True)
