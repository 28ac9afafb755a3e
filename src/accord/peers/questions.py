"""Questions on their way: which of them travel together, and what is still missing of their answers.

One future a question, one timer a batch: what is done for every path is kept to a few operations. Sending is left to `link`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from accord.model.names import FilePath, ServerName
from accord.model.verdict import Answer
from accord.peers.framing import framed
from accord.peers.wire import Check


class Question:
    """One path asked of `missing` peers at once."""

    __slots__ = ("_answers", "_batch", "_missing", "answered", "path")

    def __init__(
        self, path: FilePath, answered: asyncio.Future[Mapping[ServerName, Answer]], missing: int, batch: Batch
    ) -> None:
        self.path = path
        self.answered = answered
        self._answers: dict[ServerName, Answer] = {}
        self._missing = missing
        self._batch = batch

    def settle(self, server: ServerName, answer: Answer) -> None:
        """Called once for each peer."""
        self._answers[server] = answer
        self._missing -= 1
        if not self._missing:
            if not self.answered.done():
                self.answered.set_result(self._answers)
            self._batch.settled()


class Batch:
    """The questions of one turn of the event loop, numbered from `first` on; sent to every peer in one and the same frame."""

    __slots__ = ("_unsettled", "first", "questions", "reread", "sent_at_s", "time_limit_s", "timer", "wait_s")

    def __init__(self, time_limit_s: float, wait_s: float, reread: bool) -> None:
        self.time_limit_s = time_limit_s
        self.wait_s = wait_s
        self.reread = reread
        self.first = 0
        self.sent_at_s = 0.0
        self.questions: list[Question] = []
        self.timer: asyncio.TimerHandle | None = None
        self._unsettled = 0

    def add(self, path: FilePath, answered: asyncio.Future[Mapping[ServerName, Answer]], peers: int) -> None:
        self.questions.append(Question(path, answered, peers, self))
        self._unsettled += 1

    def settled(self) -> None:
        self._unsettled -= 1
        if not self._unsettled and self.timer is not None:
            self.timer.cancel()
            self.timer = None

    @property
    def complete(self) -> bool:
        return not self._unsettled

    @property
    def ids(self) -> Sequence[int]:
        return range(self.first, self.first + len(self.questions))

    def frame(self) -> bytes:
        # msgspec encodes no subclasses of text or bytes: here and elsewhere they are made plain.
        paths = [str(question.path) for question in self.questions]
        return framed(Check(self.first, paths, int(self.wait_s * 1000), self.reread))
