"""One store in memory on an event loop whose time is made up, and somebody who writes down what scans and scrubs tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from accord.engine.heal_queue import Urgency
from accord.model.findings import Finding, Oddity
from accord.model.names import FilePath, ServerName
from accord.testing.memory_store import MemoryStore
from accord.testing.simulation.virtual_loop import VirtualLoop

_BEGAN_NS = 1_700_000_000_000_000_000


class Told:
    """Keeps `engine.mending.Heals`, and takes the findings of runs."""

    def __init__(self) -> None:
        self.suggested: list[tuple[str, Urgency]] = []
        self.found: list[tuple[int, str, Oddity]] = []
        self.looks = 0

    def suggest(self, path: FilePath, urgency: Urgency) -> None:
        self.suggested.append((str(path), urgency))

    def look(self) -> None:
        self.looks += 1

    def take(self, number: int, finding: Finding) -> None:
        self.found.append((number, str(finding.path), finding.oddity))


def store_of(*paths: str) -> MemoryStore:
    return MemoryStore(ServerName("server1"), {path: path.encode() for path in paths})


def now_ns() -> int:
    return _BEGAN_NS + int(asyncio.get_running_loop().time() * 1e9)


def run(story: Callable[[], Awaitable[None]]) -> None:
    """To its end, in no time."""

    async def told() -> None:
        await story()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(lambda: 0.001)) as runner:
        runner.run(told())


async def until(condition: Callable[[], object], what: str, at_most_s: float = 600.0) -> None:
    """In the loop's own time."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + at_most_s
    while not condition():
        assert loop.time() < deadline_s, f"not within {at_most_s:.0f} s: {what}"
        await asyncio.sleep(0.01)
