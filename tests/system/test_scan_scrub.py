"""What people, programs and bad disks do to a server's directory is found, named, and mended where there is one right answer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from tests.system.harness import Cluster, Server, request, wait_until
from tests.system.test_status import run
from tests.system.test_verdicts import rot


def order(server: Server, work: str, scope: str = "", on: str = "") -> int:
    """The number of the order."""
    target = f"/status/{work}?scope={scope}" + (f"&on={on}" if on else "")
    answer = request(server.port, target, method="POST", headers={"Accord-Order": "?1"})
    assert answer.status == 202, answer.body
    number: int = answer.json()["number"]
    return number


def progress(server: Server, work: str) -> dict[str, Any]:
    """Of the server's own last run."""
    (own,) = [one["status"] for one in request(server.port, "/status").json()["servers"] if one["name"] == server.name]
    run: dict[str, Any] = own[work]
    return run


def has_ended(server: Server, work: str, number: int) -> bool:
    return number in progress(server, work)["ended_orders"]


def has_begun_well(server: Server) -> bool:
    """Its first hashing and the scan after it have ended."""
    scan = progress(server, "scan")
    return server.indexed() and scan["ended_ns"] is not None and scan["error"] is None


def findings(server: Server, number: int | None = None) -> dict[tuple[str, str], str]:
    """What is odd: the kind, by server and path. Of a run, or by now."""
    target = "/status/findings" + ("" if number is None else f"?order={number}")
    entries = request(server.port, target, headers={"Accept": "application/x-ndjson"}).body.splitlines()
    told = [json.loads(line) for line in entries]
    return {(one["server"], one["path"]): one["oddity"] for one in told if "oddity" in one}


def edit_everything(server: Server) -> None:
    """One of each thing that can be done to a file."""
    server.put("edited", b"edited by hand")
    (server.root / "replaced.new").write_bytes(b"replaced by hand")
    (server.root / "replaced.new").rename(server.root / "replaced")
    os.truncate(server.root / "truncated", 0)
    (server.root / "deleted").unlink()
    shutil.rmtree(server.root / "folder")
    os.utime(server.root / "touched", (1, 1))
    server.put("restored", b"restored, the former version")


def write_everything(pair: Cluster) -> None:
    for path in ("edited", "replaced", "truncated", "deleted", "touched", "folder/one", "folder/two"):
        assert pair[0].write(path, f"{path}, as it was".encode()).status == 201
    for content in (b"restored, the former version", b"restored, the newest"):
        assert pair[0].write("restored", content).status in (200, 201)
    pair.settles()


def everything_is_found_and_mended(pair: Cluster) -> None:
    for path in ("deleted", "folder/one", "folder/two"):
        pair[0].gets(path, f"{path}, as it was".encode())
    pair[0].gets("restored", b"restored, the newest")
    for path in ("edited", "replaced", "truncated"):
        wait_until(
            lambda p=path: pair[1].get(p).headers["accord-verdict"] == "diverged", f"'{path}' is shown as a rival"
        )
        assert pair[1].content(path) == f"{path}, as it was".encode(), "nobody's copy gives way to a rival"
    assert pair[0].get("touched").headers["accord-verdict"] == "identical"
    told = findings(pair[1])
    assert {
        path: told.get(("server1", path)) for path in ("edited", "replaced", "truncated", "deleted", "touched")
    } == {
        "edited": "outside",
        "replaced": "outside",
        "truncated": "truncated",
        "deleted": None,  # it was, and is mended
        "touched": None,
    }


def test_what_happened_while_a_server_was_down_is_found_when_it_starts(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, watch=False, sync_every="never")
    pair.start()
    write_everything(pair)
    pair[0].stop()
    edit_everything(pair[0])
    pair[0].start()
    pair.meet()
    everything_is_found_and_mended(pair)


def test_hints_find_what_happens_while_a_server_runs(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, watch=True, scan_every="never", sync_every="never")
    pair.start()
    write_everything(pair)
    wait_until(lambda: has_begun_well(pair[0]), "the scan at start is over")
    edit_everything(pair[0])
    everything_is_found_and_mended(pair)


def test_the_schedule_finds_it_without_hints(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, watch=False, scan_every="500ms", sync_every="never")
    pair.start()
    write_everything(pair)
    edit_everything(pair[0])
    everything_is_found_and_mended(pair)


def test_a_scan_that_was_ordered_reports_what_it_found_on_which_server(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, watch=False, scan_every="never", sync_every="never")
    pair.start()
    write_everything(pair)
    for server in pair.servers:
        wait_until(lambda s=server: has_begun_well(s), "the scan at start is over")
    edit_everything(pair[0])
    number = order(pair[1], "scan")
    for server in pair.servers:
        wait_until(lambda s=server: has_ended(s, "scan", number), f"{server.name} has scanned")
    assert findings(pair[1], number) == {
        ("server1", "edited"): "outside",
        ("server1", "replaced"): "outside",
        ("server1", "truncated"): "truncated",
        ("server1", "deleted"): "missing",
        ("server1", "folder/one"): "missing",
        ("server1", "folder/two"): "missing",
        ("server1", "restored"): "stale",
    }
    everything_is_found_and_mended(pair)


def test_rot_is_found_by_a_scrub_named_healed_and_kept_in_quarantine(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, watch=False, sync_every="never", scrub_share=1.0)
    pair.start()
    good = {"f.bin": os.urandom(200_000), "g.bin": os.urandom(3_000_000)}
    for path, content in good.items():
        assert pair[0].write(path, content).status == 201
    pair.settles()
    rotten = {path: bytes([content[0] ^ 1]) + content[1:] for path, content in good.items()}
    for path, content in rotten.items():
        rot(pair[0], path, content)
    pair.meet()
    wait_until(lambda: has_begun_well(pair[0]), "the scan at start is over")
    assert all(pair[0].content(path) == content for path, content in rotten.items()), "nothing tells but the content"
    number = order(pair[1], "scrub")
    wait_until(lambda: has_ended(pair[0], "scrub", number), "server1 has read everything")
    assert findings(pair[1], number) == {("server1", path): "rot" for path in good}
    for path, content in good.items():
        pair[0].gets(path, content)
    quarantined = [file.read_bytes() for file in (pair[0].root / ".accord" / "quarantine").iterdir()]
    assert sorted(quarantined) == sorted(rotten.values())
    wait_until(lambda: not findings(pair[1]), "nothing is odd any more")
    number = order(pair[1], "scrub")
    for server in pair.servers:
        wait_until(lambda s=server: has_ended(s, "scrub", number), f"{server.name} has read everything")
    assert findings(pair[1], number) == {}


def test_rot_that_nobody_can_mend_stays_reported(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, watch=False, sync_every="never", scrub_share=1.0)
    pair.start()
    assert pair[0].write("f", b"content").status == 201
    pair.settles()
    for server in pair.servers:
        rot(server, "f", b"kontent")
    pair.meet()
    number = order(pair[0], "scrub", scope="f")
    for server in pair.servers:
        wait_until(lambda s=server: has_ended(s, "scrub", number), f"{server.name} has read it")
    assert findings(pair[0]) == {("server1", "f"): "rot", ("server2", "f"): "rot"}
    assert [server.content("f") for server in pair.servers] == [b"kontent", b"kontent"]
    pair[0].stop()
    pair[0].start()
    pair.meet()
    wait_until(lambda: has_begun_well(pair[0]), "the scan at start is over")
    assert findings(pair[0]) == {("server1", "f"): "rot", ("server2", "f"): "rot"}
    told = [one["status"] for one in request(pair[0].port, "/status").json()["servers"]]
    assert [one["findings"] for one in told] == [{"rot": 1}, {"rot": 1}]
    shown = run(pair[0], "status")
    assert (shown.returncode, "1 damaged" in shown.stdout) == (8, True), shown


def test_a_scrub_goes_on_after_kill_9(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(1, watch=False, scrub_rate="2MB", scrub_share=1.0)
    (server,) = cluster.servers
    for number in range(12):
        server.put(f"{number:02}", os.urandom(4_500_000))  # two of them make a step
    server.start()
    wait_until(lambda: has_begun_well(server), "everything is hashed")
    number = order(server, "scrub")
    wait_until(lambda: progress(server, "scrub")["files"] >= 2, "some of it is read")
    began_ns = progress(server, "scrub")["began_ns"]
    files = progress(server, "scrub")["files"]
    wait_until(lambda: progress(server, "scrub")["files"] > files, "how far it has come is written down", 30)
    server.kill()
    server.start()
    wait_until(lambda: has_ended(server, "scrub", number), "it has ended", 60)
    run = progress(server, "scrub")
    assert (run["files"], run["began_ns"], run["error"]) == (12, began_ns, None)
    assert run["bytes"] < 12 * 4_500_000 + 3 * 8 * 1024 * 1024, "it did not begin again"


def test_a_directory_that_was_moved_away_lost_nothing(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, watch=False, scan_every="never", sync_every="never")
    pair.start()
    assert pair[0].write("f", b"content").status == 201
    wait_until(lambda: has_begun_well(pair[0]), "the scan at start is over")
    aside = pair[0].root.with_name("aside")
    pair[0].root.rename(aside)
    pair[0].root.mkdir()
    number = order(pair[1], "scan", on="server1")
    wait_until(lambda: has_ended(pair[0], "scan", number), "the scan has ended")
    assert "moved or mounted over" in progress(pair[0], "scan")["error"]
    assert findings(pair[1], number) == {}
    assert list(pair[0].root.iterdir()) == []
    lines = {line["name"]: line["standing"] for line in request(pair[1].port, "/status").json()["servers"]}
    assert lines == {"server1": "unknown", "server2": "in sync"}
    pair[0].root.rmdir()
    aside.rename(pair[0].root)
