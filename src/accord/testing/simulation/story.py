"""What happened, line by line: kept for whoever looks into a failing seed, and summed up in a digest that says whether two runs were
the same."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from accord.testing.simulation.processes import PROCESS

_TOLD_AT = 1_000
_QUIET = frozenset(("all files are hashed", "hashing the files"))


class Story:
    """`now_s` is the simulated time."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lines: list[str] = []

    def tell(self, who: str, what: str) -> None:
        self._lines.append(f"{self._now_s() - _TOLD_AT:10.4f} {who:8} {what}")

    def last(self, count: int) -> list[str]:
        return self._lines[-count:]

    @property
    def lines(self) -> list[str]:
        return self._lines

    def digest(self) -> str:
        return blake2b("\n".join(self._lines).encode(), digest_size=16).hexdigest()


class Log:
    """In the place of the modules' loggers: what servers say of themselves is part of the story."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def _say(self, event: str, **fields: Any) -> None:
        if event in _QUIET:
            return
        process = PROCESS.get()
        who = process.name if process is not None else "-"
        told = " ".join(f"{name}={_shown(value)}" for name, value in fields.items() if name != "exc_info")
        self._story.tell(who, f"· {event} {told}")

    debug = info = warning = error = exception = critical = _say

    def log(self, level: int, event: str, **fields: Any) -> None:
        self._say(event, **fields)


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
