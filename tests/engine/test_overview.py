"""When a server counts as in sync, behind, comparing, or unknown; and how paths are counted by their verdicts."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from accord.engine.overview import Disk, FirstHashing, Owed, PeerLine, ServerStatus, Standing, counted, standing_of
from accord.engine.progress import HealProgress, RunProgress, SyncProgress


def status(**changes: Any) -> ServerStatus:
    """Of server1, which sees server2 and has just compared itself with it."""
    quiet = ServerStatus(
        name="server1",
        version="1",
        started_ns=1,
        now_ns=2,
        files=10,
        deleted=2,
        kinds={},
        rivals=0,
        findings={},
        estranged=0,
        clashes=0,
        disk=Disk(1, 2),
        degraded=None,
        indexing=FirstHashing(done=True, hashed_files=10, found_files=10),
        queue=HealProgress(),
        scan=RunProgress(),
        scrub=RunProgress(),
        sync=(EQUAL,),
        owed=(),
        peers=(PeerLine("server2", "up"),),
    )
    return replace(quiet, **changes)


EQUAL = SyncProgress(peer="server2", ended_ns=1, is_equal=True, equal_ns=1)
MENDED = SyncProgress(peer="server2", ended_ns=1, differing=5, mended=5, is_equal=True)
FAILED = SyncProgress(peer="server2", ended_ns=1, differing=5, mended=3, failed=2, is_equal=False)
FIRST = SyncProgress(peer="server2", running=True, began_ns=1)
FINDING = SyncProgress(peer="server2", running=True, began_ns=1, differing=9, mended=2)
AGAIN = SyncProgress(peer="server2", running=True, began_ns=1, is_equal=True)
NEVER = SyncProgress(peer="server2")
CUT = SyncProgress(peer="server2", ended_ns=1, error="went away")
CUT_LATER = SyncProgress(peer="server2", ended_ns=1, is_equal=True, error="went away")
THIRD_EQUAL = SyncProgress(peer="server3", ended_ns=1, is_equal=True)
HASHING = FirstHashing(done=False, hashed_files=3, found_files=10)
TWO = (PeerLine("server2", "up"), PeerLine("server3", "up"))
THIRD_DOWN = (PeerLine("server2", "up"), PeerLine("server3", "down", "refused"))
NOBODY_UP = (PeerLine("server2", "down", "refused"),)

S = Standing
STANDINGS: dict[str, tuple[ServerStatus | None, list[Owed], tuple[Standing, int]]] = {
    "it compared equal": (status(), [], (S.IN_SYNC, 0)),
    "all that differed was mended": (status(sync=(MENDED,)), [], (S.IN_SYNC, 0)),
    "it compares again, and was equal before": (status(sync=(AGAIN,)), [], (S.IN_SYNC, 0)),
    "it has no peers": (status(sync=(), peers=()), [], (S.IN_SYNC, 0)),
    "a peer is down, the other was equal": (status(sync=(EQUAL, NEVER), peers=THIRD_DOWN), [], (S.IN_SYNC, 0)),
    "the last comparison was cut, the one before equal": (status(sync=(CUT_LATER,)), [], (S.IN_SYNC, 0)),
    "both peers equal": (status(sync=(EQUAL, THIRD_EQUAL), peers=TWO), [], (S.IN_SYNC, 0)),
    "something could not be mended": (status(sync=(FAILED,)), [], (S.BEHIND, 2)),
    "it is finding differences": (status(sync=(FINDING,)), [], (S.BEHIND, 7)),
    "something waits to be mended": (status(queue=HealProgress(queued=3, running=1)), [], (S.BEHIND, 4)),
    "others owe it something": (status(), [Owed("server1", 6), Owed("server1", 4)], (S.BEHIND, 6)),
    "the greatest of the numbers counts": (
        status(sync=(FAILED,), queue=HealProgress(queued=3)),
        [Owed("server1", 1)],
        (S.BEHIND, 3),
    ),
    "unequal, though all was counted as mended": (
        status(sync=(replace(MENDED, is_equal=False),)),
        [],
        (S.BEHIND, 1),
    ),
    "its first comparison runs": (status(sync=(FIRST,)), [], (S.COMPARING, 0)),
    "it still hashes its files": (status(indexing=HASHING, sync=(NEVER,)), [], (S.COMPARING, 0)),
    "it never compared": (status(sync=(NEVER,)), [], (S.UNKNOWN, 0)),
    "its only comparison was cut": (status(sync=(CUT,)), [], (S.UNKNOWN, 0)),
    "one of two was never compared": (status(sync=(EQUAL,), peers=TWO), [], (S.UNKNOWN, 0)),
    "it can ask nobody": (status(sync=(EQUAL,), peers=NOBODY_UP), [], (S.UNKNOWN, 0)),
    "debts to it were let go": (status(), [Owed("server1", 0, lost=True)], (S.UNKNOWN, 0)),
    "its directory was taken away": (status(degraded="moved", takes_in=False), [], (S.UNKNOWN, 0)),
    "its directory was taken away, and it is owed": (status(takes_in=False), [Owed("server1", 2)], (S.BEHIND, 2)),
    "it has no peers, and its directory was taken away": (
        status(sync=(), peers=(), takes_in=False),
        [],
        (S.UNKNOWN, 0),
    ),
    "its disk is full": (status(degraded="its disk is full"), [], (S.IN_SYNC, 0)),
    "it cannot be asked": (None, [], (S.UNKNOWN, 0)),
    "it cannot be asked, and is owed": (None, [Owed("server1", 7)], (S.BEHIND, 7)),
}


@pytest.mark.parametrize(("told", "owed", "standing"), STANDINGS.values(), ids=STANDINGS)
def test_how_a_server_stands(told: ServerStatus | None, owed: list[Owed], standing: tuple[Standing, int]) -> None:
    assert standing_of(told, owed) == standing


def test_what_is_not_known_to_differ_is_identical() -> None:
    assert counted(status(kinds={"partial": 2, "diverged": 1})) == {
        "identical": 7,
        "partial": 2,
        "diverged": 1,
        "deleted": 2,
    }


@pytest.mark.parametrize(
    "alone",
    [{"sync": (), "peers": ()}, {"sync": (NEVER,)}, {"sync": (FIRST,)}, {"peers": NOBODY_UP}],
    ids=["no peers", "never compared", "comparing", "nobody can be asked"],
)
def test_what_nobody_compared_is_not_called_identical(alone: dict[str, Any]) -> None:
    assert counted(status(kinds={"diverged": 1}, **alone)) == {"unverified": 9, "diverged": 1, "deleted": 2}


def test_a_comparison_that_failed_in_part_says_of_the_rest_that_it_is_identical() -> None:
    assert counted(status(kinds={"partial": 2}, sync=(FAILED,)))["identical"] == 8


def test_rivals_that_no_verdict_told_of_count_as_diverged() -> None:
    assert counted(status(kinds={"diverged": 1}, rivals=3)) == {"identical": 7, "diverged": 3, "deleted": 2}


def test_there_are_never_less_than_no_files() -> None:
    assert counted(status(files=1, deleted=0, kinds={"partial": 4})) == {"partial": 4}
