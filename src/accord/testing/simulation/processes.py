"""One life of a server as the operating system sees it: what runs on its behalf, and that it may end at any moment.

Every change that a process makes to its disk is a point where it may be killed. From then on whatever it still tries fails with
`Crash`, which code that catches errors does not catch. What is left on the disk is `disk`'s.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.testing.simulation.disk import Disk
    from accord.testing.simulation.virtual_loop import NumberedTask, VirtualLoop


class Crash(BaseException):
    """The process is gone."""


class Process:
    """`at_end` is called when the process ends abruptly, at whatever point; it is told whether the power failed, too."""

    def __init__(self, name: str, disk: Disk, loop: VirtualLoop, at_end: Callable[[Process, bool], None]) -> None:
        self.name = name
        self.disk = disk
        self.is_alive = True
        self.points = 0
        self._loop = loop
        self._at_end = at_end
        self._fatal: tuple[int, bool] | None = None
        self.at_death: list[Callable[[], None]] = []
        """What the operating system does for a process that is gone: locks and files are given back."""
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def require_alive(self) -> None:
        if not self.is_alive:
            raise Crash(self.name)

    def point(self) -> None:
        """Something is about to be changed on the disk."""
        self.require_alive()
        self.points += 1
        if self._fatal is not None and self.points >= self._fatal[0]:
            self.end(power_fails=self._fatal[1])
            raise Crash(self.name)

    def doom(self, points: int, *, power_fails: bool) -> None:
        """It will be killed at the `points`-th change from now on."""
        self._fatal = (self.points + points, power_fails)

    def spare(self) -> None:
        """It will not be killed after all."""
        self._fatal = None

    def end(self, *, power_fails: bool) -> None:
        if not self.is_alive:
            return
        self.is_alive = False
        for done in self.at_death:
            done()
        self._at_end(self, power_fails)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> NumberedTask:
        """Run something on its behalf. It must be alive."""
        return self._loop.create_task(work, context=self.context)  # type: ignore[return-value]


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
