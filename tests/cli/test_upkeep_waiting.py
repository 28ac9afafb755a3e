"""When ordered work counts as ended on a server, what the report says of it, and what the command ends with."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from accord.cli import upkeep_waiting
from accord.cli.app import run
from accord.cli.options import Common
from accord.cli.outcomes import FoundNow, RunState, ServerRun, Upkeep
from accord.cli.status_lines import counts_line, finding_rows, server_row, upkeep_lines
from accord.cli.upkeep import worst_of
from accord.cli.upkeep_waiting import LOST_AFTER_S, Waiting, fate_of
from accord.client.results import ServerReport, Verdict
from accord.client.session import NobodyAnswered
from accord.client.status import Ordered, OrderedServer
from accord.engine.overview import Overview, ServerLine, ServerStatus, Standing
from accord.engine.progress import HealProgress, RunProgress, SyncProgress
from accord.model.findings import Oddity
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Kind, State
from tests.engine.test_overview import status

ONE, TWO = ServerName("server1"), ServerName("server2")
NUMBER = 7
ENDED = RunProgress(order=NUMBER, ended_ns=3_000_000_000, began_ns=1_000_000_000, files=4, ended_orders=(NUMBER,))
UNDER_WAY = RunProgress(order=NUMBER, running=True)
BEFORE = RunProgress(order=3, running=True, ended_orders=(2,))
FOLLOWED = RunProgress(order=0, running=True, ended_orders=(NUMBER,))


def ordered(work: str = "scan", **reasons: str) -> Ordered:
    servers = tuple(OrderedServer(name, name not in reasons, reasons.get(name)) for name in (ONE, TWO))
    return Ordered(work, "", NUMBER, servers)


def line(name: str, told: ServerStatus | None, **more: Any) -> ServerLine:
    return ServerLine(name=name, reachable=told is not None, standing=Standing.IN_SYNC, status=told, **more)


def seen(first: ServerStatus | None, second: ServerStatus | None, **more: Any) -> Overview:
    lines = (line("server1", first), line("server2", second, reason=None if second else "went away"))
    blank = {"cluster": "home", "server": "server1", "prefix": "", "kinds": {}, "rivals": 0}
    return Overview(servers=lines, **{**blank, **more})


def states(runs: tuple[ServerRun, ...] | None) -> list[RunState] | None:
    return None if runs is None else [one.state for one in runs]


def test_a_run_is_waited_for_on_every_server() -> None:
    waiting = Waiting(ordered())
    assert waiting.look(seen(status(scan=UNDER_WAY), status(scan=BEFORE)), 0) is None
    assert waiting.look(seen(status(scan=ENDED), status(scan=UNDER_WAY)), 1) is None
    runs = waiting.look(seen(status(scan=RunProgress(ended_orders=(NUMBER,))), status(scan=ENDED)), 2)
    assert states(runs) == ["done", "done"]
    assert runs is not None
    assert [one.run for one in runs] == [ENDED, ENDED]


def test_what_was_found_is_waited_for_until_it_is_mended_or_has_failed() -> None:
    waiting = Waiting(ordered(server2="refused"))
    assert waiting.look(seen(status(scan=ENDED, queue=HealProgress(queued=2, running=1)), None), 0) is None
    assert waiting.look(seen(status(scan=FOLLOWED, queue=HealProgress(queued=2, waiting=1)), None), 0) is None
    runs = waiting.look(seen(status(scan=FOLLOWED, queue=HealProgress(queued=2, waiting=2)), None), 0)
    assert runs is not None
    assert (states(runs), runs[0].run) == (["done", "unreachable"], ENDED)


def test_paused_healing_is_not_waited_for() -> None:
    waiting = Waiting(ordered(server2="refused"))
    runs = waiting.look(seen(status(scan=ENDED, queue=HealProgress(queued=2, paused=True)), None), 0)
    assert states(runs) == ["done", "unreachable"]


def test_a_server_that_goes_away_may_come_back_for_a_while() -> None:
    waiting = Waiting(ordered())
    ended, under_way = status(scan=ENDED), status(scan=UNDER_WAY)
    assert waiting.look(seen(ended, under_way), 0) is None
    assert waiting.look(seen(ended, None), LOST_AFTER_S - 1) is None
    assert waiting.look(seen(ended, under_way), LOST_AFTER_S) is None
    assert waiting.look(seen(ended, None), 2 * LOST_AFTER_S - 1) is None
    runs = waiting.look(seen(ended, None), 2 * LOST_AFTER_S)
    assert runs is not None
    assert (runs[1].state, runs[1].reason) == ("lost", "went away")


def test_a_restarted_server_goes_on_with_a_scrub_and_forgets_what_had_not_begun() -> None:
    waiting = Waiting(ordered("scrub"))
    before, after = status(scrub=UNDER_WAY), status(scrub=UNDER_WAY, started_ns=9)
    queued, forgotten = status(scrub=BEFORE), status(scrub=RunProgress(), started_ns=9)
    assert waiting.look(seen(before, queued), 0) is None
    assert waiting.look(seen(after, forgotten), 1) is None
    assert states(waiting.look(seen(status(scrub=ENDED, started_ns=9), forgotten), 2)) == ["done", "forgotten"]


def test_a_sync_ends_with_its_last_comparison() -> None:
    waiting = Waiting(ordered("sync", server2="refused"))
    ended = SyncProgress(peer="server2", order=NUMBER, differing=3, mended=3, is_equal=True, ended_orders=(NUMBER,))
    other = replace(ended, peer="server3", running=True, ended_orders=())
    assert waiting.look(seen(status(sync=(ended, other)), None), 0) is None
    later = SyncProgress(peer="server2", running=True, ended_orders=(NUMBER,))
    runs = waiting.look(seen(status(sync=(later, replace(other, ended_orders=(NUMBER,)))), None), 1)
    assert runs is not None
    assert [(one.peer, one.differing) for one in runs[0].sync] == [("server2", 3), ("server3", 3)]


def test_a_sync_that_may_mend_nothing_is_not_waited_for() -> None:
    waiting = Waiting(ordered("sync", server2="refused"))
    under_way = SyncProgress(peer="server2", order=NUMBER, running=True)
    told = status(sync=(under_way,), queue=HealProgress(queued=1, paused=True))
    assert states(waiting.look(seen(told, None), 0)) == ["paused", "unreachable"]


def test_a_sync_of_a_server_without_peers_is_done_at_once() -> None:
    waiting = Waiting(ordered("sync", server2="refused"))
    assert states(waiting.look(seen(status(sync=(), peers=()), None), 0)) == ["done", "unreachable"]


# --- nobody can be asked ---


class Restarted:
    """A client of one server, which is away for `away_s` seconds of a clock of its own; it stands for the module `time`, too."""

    def __init__(self, away_s: float) -> None:
        self.away_s = away_s
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def status(self, _prefix: str) -> Overview:
        if 0 < self.now_s <= self.away_s:
            raise NobodyAnswered("No server could be asked: http://a (connection refused).")
        return seen(status(scan=ENDED if self.now_s else UNDER_WAY), None)

    def scan(self, _scope: str, *, servers: tuple[str, ...]) -> Ordered:
        return ordered(server2="refused")

    def findings(self, _prefix: str, *, order: int) -> tuple[FoundNow, ...]:
        return ()

    def __enter__(self) -> Restarted:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("away_s", [LOST_AFTER_S - 1, LOST_AFTER_S + 1])
def test_the_only_server_that_is_asked_may_come_back_too(
    away_s: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Restarted(away_s)
    monkeypatch.setattr(upkeep_waiting, "time", asked)
    monkeypatch.setattr(Common, "client", lambda _self: asked)
    assert run(["scan"]) == 3, "server2 had no part in it"
    told = capsys.readouterr()
    comes_back = away_s < LOST_AFTER_S
    assert ("server1  scanned 4 files" in told.out) is comes_back
    assert ("As far as is known, the scan goes on: `accord status` tells how far it is." in told.err) is not comes_back


# --- what it comes to ---


def found(kind: Kind) -> FoundNow:
    return FoundNow(ONE, FilePath("a"), Oddity.ROT, "2026-11-23T07:00:00Z", now="good", verdict=kind)


DONE = ServerRun(ONE, "done", run=ENDED)
LOST = ServerRun(TWO, "lost")
BROKEN = ServerRun(TWO, "done", run=replace(ENDED, error="its disk does not answer"))
UNMENDED = ServerRun(TWO, "done", sync=(SyncProgress(peer="server1", failed=1),))


@pytest.mark.parametrize(
    ("findings", "servers", "kinds", "code"),
    [
        ([], [DONE], {"identical": 3}, 0),
        ([found(Kind.IDENTICAL)], [DONE], {}, 0),
        ([found(Kind.PARTIAL)], [DONE], {}, 1),
        ([], [DONE, BROKEN], {}, 1),
        ([], [DONE, UNMENDED], {}, 1),
        ([], [DONE, ServerRun(TWO, "paused")], {}, 1),
        ([found(Kind.PARTIAL)], [DONE, LOST], {}, 3),
        ([found(Kind.DIVERGED)], [DONE, LOST], {}, 6),
        ([], [DONE, LOST], {"diverged": 1}, 6),
        ([found(Kind.DAMAGED), found(Kind.DIVERGED)], [DONE], {"diverged": 1}, 8),
        ([], [DONE], {"damaged": 1, "diverged": 1}, 8),
    ],
)
def test_the_exit_code_is_that_of_the_worst(
    findings: list[FoundNow], servers: list[ServerRun], kinds: dict[str, int], code: int
) -> None:
    assert worst_of(findings, servers, kinds) == code


@pytest.mark.parametrize(
    ("kind", "state", "told"),
    [
        (Kind.IDENTICAL, State.CURRENT, "good"),
        (Kind.PARTIAL, State.ABSENT, "not mended yet: absent"),
        (Kind.DAMAGED, State.DAMAGED, "damaged: no good copy is left"),
        (Kind.DIVERGED, State.RIVAL, "one of the rival versions"),
        (Kind.DELETED, State.DELETED, "deleted"),
        (Kind.UNVERIFIED, State.UNREACHABLE, "not known"),
    ],
)
def test_what_became_of_an_odd_copy(kind: Kind, state: State, told: str) -> None:
    assert fate_of(ONE, Verdict(FilePath("a"), kind, servers=(ServerReport(ONE, state),))) == told


# --- how it reads ---


def test_the_report_of_a_scan() -> None:
    some = replace(ENDED, findings=2, bytes=4096)
    done = Upkeep("scan", "", NUMBER, (replace(DONE, run=some), replace(LOST, reason="went away")), (), 3)
    assert list(upkeep_lines(done)) == [
        "server1  scanned 4 files, 4.0 KiB, in 2.0 s: 2 findings",
        "server2  could not be asked any more (went away)",
    ]
    assert finding_rows(done) == []
    (_, row) = finding_rows(replace(done, findings=(replace(found(Kind.IDENTICAL), detail="a remark"),)))
    assert row == ("a", "server1", "rot", "2026-11-23 07:00:00Z", "good (a remark)")


def test_the_report_of_a_sync() -> None:
    sync = (
        SyncProgress(peer="server2", differing=3, mended=2, failed=1),
        SyncProgress(peer="server3"),
        SyncProgress(peer="server4", error="refused the connection"),
    )
    done = Upkeep("sync", "", NUMBER, (ServerRun(ONE, "done", sync=sync),), (), 0)
    assert list(upkeep_lines(done)) == [
        "server1  server2: 3 paths differed, 2 mended, 1 could not be; lacks nothing of server3; server4: refused the connection"
    ]


def test_the_row_of_a_server() -> None:
    told = status(
        now_ns=7_300_000_000_000,
        scan=RunProgress(running=True, files=3, total_files=4),
        scrub=RunProgress(ended_ns=100_000_000_000, error="its disk does not answer"),
        sync=(SyncProgress(peer="server2", ended_ns=7_295_000_000_000, failed=2, stranger=True),),
        queue=HealProgress(queued=4, running=1, paused=True),
        degraded="its disk is full",
    )
    assert server_row(replace(line("server1", told), standing=Standing.BEHIND, behind=5)) == (
        "server1",
        "behind by 5",
        "5, paused",
        "running, 75 %",
        "failed 2 h ago",
        "5 s ago",
        "1 B free",
        "degraded: its disk is full; scrub: its disk does not answer; server2 was away for so long that it is a stranger; "
        "2 of what server2 has could not be mended",
    )


def test_the_row_of_a_server_that_cannot_be_asked() -> None:
    told = line("server2", None, reason="refused the connection", down_s=7300.0, behind=3)
    assert server_row(told) == (
        "server2",
        "unreachable",
        "-",
        "-",
        "-",
        "-",
        "-",
        "refused the connection, for 2 h, behind by 3 at least",
    )


def test_the_counts() -> None:
    told = replace(seen(None, None), kinds={"identical": 1200, "diverged": 1, "deleted": 3}, prefix="photos/")
    assert counts_line(told) == "1,201 files in photos/: 1,200 identical, 1 diverged; 3 deleted"
    assert counts_line(replace(told, kinds={}, prefix="")) == "0 files: none"
