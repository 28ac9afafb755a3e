"""Messages between simulated servers: late, lost, twice, one way only, or never, as the faults of the moment have it.

A question and its answer are two messages; either may be lost, so that work may be done of which nobody hears. Whoever does not hear
anything for `PATIENCE_S` gives up, as long work is told to be alive meanwhile. Who talks to whom, and about what, is `sim_peers`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from accord.errors import PeerUnreachable
from accord.model.names import ServerName
from accord.testing.simulation.processes import Crash, Process
from accord.testing.simulation.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from accord.testing.simulation.server import Server

PATIENCE_S = 1.0
"""`peer_timeout` of the simulated cluster."""
WORK_LIMIT_S = 60.0
REFUSED = "refused the connection"
SILENT = f"did not answer within {PATIENCE_S:.0f} s"
BROKEN = "connection lost"

T = TypeVar("T")


@dataclass(slots=True)
class Weather:
    """What the network is like. Probabilities are for each message: `loss`, `double` (what may be told twice is), `cut` (a transfer
    breaks off after a block)."""

    max_delay_s: float = 0.004
    loss: float = 0.0
    double: float = 0.0
    cut: float = 0.0


class Network:
    """`running` finds the server that answers under a name at the moment; `changed` is called by whoever changes `blocked`."""

    def __init__(self, loop: VirtualLoop, random: Random, running: Callable[[ServerName], Server | None]) -> None:
        self.loop = loop
        self.random = random
        self.running = running
        self.weather = Weather()
        self.blocked: set[tuple[ServerName, ServerName]] = set()
        """Ways on which nothing arrives: (from, to)."""
        self.messages = 0

    def hop_s(self, source: ServerName, target: ServerName) -> float | None:
        """How long a message takes, or None where it never arrives."""
        self.messages += 1
        if (source, target) in self.blocked:
            return None
        weather, random = self.weather, self.random
        if weather.loss and random.random() < weather.loss:
            return None
        return random.random() * weather.max_delay_s

    def is_cut(self) -> bool:
        return self.weather.cut > 0 and self.random.random() < self.weather.cut

    def is_doubled(self) -> bool:
        return self.weather.double > 0 and self.random.random() < self.weather.double

    def is_joined(self, one: ServerName, other: ServerName) -> bool:
        return (one, other) not in self.blocked and (other, one) not in self.blocked

    async def exchange(
        self, sender: Process, me: ServerName, target: ServerName, work: Callable[[Server], Awaitable[T]]
    ) -> T:
        """Have `target` do something, and hear what came of it. Work that was begun is seen through. Raises `PeerUnreachable`, and what
        the work raises."""
        sender.require_alive()
        there_s = self.hop_s(me, target)
        if there_s is None:
            await asyncio.sleep(PATIENCE_S)
            raise PeerUnreachable(SILENT)
        await asyncio.sleep(there_s)
        server = self.running(target)
        if server is None:
            back_s = self.hop_s(target, me)
            await asyncio.sleep(PATIENCE_S if back_s is None else back_s)
            raise PeerUnreachable(REFUSED)
        return await self._answered(me, target, server, work)

    async def _answered(
        self, me: ServerName, target: ServerName, server: Server, work: Callable[[Server], Awaitable[T]]
    ) -> T:
        loop = self.loop
        answered: asyncio.Future[T] = loop.create_future()
        answered.add_done_callback(_taken)
        is_lost = False

        def done(task: asyncio.Task[Any]) -> None:
            nonlocal is_lost
            outcome = _outcome(task)
            back_s = self.hop_s(target, me)
            if outcome is None or back_s is None:
                is_lost = True
            else:
                loop.call_later(back_s, _settle, answered, outcome)

        server.process.spawn(_worked(work, server)).add_done_callback(done)
        until_s = loop.time() + WORK_LIMIT_S
        while True:
            await asyncio.wait([answered], timeout=PATIENCE_S)
            if answered.done():
                return answered.result()
            if is_lost or not server.process.is_alive or not self.is_joined(me, target) or loop.time() > until_s:
                answered.cancel()
                raise PeerUnreachable(BROKEN)


async def _worked(work: Callable[[Server], Awaitable[T]], server: Server) -> T:
    return await work(server)


def _taken(future: asyncio.Future[Any]) -> None:
    """An answer that comes when nobody waits for it any more is no matter."""
    if not future.cancelled():
        future.exception()


_Outcome = tuple[Any, BaseException | None]


def _outcome(task: asyncio.Task[Any]) -> _Outcome | None:
    """The result or the error; None where the server was gone before there was either."""
    if task.cancelled():
        return None
    error = task.exception()
    if isinstance(error, Crash):
        return None
    return (None, error) if error is not None else (task.result(), None)


def _settle(future: asyncio.Future[Any], outcome: _Outcome) -> None:
    result, error = outcome
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
