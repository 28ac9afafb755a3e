"""Answering other servers' small requests on the connection for questions: to compare ranges, to report, to begin work.

Each is answered as soon as the engine has an answer, in any order; none holds up the questions about paths. What the answers are
is left to the engine (`engine.peer_requests`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

from accord.engine.peer_requests import PeerRequests, Work
from accord.errors import AccordError, InvalidPath, InvalidQuery, PeerUnreachable
from accord.model.fingerprints import Cut, Named, Reply, Same, Summary
from accord.model.names import Prefix, ServerName
from accord.peers.answers import MAX_REASON_CHARS
from accord.peers.call_messages import (
    MAX_REPORT_BYTES,
    Call,
    Compare,
    Compared,
    Declined,
    Order,
    Ordered,
    Report,
    Reported,
    Returned,
)
from accord.peers.failures import reason_of
from accord.peers.ranges import compared_range, summaries
from accord.server.peer_checks import path_of
from accord.store.inventory import Scope

MAX_AT_ONCE = 64
"""So many requests of one connection are answered at once (`peers.calls.MAX_CALLS`); more are refused."""
COMPARED_FRAME_BYTES = 256 * 1024
"""A frame of ranges is sent once it has about this many bytes, so that other answers are not kept waiting."""
_RANGE_BYTES, _ITEM_BYTES, _PART_BYTES = 8, 20, 30

_WORKS = {work.value: work for work in Work}


class Calls:
    """The small requests on one connection. `spawn` runs a coroutine until it ends or the connection does, `drain` waits while the
    asker is behind."""

    def __init__(
        self,
        requests: PeerRequests,
        send: Callable[[Returned], None],
        drain: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self._requests = requests
        self._send = send
        self._drain = drain
        self._spawn = spawn
        self._at_once = 0

    def take(self, call: Call, caller: ServerName) -> None:
        """Raises `PeerUnreachable` for what makes no sense."""
        if self._at_once >= MAX_AT_ONCE:
            self._send(Declined(call.id, "is busy: too many requests at once"))
            return
        match call:
            case Compare(ranges=ranges):
                answer = partial(self._compare, call.id, caller, summaries(ranges))
            case Report(question=question):
                answer = partial(self._report, call.id, question)
            case Order(work=work, scope=scope, number=number):
                answer = partial(self._order, call.id, work, _scope(scope), number)
        self._at_once += 1
        self._spawn(self._answered(call.id, answer))

    async def _answered(self, id: int, answer: Callable[[], Awaitable[None]]) -> None:
        try:
            await answer()
        except ConnectionResetError:
            pass  # nobody is there to be told
        except AccordError as error:
            self._send(Declined(id, reason_of(error)))
        finally:
            self._at_once -= 1

    async def _compare(self, id: int, caller: ServerName, asked: Sequence[Summary]) -> None:
        some, size_bytes = [], 0
        for reply in await self._requests.compare(caller, asked):
            some.append(compared_range(reply))
            size_bytes += _weight_bytes(reply)
            if size_bytes > COMPARED_FRAME_BYTES:
                self._send(Compared(id, some))
                await self._drain()
                some, size_bytes = [], 0
        if some:
            self._send(Compared(id, some))

    async def _report(self, id: int, question: bytes) -> None:
        report = await self._requests.report(question)
        if len(report) > MAX_REPORT_BYTES:
            raise InvalidQuery(f"the answer would be {len(report)} bytes long; at most {MAX_REPORT_BYTES} are allowed")
        self._send(Reported(id, report))

    async def _order(self, id: int, work: str, scope: Scope, number: int) -> None:
        known = _WORKS.get(work)
        reason = "knows no such work" if known is None else await self._requests.order(known, scope, number)
        self._send(Ordered(id, None if reason is None else reason[:MAX_REASON_CHARS]))


def _scope(text: str) -> Scope:
    if text and not text.endswith("/"):
        return path_of(text)
    try:
        return Prefix(text)
    except InvalidPath as error:
        raise PeerUnreachable(f"sent something that is no path ({error.detail})") from error


def _weight_bytes(reply: Reply) -> int:
    """About how long it is on the wire."""
    match reply:
        case Same():
            return _RANGE_BYTES
        case Named(items):
            return sum(_ITEM_BYTES + len(item.path) for item in items)
        case Cut(parts):
            return sum(_PART_BYTES + len(part.span.after) for part in parts)
