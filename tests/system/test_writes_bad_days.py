"""Writing on bad days: servers that die, hang and come back in the middle of it. What was acknowledged is there, what was not is whole
or nowhere, and whoever missed something gets it without being asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.system.harness import Cluster, digest_of, read_response, wait_until

OLD = b"what was there"
MIB = 1024 * 1024
PATIENCE = "10s"


@pytest.fixture
def pair(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two servers that give each other all the time that a busy machine takes."""
    cluster = new_cluster(2, peer_timeout=PATIENCE)
    cluster.start()
    return cluster


def test_a_replica_killed_in_the_middle_of_a_write_gets_it_later(pair: Cluster) -> None:
    assert pair[0].write("f.bin", OLD).json()["stored"] == ["server1", "server2"]
    content = os.urandom(4 * MIB)
    with pair[0].writing("f.bin", len(content)) as connection:
        connection.sendall(content[: 2 * MIB])
        wait_until(pair[1].staged_bytes, "content arrives at server2")
        pair[1].kill()
        connection.sendall(content[2 * MIB :])
        answer = read_response(connection, "PUT")
    assert answer.status == 200
    assert answer.json()["stored"] == ["server1"]
    assert [one["name"] for one in answer.json()["missing"]] == ["server2"]
    assert answer.json()["missing"][0]["reason"]
    assert answer.headers["accord-stored"] == '"server1"'
    assert pair[0].owed() == {"server2": 1}
    assert pair[1].content("f.bin") == OLD
    pair[1].start()
    pair[1].gets("f.bin", content)
    pair.settles()
    pair.clears_up()
    assert OLD in pair[1].kept()
    assert pair[0].get("f.bin").headers["accord-verdict"] == "identical"


def test_a_replica_that_has_everything_and_dies_before_it_says_so_gets_it_later(pair: Cluster) -> None:
    content = os.urandom(4 * MIB)
    with pair[0].writing("f.bin", len(content)) as connection:
        connection.sendall(content[:-1])
        wait_until(pair[1].staged_bytes, "content arrives at server2")
        pair[1].pause()
        connection.sendall(content[-1:])
        pair[1].kill()
        answer = read_response(connection, "PUT")
    assert (answer.status, answer.json()["stored"]) == (201, ["server1"])
    assert pair[1].content("f.bin") is None
    pair[1].start()
    pair[1].gets("f.bin", content)
    pair.settles()
    pair.clears_up()
    assert len(pair[1].history("f.bin")) == 1, "getting it later makes no version"


def test_debts_survive_the_debtor_and_are_paid_in_one_go(pair: Cluster) -> None:
    for number in range(20):
        assert pair[0].write(f"d/f{number}.txt", OLD).status == 201
    pair[1].kill()
    wait_until(lambda: not pair[0].sees("server2"), "server1 misses server2")
    for number in range(20):
        for content in (b"new", b"newer"):
            assert pair[0].write(f"d/f{number}.txt", content).json()["stored"] == ["server1"]
    assert pair[0].remove("d/f7.txt").status == 200
    assert pair[0].owed() == {"server2": 20}
    pair[0].kill()
    pair[0].start()
    assert pair[0].owed() == {"server2": 20}
    pair[1].start()
    for number in range(20):
        pair[1].gets(f"d/f{number}.txt", None if number == 7 else b"newer")
    pair.settles()


def test_a_primary_killed_in_the_middle_of_a_write_leaves_the_old(pair: Cluster) -> None:
    assert pair[0].write("f.bin", OLD).status == 201
    content = os.urandom(4 * MIB)
    for path in ("f.bin", "new/f.bin"):
        with pair[0].writing(path, len(content)) as connection:
            connection.sendall(content[: 2 * MIB])
            for server in pair.servers:
                wait_until(server.staged_bytes, f"content arrives at {server.name}")
            pair[0].kill()
        wait_until(lambda: pair[1].staged_bytes() is None, "server2 drops what nobody finishes")
        pair[0].start()
        assert pair[0].staged_bytes() is None
        pair.meet()
        for server in pair.servers:
            assert server.content("f.bin") == OLD
            assert server.content("new/f.bin") is None
            assert server.get("f.bin").headers["accord-verdict"] == "identical"
            assert server.get("new/f.bin").status == 404


def test_kill_9_at_any_moment_of_a_write_leaves_all_or_nothing(pair: Cluster) -> None:
    before = OLD
    for turn in range(6):
        content = bytes([turn]) * (MIB + turn)
        with pair[0].writing("f.bin", len(content)) as connection:
            connection.sendall(content)
            for _ in range(turn * 3):  # a later moment each time
                pair[1].content("f.bin")
            pair[turn % 2].kill()
            answer = read_response(connection, "PUT") if turn % 2 else None
        pair[turn % 2].start()
        pair.meet()
        wait_until(lambda: "checking" not in pair[1].get("f.bin").headers["accord-replicas"], "nothing is under way")
        pair.clears_up()
        pair.settles()
        found = {server.content("f.bin") for server in pair.servers}
        assert len(found) == 1, "after all debts are paid they have the same"
        assert found <= ({content, before, None} if answer is None else {content})
        assert answer is None or answer.status in (200, 201)
        before = found.pop() or before


@pytest.mark.parametrize("both", [False, True], ids=["primary", "both"])
def test_what_was_acknowledged_survives_a_kill_right_after_the_answer(pair: Cluster, both: bool) -> None:
    contents = {f"d{n}/f.bin": os.urandom(1 + 40_000 * n) for n in range(5)}
    for path, content in contents.items():
        answer = pair[0].write(path, content)
        assert answer.json()["stored"] == ["server1", "server2"]
    assert pair[0].remove("d3/f.bin").json()["stored"] == ["server1", "server2"]
    for server in pair.servers[: 2 if both else 1]:
        server.kill()
    for server in pair.servers:
        for path, content in contents.items():
            assert server.content(path) == (None if path == "d3/f.bin" else content)
    for server in pair.servers[: 2 if both else 1]:
        server.start()
    pair.meet()
    for server in pair.servers:
        assert server.get("d3/f.bin").status == 410
        for path in contents.keys() - {"d3/f.bin"}:
            answer = server.get(path)
            assert (answer.body, answer.headers["accord-verdict"]) == (contents[path], "identical")


def test_a_hung_replica_costs_a_write_at_most_the_timeout(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2)
    pair.start()
    assert pair[0].write("f.txt", OLD).status == 201
    pair[1].pause()
    began = time.monotonic()
    answer = pair[0].write("f.txt", b"new")
    assert time.monotonic() - began < 4, "peer_timeout is one second"
    assert (answer.status, answer.json()["stored"]) == (200, ["server1"])
    wait_until(lambda: pair[0].sees("server2", "down"), "the breaker is open")
    began = time.monotonic()
    for number in range(20):
        assert pair[0].write(f"f{number}.txt", b"new").json()["stored"] == ["server1"]
    assert time.monotonic() - began < 10, "twenty writes with the breaker open; a second each would be twenty"
    assert pair[1].content("f.txt") == OLD
    pair[1].resume()
    pair[1].gets("f.txt", b"new")
    pair[1].gets("f19.txt", b"new")
    pair.settles()


def test_a_replica_that_hangs_in_the_middle_of_a_write_is_left_behind(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2)
    pair.start()
    content = os.urandom(12 * MIB)
    with pair[0].writing("f.bin", len(content)) as connection:
        connection.sendall(content[: 2 * MIB])
        wait_until(pair[1].staged_bytes, "content arrives at server2")
        pair[1].pause()
        began = time.monotonic()
        connection.sendall(content[2 * MIB :])
        answer = read_response(connection, "PUT")
    assert time.monotonic() - began < 5, "peer_timeout is one second"
    assert (answer.status, answer.json()["stored"]) == (201, ["server1"])
    pair[1].resume()
    pair[1].gets("f.bin", content)
    pair.settles()
    pair.clears_up()


@pytest.mark.parametrize("setting", [False, True], ids=["asked", "configured"])
def test_too_few_servers_for_min_copies_refuse_before_the_body(
    new_cluster: Callable[..., Cluster], setting: bool
) -> None:
    pair = new_cluster(2, **({"min_copies": 2} if setting else {}))
    pair.start()
    query = "" if setting else "?min_copies=2"
    assert pair[0].write(f"f.txt{query}", OLD).json()["stored"] == ["server1", "server2"]
    pair[1].kill()
    wait_until(lambda: not pair[0].sees("server2"), "server1 misses server2")
    for path in ("f.txt", "new.txt"):
        with pair[0].writing(f"{path}{query}", 3, {"Expect": "100-continue"}) as connection:
            assert connection.recv(12).startswith(b"HTTP/1.1 503")
    answer = pair[0].write(f"f.txt{query}", b"new")
    assert (answer.status, answer.json()["type"]) == (503, "/problems/too-few-copies")
    assert answer.json()["stored"] == []
    assert [one["name"] for one in answer.json()["missing"]] == ["server2"]
    assert pair[0].remove(f"f.txt{query}").status == 503
    assert pair[0].content("f.txt") == OLD
    assert pair[0].content("new.txt") is None
    assert pair[0].owed() == {}
    if setting:
        assert pair[0].write("f.txt?min_copies=1", b"new").json()["stored"] == ["server1"]


def test_a_write_that_reached_too_few_is_kept_and_delivered(pair: Cluster) -> None:
    content = os.urandom(4 * MIB)
    with pair[0].writing("f.bin?min_copies=2", len(content)) as connection:
        connection.sendall(content[: 2 * MIB])
        wait_until(pair[1].staged_bytes, "content arrives at server2")
        pair[1].kill()
        connection.sendall(content[2 * MIB :])
        answer = read_response(connection, "PUT")
    assert (answer.status, answer.json()["type"]) == (503, "/problems/too-few-copies")
    assert answer.json()["stored"] == ["server1"]
    assert [one["name"] for one in answer.json()["missing"]] == ["server2"]
    assert pair[0].get("f.bin").body == content
    pair[1].start()
    pair[1].gets("f.bin", content)
    pair.settles()


def test_a_deleted_file_stays_deleted_when_a_server_comes_back(pair: Cluster) -> None:
    for path in ("f.txt", "read.txt"):
        assert pair[0].write(path, OLD).status == 201
    pair[1].kill()
    assert pair[0].remove("f.txt").json()["stored"] == ["server1"]
    assert pair[0].remove("read.txt").status == 200
    assert pair[0].remove("f.txt").status == 410
    pair[1].start()
    assert pair[1].get("read.txt").status == 410, "whether it has got the deletion already or not"
    pair[1].gets("f.txt", None)
    pair[1].gets("read.txt", None)
    pair.settles()
    assert OLD in pair[1].kept(), "history has it"
    pair[0].kill()
    answer = pair[1].get("f.txt")
    assert answer.status == 410, "it knows by itself"
    assert pair[1].get(f"f.txt?version={digest_of(OLD)}").body == OLD
    assert pair[1].write("f.txt", b"anew").status == 201
    pair[0].start()
    pair[0].gets("f.txt", b"anew")
