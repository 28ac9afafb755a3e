"""The connection over which one peer is asked: kept alive, watched, and renewed in the background.

A question never waits for a peer that is known to be down: `ask` then costs a dictionary entry. What is told from what:

    the connection breaks          its questions fail at once; the breaker opens
    silence for `peer_timeout`     likewise; the connection is kept, pinged, and dropped after `silent_limit_s`
    one answer is late             that question fails; several in a row open the breaker

When to try again is left to `breaker`; what travels together, to `cluster`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from accord.background import begun, ended
from accord.errors import PeerFailed, PeerRefused, PeerUnreachable
from accord.model.names import ServerName
from accord.model.verdict import Unreachable
from accord.peers.answers import decode_answer
from accord.peers.breaker import Backoff, Breaker, Circuit
from accord.peers.call_messages import Call, Compared, Declined, Ordered, Reported
from accord.peers.calls import Calls
from accord.peers.dial import Address, dial
from accord.peers.failures import not_asked_for
from accord.peers.handshake import Identity
from accord.peers.port import PeerState, PeerStatus
from accord.peers.questions import Batch, Question
from accord.peers.stream import GRACE_S, Stream
from accord.peers.wire import Answers, Doubt, Ping, Pong, Suggest, decode, replies

_log = structlog.get_logger("accord.peers")

MAX_WAITING_QUESTIONS = 10_000
"""So many questions wait for the first connection, or for answers; more are `Unreachable` at once."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a link, in seconds."""

    peer_timeout_s: float = 1.0
    ping_every_s: float = 1.0
    silent_limit_s: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)


class Link:
    """One peer. `start` it, and `close` it; all else on the event loop's thread, without waiting. `told_up` is called whenever it can
    be asked (again)."""

    def __init__(
        self,
        name: ServerName,
        address: Address,
        me: Identity,
        pace: Pace,
        chance: Callable[[], float],
        told_up: Callable[[ServerName], None],
    ) -> None:
        self.name = name
        self.address = address
        self._me = me
        self._pace = pace
        self._chance = chance
        self._told_up = told_up
        self._breaker = Breaker(pace.backoff)
        self._reason: PeerFailed = PeerUnreachable("not connected yet")
        self._stream: Stream | None = None
        self._pending: dict[int, Question] = {}
        self._waiting: list[Batch] = []
        self._down_at_s: float | None = None
        self._heard_at_s = 0.0
        self._connected_at_s = 0.0
        self._pings = self._pong = 0
        self.calls = Calls(self._call)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._now = asyncio.get_running_loop().time

    def start(self) -> None:
        self._task = begun(self._run(), name=f"link to {self.name}")

    async def close(self) -> None:
        if self._task is not None:
            await ended(self._task)
            await asyncio.sleep(0)  # A connection that was being made is let go of in the loop's next turn.
        stream = self._stream
        if stream is not None:
            stream.end(PeerUnreachable("this server is stopping"))
            await stream.ended.wait()
        self._fail_all("this server is stopping")

    def status(self) -> PeerStatus:
        match self._breaker.circuit:
            case Circuit.UNTRIED:
                return PeerStatus(self.name, self.address.url, PeerState.CONNECTING)
            case Circuit.CLOSED:
                return PeerStatus(self.name, self.address.url, PeerState.UP)
            case Circuit.OPEN | Circuit.HALF_OPEN:
                state = PeerState.REFUSED if isinstance(self._reason, PeerRefused) else PeerState.DOWN
                down_s = None if self._down_at_s is None else self._now() - self._down_at_s
                return PeerStatus(self.name, self.address.url, state, self._reason.detail, down_s)

    def obstacle(self) -> str | None:
        """Why it would be of no use to turn to this peer now."""
        return self._reason.detail if self._breaker.circuit in (Circuit.OPEN, Circuit.HALF_OPEN) else None

    def ask(self, batch: Batch, frame: bytes) -> None:
        """Settles every question of the batch for this peer, now or later; `expire` does so at the latest."""
        circuit = self._breaker.circuit
        if circuit is Circuit.OPEN or circuit is Circuit.HALF_OPEN:
            self._refuse(batch, self._reason.detail)
        elif len(self._pending) + len(batch.questions) > MAX_WAITING_QUESTIONS:
            self._refuse(batch, "too many questions are waiting for it")
        else:
            self._pending.update(zip(batch.ids, batch.questions, strict=True))
            if self._stream is None:
                self._waiting.append(batch)
            else:
                self._stream.write(frame)

    def tell(self, news: Suggest | Doubt) -> None:
        """Pass on what wants no answer; nothing happens when the peer is not there."""
        if self._stream is not None and self._breaker.circuit is Circuit.CLOSED:
            self._stream.send(news)

    def _call(self, call: Call) -> None:
        """Raises `PeerUnreachable`: nothing waits for the first connection."""
        if self._stream is None or self._breaker.circuit is not Circuit.CLOSED:
            raise PeerUnreachable(self._reason.detail)
        self._stream.send(call)

    def expire(self, batch: Batch) -> None:
        """The time of this batch is over: what has no answer gets none."""
        overdue = [question for id in batch.ids if (question := self._pending.pop(id, None)) is not None]
        if not overdue:
            return
        reason = f"did not answer within {batch.time_limit_s:g} s"
        if self._breaker.circuit is Circuit.UNTRIED:
            self._waiting = [one for one in self._waiting if one is not batch]
        elif self._heard_at_s <= max(batch.sent_at_s, self._connected_at_s):
            self._fail(PeerUnreachable(reason))
        else:
            self._breaker.late(self._now(), self._chance())
            if self._breaker.circuit is Circuit.OPEN:
                self._opened(PeerUnreachable("answers too late"))
        for question in overdue:
            question.settle(self.name, Unreachable(reason))

    def message(self, payload: bytes) -> None:
        self._heard_at_s = self._now()
        match decode(replies, payload):
            case Answers(ids, answers) if len(ids) == len(answers):
                self._take(ids, answers)
            case (Compared() | Reported() | Ordered() | Declined()) as returned:
                self.calls.take(returned)
            case Pong(id):
                self._pong = id
                self._news.set()
            case _:
                raise not_asked_for()

    def data(self, piece: bytes) -> None:
        raise not_asked_for()

    def lost(self, error: PeerFailed) -> None:
        self._stream = None
        self._fail(error)

    def _take(self, ids: list[int], answers: list[bytes]) -> None:
        """Late answers, to questions given up, count for nothing."""
        in_time = False
        for id, raw in zip(ids, answers, strict=True):
            question = self._pending.pop(id, None)
            if question is None:
                continue
            in_time = True
            try:
                question.settle(self.name, decode_answer(raw))
            except PeerUnreachable as error:
                question.settle(self.name, Unreachable(error.detail))
        if in_time:
            self._breaker.answered()

    def _refuse(self, batch: Batch, reason: str) -> None:
        unreachable = Unreachable(reason)
        for question in batch.questions:
            question.settle(self.name, unreachable)

    def _fail(self, error: PeerFailed) -> None:
        refused = isinstance(error, PeerRefused)
        self._breaker.fail(self._now(), self._chance(), refused=refused)
        self._opened(error)

    def _opened(self, error: PeerFailed) -> None:
        if error.detail != self._reason.detail:
            _log.warning("peer down", peer=self.name, url=self.address.url, reason=error.detail)
        self._reason = error
        self._down_at_s = self._now() if self._down_at_s is None else self._down_at_s
        self._fail_all(error.detail)
        self._news.set()

    def _fail_all(self, reason: str) -> None:
        pending, self._pending = self._pending, {}
        self._waiting = []
        unreachable = Unreachable(reason)
        for question in pending.values():
            question.settle(self.name, unreachable)
        self.calls.fail(reason)

    async def _run(self) -> None:
        while True:
            self._breaker.attempt()
            try:
                stream = await dial(self.address, self._me, self.name, timeout_s=self._pace.peer_timeout_s)
            except PeerFailed as error:
                self._fail(error)
            else:
                self._connected(stream)
                await self._watch(stream)
            while self._now() < self._breaker.retry_at_s:
                await self._until(self._breaker.retry_at_s)

    def _connected(self, stream: Stream) -> None:
        if not stream.open:
            self._fail(PeerUnreachable("connection lost"))
            return
        stream.receiver = self
        self._stream = stream
        self._heard_at_s = self._connected_at_s = self._now()
        self._up()
        for batch in self._waiting:
            stream.write(batch.frame())
        self._waiting = []

    def _up(self) -> None:
        self._breaker.succeed(self._now())
        self._reason = PeerUnreachable("")
        self._down_at_s = None
        _log.info("peer up", peer=self.name, url=self.address.url)
        self._told_up(self.name)

    async def _watch(self, stream: Stream) -> None:
        """Until the stream is lost: ping it when it is quiet, and when the breaker allows to try it again."""
        while stream.open:
            if self._breaker.circuit is Circuit.CLOSED:
                await self._until(self._heard_at_s + self._pace.ping_every_s)
                quiet = self._now() - self._heard_at_s >= self._pace.ping_every_s
                if quiet and self._breaker.circuit is Circuit.CLOSED and not await self._pinged(stream):
                    self._stalled(stream)
            elif self._now() < self._breaker.retry_at_s:
                await self._until(self._breaker.retry_at_s)
            else:
                self._breaker.attempt()
                if await self._pinged(stream):
                    self._up()
                else:
                    self._stalled(stream)

    def _stalled(self, stream: Stream) -> None:
        if not stream.open:
            return
        error = PeerUnreachable(f"did not answer within {self._pace.peer_timeout_s:g} s")
        if self._now() - self._heard_at_s >= self._pace.silent_limit_s:
            stream.end(error)
        else:
            self._fail(error)

    async def _pinged(self, stream: Stream) -> bool:
        """Whether a ping comes back in time (on a closed circuit: whether anything comes)."""
        self._pings += 1
        this, sent_at_s = self._pings, self._now()
        deadline_s = sent_at_s + self._pace.peer_timeout_s
        stream.send(Ping(this))
        while stream.open and self._pong != this and self._now() < deadline_s:
            await self._until(deadline_s)
        if self._pong != this:
            await asyncio.sleep(GRACE_S)
        alive = self._breaker.circuit is Circuit.CLOSED and self._heard_at_s > sent_at_s
        return stream.open and (alive or self._pong == this)

    async def _until(self, when_s: float) -> None:
        """Wait until then, or for news."""
        self._news.clear()
        delay_s = when_s - self._now()
        if delay_s <= 0:
            return
        try:
            async with asyncio.timeout(delay_s):
                await self._news.wait()
        except TimeoutError:
            pass
