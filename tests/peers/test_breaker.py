"""The circuit breaker, whatever happens to it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from accord.peers.breaker import TABLE, Backoff, Breaker, Circuit, Event

BACKOFF = Backoff()
events = st.lists(
    st.tuples(
        st.sampled_from(["attempt", "succeed", "answered", "late", "fail", "refused"]),
        st.floats(0, 20),
        st.floats(0, 0.999),
    )
)


def happen(breaker: Breaker, event: str, now_s: float, chance: float) -> None:
    match event:
        case "attempt":
            breaker.attempt()
        case "succeed":
            breaker.succeed(now_s)
        case "answered":
            breaker.answered()
        case "late":
            breaker.late(now_s, chance)
        case "fail":
            breaker.fail(now_s, chance)
        case "refused":
            breaker.fail(now_s, chance, refused=True)


def test_the_table_covers_every_case() -> None:
    assert set(TABLE) == set(itertools.product(Circuit, Event))


@given(events)
def test_an_open_circuit_is_tried_again_within_bounds(story: list[tuple[str, float, float]]) -> None:
    breaker, now_s = Breaker(BACKOFF), 0.0
    for event, step_s, chance in story:
        now_s += step_s
        before = breaker.circuit
        happen(breaker, event, now_s, chance)
        if breaker.circuit is Circuit.OPEN and before is not Circuit.OPEN:
            wait_s = breaker.retry_at_s - now_s
            assert BACKOFF.first_s / 2 - 1e-9 <= wait_s <= BACKOFF.last_refused_s + 1e-9


@given(events)
def test_only_an_attempt_and_its_success_close_an_open_circuit(story: list[tuple[str, float, float]]) -> None:
    breaker = Breaker(BACKOFF)
    for event, step_s, chance in story:
        before = breaker.circuit
        happen(breaker, event, step_s, chance)
        if before is Circuit.OPEN:
            assert breaker.circuit is (Circuit.HALF_OPEN if event == "attempt" else Circuit.OPEN)
        if breaker.circuit is Circuit.CLOSED is not before:
            assert event == "succeed"


@given(st.integers(1, 30))
def test_waits_double_up_to_a_bound(failures: int) -> None:
    breaker, waits = Breaker(BACKOFF), []
    for _ in range(failures):
        breaker.attempt()
        breaker.fail(0.0, 0.0)
        waits.append(breaker.retry_at_s)
    assert waits == [min(BACKOFF.first_s * 2**number, BACKOFF.last_s) for number in range(failures)]


def test_one_late_answer_opens_nothing_but_several_in_a_row_do() -> None:
    breaker = Breaker(BACKOFF)
    breaker.succeed(0.0)
    for _ in range(BACKOFF.late_limit - 1):
        breaker.late(1.0, 0.0)
    breaker.answered()
    for _ in range(BACKOFF.late_limit - 1):
        breaker.late(2.0, 0.0)
        assert breaker.circuit is Circuit.CLOSED
    breaker.late(3.0, 0.0)
    assert breaker.circuit is Circuit.OPEN


def test_somebody_quick_to_greet_and_slow_to_answer_is_not_trusted_again_for_greeting() -> None:
    breaker = Breaker(BACKOFF)
    breaker.succeed(0.0)
    for _ in range(BACKOFF.late_limit):
        breaker.late(1.0, 0.0)
    breaker.attempt()
    breaker.succeed(2.0)
    breaker.late(3.0, 0.0)
    assert breaker.circuit is Circuit.OPEN
    assert breaker.retry_at_s == 3.0 + 2 * BACKOFF.first_s


def test_a_connection_that_lasted_is_forgiven_quickly() -> None:
    breaker = Breaker(BACKOFF)
    for _ in range(10):
        breaker.attempt()
        breaker.fail(0.0, 0.0)
    breaker.attempt()
    breaker.succeed(0.0)
    breaker.fail(BACKOFF.steady_s, 0.0)
    assert breaker.retry_at_s == BACKOFF.steady_s + BACKOFF.first_s
