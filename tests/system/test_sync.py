"""Real servers that were away, or are new: they find everything they lack by comparing themselves, and serve meanwhile."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.system.harness import Cluster, Server, make_cluster, request, wait_until

FILES = 1_500


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    cluster = make_cluster(tmp_path, 2)
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    cluster = make_cluster(tmp_path, 3)
    try:
        yield cluster
    finally:
        cluster.end()


def name(number: int) -> str:
    return f"folder{number % 11}/{number:04}.txt"


def tree(server: Server) -> dict[str, bytes]:
    """What is on its disk, as far as it stays there for that long."""
    found: dict[str, bytes] = {}
    for file in server.root.rglob("*"):
        if file.is_file() and ".accord" not in file.parts:
            with suppress(FileNotFoundError):
                found[str(file.relative_to(server.root))] = file.read_bytes()
    return found


def syncs(server: Server) -> dict[str, dict]:  # type: ignore[type-arg]
    told = request(server.port, "/status", headers={"Accept": "application/json"}).json()
    (line,) = [one for one in told["servers"] if one["name"] == server.name]
    return {one["peer"]: one for one in line["status"]["sync"]}


def is_equal(server: Server) -> bool:
    return all(one["is_equal"] for one in syncs(server).values())


def test_a_new_server_is_filled_and_serves_meanwhile_also_when_it_is_killed(two: Cluster) -> None:
    full, new = two
    for number in range(FILES):
        full.put(name(number), b"content %d" % number)
    full.put("big.bin", bytes(range(256)) * 100_000)
    full.start()
    wait_until(full.indexed, "everything is hashed")
    new.start(wait=False)
    wait_until(lambda: len(tree(new)) > 100, "the new one is being filled", 60)
    new.kill()
    done = len(tree(new))
    assert done < FILES, "killed in the middle of it"
    new.start()
    new_one = name(FILES - 1)
    wait_until(lambda: new.sees(full.name), "they see each other")
    assert new.get(new_one).body == b"content %d" % (FILES - 1), "nobody waits for the rest"
    wait_until(lambda: len(tree(new)) == FILES + 1, "the new one is full", 120)
    wait_until(lambda: is_equal(new), "it knows that it is")
    assert tree(new) == tree(full)
    assert new.get(new_one).headers["accord-verdict"] == "identical"


def forget_debts(server: Server) -> None:
    """As if too much had been owed: what was missed is written down nowhere any more."""
    with closing(sqlite3.connect(server.root / ".accord" / "index.db")) as db, db:
        assert db.execute("DELETE FROM debts").rowcount


def test_what_was_missed_comes_back_without_debts(three: Cluster) -> None:
    three.start()
    for number in range(200):
        assert three[0].write(name(number), b"old %d" % number).status == 201
    three.settles()
    three[2].stop()
    for number in range(0, 200, 2):
        assert three[0].remove(name(number)).status in (200, 204)
    for number in range(1, 200, 2):
        assert three[1].write(name(number), b"new %d" % number).status == 200
    for number in range(200, 300):
        assert three[0].write(name(number), b"first %d" % number).status == 201
    for server in three[0], three[1]:
        server.stop()
        forget_debts(server)
        server.start()
    three[2].start()
    wanted = tree(three[0])
    assert len(wanted) == 200
    wait_until(lambda: tree(three[2]) == wanted, "it has what it missed", 90)
    assert tree(three[1]) == wanted
    for path in (name(0), name(2), name(198)):
        wait_until(lambda path=path: three[2].get(path).status == 410, "deletions were heard of")  # type: ignore[misc]
    assert not any(server.owed() for server in three.servers)


def test_edits_losses_and_rivals_come_to_one_truth(two: Cluster) -> None:
    two.start()
    for number in range(20):
        assert two[0].write(name(number), b"agreed %d" % number).status == 201
    two.settles()
    for server in two.servers:
        server.stop()
    two[1].put(name(0), b"edited by hand")
    (two[1].root / name(1)).unlink()
    two[0].put("only/here", b"one")
    two[1].put("only/there", b"two")
    two[0].put("both", b"mine")
    two[1].put("both", b"yours")
    two.start()
    for server in two.servers:
        server.gets("only/here", b"one")
        server.gets("only/there", b"two")
        server.gets(name(1), b"agreed 1")
    for server in two.servers:
        wait_until(lambda s=server: len(s.kept()) >= 2, f"{server.name} keeps the rivals")  # type: ignore[misc]
        assert server.get("both").status == 300
        assert server.get(name(0)).status == 300
        answer = request(server.port, "/status/paths?kind=diverged", headers={"Accept": "application/x-ndjson"})
        paths = {json.loads(line)["path"] for line in answer.body.splitlines() if b'"path"' in line}
        assert paths == {"both", name(0)}
