"""`accord status`, `scan`, `scrub` and `sync` against real servers: differences of every kind, found, told of, and mended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness import Cluster, Server, digest_of, request, wait_until

ACCORD = str(Path(sys.executable).with_name("accord"))
QUIET = {"watch": False, "scan_every": "never", "scrub_every": "never", "sync_every": "never", "peer_timeout": "5s"}


def run(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "ACCORD_SERVERS": f"http://127.0.0.1:{server.port}", "NO_COLOR": "1"}
    return subprocess.run([ACCORD, *words], env=environ, capture_output=True, text=True, timeout=60)


def told(server: Server) -> dict:  # type: ignore[type-arg]
    return request(server.port, "/status").json()


def scanned(server: Server) -> bool:
    own = next(one for one in told(server)["servers"] if one["name"] == server.name)
    return own["status"]["scan"]["ended_ns"] is not None


def standings(server: Server) -> list[str]:
    return [one["standing"] for one in told(server)["servers"]]


@pytest.fixture
def quiet(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Three servers that look at nothing by themselves, once they have met."""
    cluster = new_cluster(3, **QUIET)
    cluster.start()
    for server in cluster.servers:
        wait_until(lambda s=server: scanned(s), f"{server.name} has looked at its directory")
    wait_until(lambda: standings(cluster[0]) == ["in sync"] * 3, "all are in sync")
    return cluster


def test_differences_of_every_kind_are_found_told_of_and_mended(quiet: Cluster) -> None:
    one, two, three = quiet.servers
    for name in ("edited", "lost", "cut", "kept"):
        assert one.write(f"f/{name}", b"0123456789" * 100).status == 201
    assert one.write("old", b"first").status == 201
    assert one.write("old", b"second").status == 200
    two.root.joinpath("f/lost").unlink()
    three.root.joinpath("f/cut").write_bytes(b"0123456789")
    one.put("f/edited", b"something else")
    done = run(one, "scan", "--json")
    assert done.returncode == 6, done
    report = json.loads(done.stdout)
    found = {(one["path"], one["server"]): (one["oddity"], one["verdict"]) for one in report["findings"]}
    assert found[("f/lost", "server2")][0] == "missing"
    assert found[("f/edited", "server1")] == ("outside", "diverged")
    assert found[("f/cut", "server3")][1] == "diverged"
    assert all(one["state"] == "done" for one in report["servers"])
    two.gets("f/lost", b"0123456789" * 100)
    listed = run(two, "status", "--paths")
    assert listed.returncode == 6
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        ["diverged", "f/cut"],
        ["diverged", "f/edited"],
    ]
    assert run(one, "status", "f", "--json").returncode == 6
    assert told(one)["kinds"]["diverged"] == 2
    for path in ("f/cut", "f/edited"):
        assert run(one, "resolve", path, "--keep", "largest").returncode == 0
    wait_until(lambda: told(one)["kinds"] == {"identical": 5}, "nothing differs any more")
    clean = run(three, "scan")
    assert (clean.returncode, clean.stderr) == (0, ""), clean
    assert clean.stdout.count("nothing odd") == 3


def test_a_server_that_is_down_is_shown_with_what_it_is_owed(quiet: Cluster) -> None:
    one, _, three = quiet.servers
    three.kill()
    assert one.write("a", b"content").status == 201
    shown = run(one, "status")
    assert shown.returncode == 3
    row = next(line for line in shown.stdout.splitlines() if "server3" in line)
    assert "unreachable" in row
    assert "behind by 1 at least" in row
    ordered = run(one, "scan")
    assert ordered.returncode == 3
    assert "server3  could not be asked" in ordered.stdout
    assert "server1  scanned" in ordered.stdout
    three.start()
    three.gets("a", b"content")
    wait_until(lambda: standings(one) == ["in sync"] * 3, "all are in sync again")
    assert run(one, "status").returncode == 0


def test_a_file_that_vanished_everywhere_is_no_identical_one(quiet: Cluster) -> None:
    one = quiet[0]
    for path in ("f/lost", "f/kept"):
        assert one.write(path, path.encode()).status == 201
    for server in quiet.servers:
        server.root.joinpath("f/lost").unlink()
    found = run(one, "scan")
    assert found.returncode == 8, found
    shown = run(one, "status")
    assert (shown.returncode, "1 identical, 1 missing" in shown.stdout) == (8, True), shown
    listed = run(quiet[1], "status", "--paths", "--kind", "missing")
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [["missing", "f/lost"]]
    assert run(one, "scan", "f/lost").returncode == 8
    assert run(one, "scan", "f/never").returncode == 5
    removed = run(one, "rm", "f/lost")
    assert removed.returncode == 0, removed
    for server in quiet.servers:
        wait_until(
            lambda s=server: told(s)["kinds"] == {"identical": 1, "deleted": 1}, "it is deleted, and lost no more"
        )
    assert run(one, "status").returncode == 0


def test_a_lost_file_that_is_found_again_is_lost_no_more(quiet: Cluster) -> None:
    one, two, _ = quiet.servers
    assert one.write("f", b"content").status == 201
    for server in quiet.servers:
        server.root.joinpath("f").unlink()
    assert run(one, "scan").returncode == 8
    two.put("f", b"content")
    assert run(one, "scan").returncode == 0
    one.gets("f", b"content")
    wait_until(lambda: told(one)["kinds"] == {"identical": 1}, "it is everywhere again")


def test_hints_find_a_file_that_vanished_everywhere(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(2, scan_every="never", sync_every="never")
    cluster.start()
    assert cluster[0].write("f", b"content").status == 201
    for server in cluster.servers:
        wait_until(lambda s=server: scanned(s), f"{server.name} has looked at its directory")
    for server in cluster.servers:
        server.root.joinpath("f").unlink()
    for server in cluster.servers:
        wait_until(lambda s=server: told(s)["kinds"] == {"missing": 1}, f"{server.name} knows that it is lost")


def test_sync_mends_what_was_laid_into_one_directory(quiet: Cluster) -> None:
    one, two, three = quiet.servers
    assert run(one, "sync", "--pause", "--on", "server3").returncode == 0
    two.put("new", b"laid there")
    assert run(one, "scan", "--on", "server2").returncode == 0
    done = run(one, "sync")
    assert (done.returncode, "server3  compares, but mends nothing" in done.stdout) == (1, True), done
    one.gets("new", b"laid there")
    assert three.content("new") is None
    assert "paused" in next(line for line in run(one, "status").stdout.splitlines() if "server3" in line)
    assert run(one, "sync", "--resume").returncode == 0
    three.gets("new", b"laid there")
    assert one.get("new").headers["etag"] == f'"{digest_of(b"laid there")}"'


def test_a_slip_of_the_pen_is_not_told_to_be_in_order(quiet: Cluster) -> None:
    one = quiet[0]
    assert one.write("photos/cat", b"content").status == 201
    one.root.joinpath("Case").write_bytes(b"content")
    one.root.joinpath("case").write_bytes(b"content")
    one.root.joinpath("bad\\name").write_bytes(b"content")
    assert run(one, "scan").returncode == 0
    for words in (
        ["status", "phots"],
        ["status", "photos/cat"],
        ["scan", "phots"],
        ["scrub", "phots/"],
        ["sync", "phots/"],
    ):
        done = run(one, *words)
        assert (done.returncode, done.stderr[:17]) == (5, "accord: no server"), done
    for words in (
        ["status", "photos"],
        ["scan", "photos"],
        ["scan", "photos/cat"],
        ["scrub", "photos/"],
        ["sync", "photos"],
    ):
        done = run(one, *words)
        assert (done.returncode, done.stderr) == (0, ""), done
    assert "found" not in run(one, "status", "photos").stdout, "the names collide elsewhere"
    assert "server1 found: 1 colliding name" in run(one, "status").stdout


def test_scrub_reads_every_byte(quiet: Cluster) -> None:
    one = quiet[0]
    assert one.write("a/b", b"x" * 5000).status == 201
    done = run(one, "scrub", "a", "--on", "server2", "--json")
    assert done.returncode == 0, done
    (server,) = json.loads(done.stdout)["servers"]
    assert (server["name"], server["run"]["bytes"], server["run"]["scope"]) == ("server2", 5000, "a/")


def test_ctrl_c_stops_the_waiting_and_not_the_work(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(1, **{**QUIET, "scrub_rate": "1MB"})
    (one,) = cluster.servers
    one.put("large", os.urandom(20_000_000))
    cluster.start()
    wait_until(one.indexed, "indexed", 60)
    environ = {**os.environ, "ACCORD_SERVERS": f"http://127.0.0.1:{one.port}"}
    waiting = subprocess.Popen([ACCORD, "scrub"], env=environ, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: told(one)["servers"][0]["status"]["scrub"]["running"], "the scrub runs")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    # A server may do what it was told before this one has heard that it does.
    assert "the scrub goes on" in said or "the scrub may have begun, and then goes on" in said
    assert told(one)["servers"][0]["status"]["scrub"]["running"]


def test_a_status_costs_no_walk(quiet: Cluster) -> None:
    """It is answered while a directory cannot even be read."""
    one = quiet[0]
    for number in range(20):
        assert one.write(f"many/{number}", b"x").status == 201
    one.root.joinpath("many").rename(one.root / ".accord" / "elsewhere")
    began = time.monotonic()
    assert told(one)["kinds"] == {"identical": 20}
    assert time.monotonic() - began < 5
    one.root.joinpath(".accord", "elsewhere").rename(one.root / "many")
