"""Waiting until ordered work has ended on every server: they are asked for their status again and again, a little less often each time.

A server tells of a run by the number that it was ordered with. One that cannot be asked for a while may come back, also where it is the
only one that is asked; one that was restarted has forgotten what it had not begun. Drawing is rich's part, and only where somebody
watches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from accord.cli.outcomes import RunState, ServerRun
from accord.cli.progress import is_watched
from accord.errors import Unavailable
from accord.model.verdict import Kind, State

if TYPE_CHECKING:
    from accord.client.blocking import Client
    from accord.client.results import Verdict
    from accord.client.status import Ordered
    from accord.engine.overview import Overview, ServerLine, ServerStatus
    from accord.engine.progress import RunProgress, SyncProgress
    from accord.model.names import ServerName

FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 1.0
LOST_AFTER_S: Final = 20.0
"""A server that could not be asked for so long is not waited for any more."""

Tell = Callable[["Overview"], None]


def not_begun(ordered: Ordered, otherwise: RunState) -> tuple[ServerRun, ...]:
    """The servers of an order, those that do not do it with the reason."""
    return tuple(
        ServerRun(one.name, otherwise)
        if one.reason is None
        else ServerRun(one.name, "refused" if one.reached else "unreachable", one.reason)
        for one in ordered.servers
    )


def folder_of(scope: str) -> str:
    """What a status can be limited to: a folder, or everything."""
    return scope if scope.endswith("/") else ""


def waited(client: Client, ordered: Ordered, *, json: bool) -> tuple[tuple[ServerRun, ...], Overview]:
    """What became of the order on every server, and the status at the end. Raises `Unavailable` once nobody could be asked for
    `LOST_AFTER_S`, and at once what a server refuses."""
    waiting = Waiting(ordered)
    pause_s = FIRST_PAUSE_S
    answered_at_s = time.monotonic()
    with _shown(ordered, json=json) as tell:
        while True:
            try:
                overview = client.status(folder_of(ordered.scope))
            except Unavailable:
                if time.monotonic() - answered_at_s >= LOST_AFTER_S:
                    raise
            else:
                answered_at_s = time.monotonic()
                tell(overview)
                runs = waiting.look(overview, answered_at_s)
                if runs is not None:
                    return runs, overview
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LAST_PAUSE_S)


class Waiting:
    """Who has ended, from one look at the status to the next."""

    def __init__(self, ordered: Ordered) -> None:
        self._ordered = ordered
        self._ended: dict[str, ServerRun] = {
            one.name: one for one in not_begun(ordered, "begun") if one.state != "begun"
        }
        self._started: dict[str, int] = {}
        self._runs: dict[str, RunProgress] = {}
        self._compared: dict[tuple[str, str], SyncProgress] = {}
        self._seen_at_s: dict[str, float] = {}

    def look(self, overview: Overview, now_s: float) -> tuple[ServerRun, ...] | None:
        """What became of all, once that is known of all."""
        lines = {line.name: line for line in overview.servers}
        for one in self._ordered.servers:
            if one.name not in self._ended:
                ended = self._look_at(one.name, lines.get(one.name), now_s)
                if ended is not None:
                    self._ended[one.name] = ended
        if len(self._ended) < len(self._ordered.servers):
            return None
        return tuple(self._ended[one.name] for one in self._ordered.servers)

    def _look_at(self, name: ServerName, line: ServerLine | None, now_s: float) -> ServerRun | None:
        if line is None or line.status is None:
            silent_s = now_s - self._seen_at_s.setdefault(name, now_s)
            reason = None if line is None else line.reason
            return ServerRun(name, "lost", reason) if silent_s >= LOST_AFTER_S else None
        self._seen_at_s[name] = now_s
        status = line.status
        was_restarted = self._started.setdefault(name, status.started_ns) != status.started_ns
        if self._ordered.work == "sync":
            return self._synced(name, status, was_restarted)
        run = status.scan if self._ordered.work == "scan" else status.scrub
        if run.order == self._ordered.number:
            self._runs[name] = run  # others may begin before everything is mended
        if self._ordered.number not in run.ended_orders:
            # What is under way may be the run before it; a scrub goes on after a restart, what had not begun does not.
            return ServerRun(name, "forgotten") if was_restarted and run.order != self._ordered.number else None
        return ServerRun(name, "done", run=self._runs.get(name)) if _is_idle(status) else None

    def _synced(self, name: ServerName, status: ServerStatus, was_restarted: bool) -> ServerRun | None:
        number = self._ordered.number
        for one in status.sync:
            if one.order == number:
                self._compared[name, one.peer] = one  # the next one may begin before everything is mended
        if any(number not in one.ended_orders for one in status.sync):
            if status.queue.paused and status.queue.queued:
                return ServerRun(name, "paused")
            return ServerRun(name, "forgotten") if was_restarted else None
        told = tuple(self._compared[name, one.peer] for one in status.sync if (name, one.peer) in self._compared)
        return ServerRun(name, "done", sync=told) if _is_idle(status) else None


def _is_idle(status: ServerStatus) -> bool:
    """Whether everything that can be mended now is mended."""
    queue = status.queue
    return queue.paused or queue.queued + queue.running <= queue.waiting


def fate_of(server: ServerName, verdict: Verdict) -> str:
    """What has become of a server's odd copy."""
    if verdict.verdict is Kind.DIVERGED:
        return "one of the rival versions"
    if verdict.verdict is Kind.DAMAGED:
        return "damaged: no good copy is left"
    state = next((one.state for one in verdict.servers if one.name == server), None)
    match state:
        case State.CURRENT:
            return "good"
        case State.DELETED:
            return "deleted"
        case None | State.UNREACHABLE | State.CHECKING:
            return "not known"
        case _:
            return f"not mended yet: {state.value}"


@contextmanager
def _shown(ordered: Ordered, *, json: bool) -> Iterator[Tell]:
    """A bar a server, where somebody watches."""
    if json or not is_watched():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {
            str(one.name): bars.add_task(f"{one.name}  {ordered.work}", total=None, told="")
            for one in ordered.servers
            if one.reason is None
        }

        def tell(overview: Overview) -> None:
            for line in overview.servers:
                if line.name in tasks and line.status is not None:
                    told, done, total = _progress(ordered, line.status)
                    bars.update(tasks[line.name], completed=done, total=total, told=told)

        yield tell


def _progress(ordered: Ordered, status: ServerStatus) -> tuple[str, int, int | None]:
    if ordered.work == "sync":
        differing, mended = sum(one.differing for one in status.sync), sum(one.mended for one in status.sync)
        return f"{mended:,} of {differing:,} mended", mended, differing or None
    run: RunProgress = status.scan if ordered.work == "scan" else status.scrub
    if ordered.number not in run.ended_orders and run.order != ordered.number:
        return "waits for the run before it", 0, None
    if ordered.number in run.ended_orders:
        left = status.queue.queued + status.queue.running - status.queue.waiting
        return (f"mending, {left:,} to go" if left else "done"), 1, 1
    return f"{run.files:,} of {run.total_files:,} files", run.files, run.total_files or None
