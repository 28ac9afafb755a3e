"""PUT and DELETE on real servers: durable on all of them, nothing half-visible, refused before the content, bounded in memory."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Mapping

import pytest
from blake3 import blake3

from tests.system.harness import Cluster, Response, Server, connected, read_response, request_bytes, wait_until

MIB = 1024 * 1024


def send(
    server: Server,
    method: str,
    path: str,
    content: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> Response:
    fields = {"Content-Length": str(len(content)), **(headers or {})}
    with connected(server.port, timeout_s) as connection:
        connection.sendall(request_bytes(path, method, fields) + content)
        return read_response(connection, method)


def put(server: Server, name: str, content: bytes = b"", **headers: str) -> Response:
    told = {key.replace("_", "-"): value for key, value in headers.items()}
    return send(server, "PUT", f"/files/{name}", content, headers=told)


def staged(server: Server) -> list[str]:
    return os.listdir(server.root / ".accord" / "staging")


def test_a_put_is_on_the_disk_of_every_server_that_it_names(pair: Cluster) -> None:
    made = put(
        pair[0], "a/b/notes.txt", b"content", Accord_Modified="2026-01-31T12:00:00.123456789Z", Accord_Executable="?1"
    )
    assert (made.status, made.json()["stored"]) == (201, ["server1", "server2"])
    for server in pair.servers:
        file = server.root / "a/b/notes.txt"
        assert file.read_bytes() == b"content"
        assert file.stat().st_mtime_ns == 1_769_860_800_123_456_789
        assert file.stat().st_mode & 0o100
        assert server.get("a/b/notes.txt").headers["accord-verdict"] == "identical"
        assert staged(server) == []
    replaced = put(pair[1], "a/b/notes.txt", b"other")
    assert (replaced.status, replaced.json()["is_new"]) == (200, False)
    assert pair[0].get("a/b/notes.txt").body == b"other"
    old = pair[0].get(f"a/b/notes.txt?version={made.json()['digest']}")
    assert (old.status, old.body) == (200, b"content")


def test_a_deleted_file_is_gone_on_every_server(pair: Cluster) -> None:
    put(pair[0], "f", b"content")
    assert send(pair[1], "DELETE", "/files/f").status == 200
    for server in pair.servers:
        assert not (server.root / "f").exists()
        assert server.get("f").status == 410
    assert send(pair[0], "DELETE", "/files/f").status == 410
    assert send(pair[0], "DELETE", "/files/never").status == 404


def test_a_large_put_costs_bounded_memory(pair: Cluster) -> None:
    before = [server.rss_bytes() for server in pair.servers]
    block, count, peak = os.urandom(MIB), 256, 0
    whole = blake3()
    with connected(pair[0].port, timeout_s=60) as connection:
        connection.sendall(request_bytes("/files/large.bin", "PUT", {"Content-Length": str(count * MIB)}))
        for _ in range(count):
            connection.sendall(block)
            whole.update(block)
            peak = max(peak, *(server.rss_bytes() - was for server, was in zip(pair.servers, before, strict=True)))
        made = read_response(connection)
    assert (made.status, made.json()["stored"]) == (201, ["server1", "server2"])
    assert made.json()["digest"] == f"blake3:{whole.hexdigest()}"
    assert (pair[1].root / "large.bin").stat().st_size == count * MIB
    assert peak < 64 * MIB


@pytest.mark.parametrize("is_half", [True, False])
def test_content_that_is_cut_off_leaves_what_was_there(pair: Cluster, is_half: bool) -> None:
    put(pair[0], "f", b"old")
    with connected(pair[0].port) as connection:
        connection.sendall(request_bytes("/files/f", "PUT", {"Content-Length": str(4 * MIB)}) + bytes(3 * MIB))
        wait_until(lambda: staged(pair[0]), "it is taken in")
        if is_half:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
    for server in pair.servers:
        wait_until(lambda one=server: not staged(one), "nothing is left of it")
        assert server.get("f").body == b"old"


def test_content_that_is_not_what_was_announced_changes_nothing(pair: Cluster) -> None:
    put(pair[0], "f", b"old")
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    for fields in ({"Content_Digest": f"sha-256=:{other}:"}, {"Accord_Digest": f"blake3:{'0' * 64}"}):
        refused = put(pair[0], "f", bytes(3 * MIB), **fields)
        assert (refused.status, refused.json()["type"]) == (400, "/problems/content-mismatch")
    for server in pair.servers:
        assert server.get("f").body == b"old"
        wait_until(lambda one=server: not staged(one), "nothing is left of it")


def test_what_can_be_refused_is_refused_before_the_content(pair: Cluster) -> None:
    pair[0].put("rival.txt", b"one")
    pair[1].put("rival.txt", b"two")
    put(pair[0], "f", b"old")
    for target, status, fields in (
        ("/files/f", 412, {"If-None-Match": "*"}),
        ("/files/rival.txt", 409, {}),
        ("/files/f/below", 409, {}),
        ("/files/.accord/x", 400, {}),
        ("/files/f", 415, {"Content-Encoding": "gzip"}),
        ("/files/huge", 507, {"Content-Length": str(2**52)}),
    ):
        with connected(pair[0].port) as connection:
            told = {"Content-Length": str(100 * MIB), "Expect": "100-continue", **fields}
            connection.sendall(request_bytes(target, "PUT", told))
            answer = read_response(connection)
            assert (answer.status, answer.headers["connection"]) == (status, "close"), target


def test_a_slow_writer_holds_nobody_up(pair: Cluster) -> None:
    put(pair[0], "f", b"old")
    with connected(pair[0].port) as slow:
        slow.sendall(request_bytes("/files/f", "PUT", {"Content-Length": str(4 * MIB)}) + bytes(MIB))
        assert put(pair[0], "f", b"quick").status == 200
        assert put(pair[1], "f", b"quicker").status == 200
        assert pair[0].get("f").body == b"quicker"
        slow.sendall(bytes(3 * MIB))
        assert read_response(slow).status == 200
    for server in pair.servers:
        assert server.get("f").headers["content-length"] == str(4 * MIB)


def test_writes_of_one_path_at_one_server_come_one_after_the_other(pair: Cluster) -> None:
    answers: list[Response] = []

    def write(number: int) -> None:
        for _ in range(5):
            answers.append(put(pair[0], "f", b"%d" % number * 1000))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert [answer.body for answer in answers if answer.status not in (200, 201)] == []
    assert pair[0].get("f").headers["accord-verdict"] == "identical"
    assert (pair[0].root / "f").read_bytes() == (pair[1].root / "f").read_bytes()


def test_a_server_that_was_away_gets_the_write_when_it_is_back(pair: Cluster) -> None:
    pair[1].stop()
    wait_until(lambda: not pair[0].sees("server2"), "server1 knows that it is away")
    made = put(pair[0], "f", b"content")
    assert (made.status, made.json()["stored"], made.json()["missing"][0]["name"]) == (201, ["server1"], "server2")
    assert pair[0].ready()["owed"] == [{"name": "server2", "paths": 1, "lost": False}]
    refused = send(pair[0], "PUT", "/files/g?min_copies=2", b"content")
    assert (refused.status, refused.json()["type"]) == (503, "/problems/too-few-copies")
    pair[1].start()
    wait_until(lambda: (pair[1].root / "f").exists(), "server2 has it")
    wait_until(lambda: not pair[0].ready()["owed"], "nothing is owed any more")
    assert pair[1].get("f").headers["accord-verdict"] == "identical"


def test_copies_moves_and_the_way_back(pair: Cluster) -> None:
    first = put(pair[0], "f", b"first").json()
    put(pair[0], "f", b"second")
    assert put(pair[1], "copy", Accord_Source="/files/f").json()["size"] == 6
    assert put(pair[1], "there", Accord_Source="/files/copy", Accord_Move="?1").status == 201
    assert put(pair[0], "f", Accord_Source=f"/files/f?version={first['digest']}").status == 200
    for server in pair.servers:
        assert (server.root / "f").read_bytes() == b"first"
        assert (server.root / "there").read_bytes() == b"second"
        assert not (server.root / "copy").exists()
    put(pair[0], "folder/f", b"within")
    for source, told in (
        ("folder", "'folder' is a folder"),
        ("none", "no server has 'none'"),
        ("copy", "'copy' was deleted"),
    ):
        assert told in put(pair[0], "x", Accord_Source=f"/files/{source}", Accord_Move="?1").json()["detail"]
    events = send(pair[1], "GET", "/history/f").json()["events"]
    assert [event["deed"] for event in events] == ["restore", "put", "put"]
    assert all(event["servers"] == ["server1", "server2"] for event in events)


def test_rivals_are_resolved_by_who_has_seen_them(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(3)
    cluster[0].put("f", b"one")
    cluster[1].put("f", b"two")
    cluster.start()
    choices = cluster[2].get("f")
    assert choices.status == 300
    assert put(cluster[2], "f", b"merged").status == 409
    done = put(cluster[2], "f", b"merged", Accord_Context=choices.headers["accord-context"])
    assert (done.status, done.headers["accord-verdict"]) == (200, "identical")
    for server in cluster.servers:
        assert (server.root / "f").read_bytes() == b"merged"


def test_a_server_that_stops_waits_for_no_endless_content(pair: Cluster) -> None:
    with connected(pair[0].port) as connection:
        connection.sendall(request_bytes("/files/f", "PUT", {"Content-Length": str(4 * MIB)}) + bytes(3 * MIB))
        wait_until(lambda: staged(pair[0]), "it is taken in")
        assert pair[0].stop() == 0
    assert staged(pair[0]) == []
    assert not (pair[0].root / "f").exists()
