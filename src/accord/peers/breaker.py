"""The circuit breaker of one peer: whether it is asked at all, and when it is tried again.

A pure state machine: the time and the jitter are passed in. What an attempt is (a new connection, a ping) is left to `link`.

              SUCCESS      FAILURE      ATTEMPT
    UNTRIED   CLOSED       OPEN         UNTRIED
    CLOSED    CLOSED       OPEN         CLOSED
    OPEN      OPEN         OPEN         HALF_OPEN
    HALF_OPEN CLOSED       OPEN         HALF_OPEN
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Circuit(Enum):
    UNTRIED = "untried"
    """The first attempt is under way: questions wait for it."""
    CLOSED = "closed"
    """The peer answers: questions are sent."""
    OPEN = "open"
    """It failed lately: questions are answered at once, and nothing is tried until `retry_at_s`."""
    HALF_OPEN = "half-open"
    """One attempt is under way; questions are still answered at once."""


class Event(Enum):
    SUCCESS = "success"
    """An attempt succeeded. In `OPEN` it is the late news of an attempt that was given up, and counts for nothing."""
    FAILURE = "failure"
    """An attempt failed, or the connection did."""
    ATTEMPT = "attempt"
    """An attempt begins."""


TABLE = {
    (Circuit.UNTRIED, Event.SUCCESS): Circuit.CLOSED,
    (Circuit.UNTRIED, Event.FAILURE): Circuit.OPEN,
    (Circuit.UNTRIED, Event.ATTEMPT): Circuit.UNTRIED,
    (Circuit.CLOSED, Event.SUCCESS): Circuit.CLOSED,
    (Circuit.CLOSED, Event.FAILURE): Circuit.OPEN,
    (Circuit.CLOSED, Event.ATTEMPT): Circuit.CLOSED,
    (Circuit.OPEN, Event.SUCCESS): Circuit.OPEN,
    (Circuit.OPEN, Event.FAILURE): Circuit.OPEN,
    (Circuit.OPEN, Event.ATTEMPT): Circuit.HALF_OPEN,
    (Circuit.HALF_OPEN, Event.SUCCESS): Circuit.CLOSED,
    (Circuit.HALF_OPEN, Event.FAILURE): Circuit.OPEN,
    (Circuit.HALF_OPEN, Event.ATTEMPT): Circuit.HALF_OPEN,
}


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts: doubling from `first_s` to `last_s`, each shortened by up to half at random."""

    first_s: float = 0.1
    last_s: float = 2.0
    last_refused_s: float = 5.0
    """For a peer that answers and refuses: nothing but somebody's hand will change that."""
    steady_s: float = 10.0
    """A circuit that was closed for so long is trusted as a new one is."""
    late_limit: int = 3
    """So many questions in a row that came too late open the circuit, though the peer says other things."""


class Breaker:
    """`circuit` and, in `OPEN`, `retry_at_s`. All times are of one monotonic clock, in seconds; `chance` is in [0, 1)."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self.circuit = Circuit.UNTRIED
        self.retry_at_s = 0.0
        self._backoff = backoff or Backoff()
        self._delay_s = self._backoff.first_s
        self._closed_at_s = 0.0
        self._late = 0

    def attempt(self) -> None:
        self.circuit = TABLE[self.circuit, Event.ATTEMPT]

    def succeed(self, now_s: float) -> None:
        """An attempt succeeded. What is known of lateness stays: somebody quick to greet may still be slow to answer."""
        before, self.circuit = self.circuit, TABLE[self.circuit, Event.SUCCESS]
        if self.circuit is Circuit.CLOSED is not before:
            self._closed_at_s = now_s

    def answered(self) -> None:
        """A question was answered in time: full trust."""
        self._late = 0
        self._delay_s = self._backoff.first_s

    def late(self, now_s: float, chance: float) -> None:
        """A question was not answered in time, by a peer that said something else meanwhile."""
        self._late = min(self._late + 1, self._backoff.late_limit)
        if self._late == self._backoff.late_limit and self.circuit is Circuit.CLOSED:
            self.fail(now_s, chance)

    def fail(self, now_s: float, chance: float, *, refused: bool = False) -> None:
        """An attempt, or the connection, failed."""
        before, self.circuit = self.circuit, TABLE[self.circuit, Event.FAILURE]
        if before is Circuit.OPEN:
            return
        if before is Circuit.CLOSED and now_s - self._closed_at_s >= self._backoff.steady_s:
            self._delay_s = self._backoff.first_s
        last_s = self._backoff.last_refused_s if refused else self._backoff.last_s
        self.retry_at_s = now_s + min(self._delay_s, last_s) * (1 - chance / 2)
        self._delay_s = min(self._delay_s * 2, last_s)
