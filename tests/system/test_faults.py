"""Bad days: servers that die, hang, talk nonsense, or come back; and what a reader is told meanwhile."""

from __future__ import annotations

import http.client
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.system.harness import Cluster, Server, wait_until

CONTENT = {f"d{n % 7}/f{n}.bin": os.urandom(200 + 137 * n) for n in range(60)}


def fill(server: Server) -> None:
    for path, content in CONTENT.items():
        server.put(path, content)


def test_kill_9_of_the_replica_under_load_loses_no_read(pair: Cluster) -> None:
    for server in pair.servers:
        fill(server)
    for path in CONTENT:
        assert pair[0].get(path).headers["accord-verdict"] == "identical"
    paths = list(CONTENT)
    seen: list[tuple[str, int, bytes, str, str]] = []
    killed = threading.Event()
    enough = threading.Event()

    def load() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", pair[0].port, timeout=20)
        for turn in range(10_000):
            path = paths[turn % len(paths)]
            connection.request("GET", f"/files/{path}")
            answer = connection.getresponse()
            body = answer.read()
            seen.append(
                (path, answer.status, body, answer.headers["Accord-Verdict"], answer.headers["Accord-Replicas"])
            )
            if len(seen) > 500:
                enough.set()
            if killed.is_set() and answer.headers["Accord-Verdict"] == "unverified":
                break
        connection.close()

    readers = [threading.Thread(target=load) for _ in range(4)]
    for reader in readers:
        reader.start()
    assert enough.wait(60)
    pair[1].kill()
    killed.set()
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()
    for path, status, body, verdict, replicas in seen:
        assert (status, body) == (200, CONTENT[path])
        assert verdict == "identical" or (verdict == "unverified" and "unreachable" in replicas)
    assert any(verdict == "unverified" for *_, verdict, _ in seen)
    assert any(verdict == "identical" for *_, verdict, _ in seen)


def test_a_replica_that_comes_back_is_asked_again(pair: Cluster) -> None:
    for server in pair.servers:
        fill(server)
    path = next(iter(CONTENT))
    pair[1].kill()
    assert pair[0].get(path).headers["accord-verdict"] == "unverified"
    pair[1].start()
    wait_until(lambda: pair[0].get(path).headers["accord-verdict"] == "identical", "the replica is asked again")


def test_a_hung_replica_costs_one_read_at_most_the_timeout(pair: Cluster) -> None:
    for server in pair.servers:
        fill(server)
    path = next(iter(CONTENT))
    assert pair[0].get(path).headers["accord-verdict"] == "identical"
    pair[1].pause()
    began = time.monotonic()
    assert pair[0].get(path).headers["accord-verdict"] == "unverified"
    assert time.monotonic() - began < 5
    wait_until(lambda: pair[0].sees("server2", "down"), "the breaker is open")
    began = time.monotonic()
    for path in CONTENT:
        assert pair[0].get(path).headers["accord-verdict"] == "unverified"
    assert time.monotonic() - began < 30, "sixty reads with the breaker open; a second each would be sixty"
    pair[1].resume()
    wait_until(lambda: pair[0].get(path).headers["accord-verdict"] == "identical", "the replica is asked again")


class Behaviour(socketserver.BaseRequestHandler):
    """A peer that misbehaves as `server.how` says."""

    def handle(self) -> None:
        self.server.how(self.request)  # type: ignore[attr-defined]


@contextmanager
def fake_peer(port: int, how: Callable[[socket.socket], None]) -> Iterator[None]:
    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Listener(("127.0.0.1", port), Behaviour) as listener:
        listener.how = how  # type: ignore[attr-defined]
        serving = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield
        finally:
            listener.shutdown()
            serving.join()


def _garbage(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(os.urandom(4096))


def _half(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: accord-peer\r\nConnec")


def _other(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def _huge_frame(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: accord-peer\r\nConnection: Upgrade\r\n\r\n\xff\xff\xff\xff"
    )
    connection.recv(65536)


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("how", [_garbage, _half, _other, _huge_frame, _silent])
def test_a_peer_that_is_no_proper_server_is_unreachable_and_said_to_be(
    new_cluster: Callable[..., Cluster], how: Callable[[socket.socket], None]
) -> None:
    pair = new_cluster(2, peer_timeout="300ms")
    fill(pair[0])
    with fake_peer(pair[1].port, how):
        pair[0].start()
        for path, content in list(CONTENT.items())[:5]:
            answer = pair[0].get(path)
            assert (answer.status, answer.body, answer.headers["accord-verdict"]) == (200, content, "unverified")
        assert pair[0].get("nothing.txt").status == 503
        peer = pair[0].ready()["peers"][0]
        assert peer["state"] in ("down", "refused", "connecting")
    fill(pair[1])
    pair[1].start()
    wait_until(lambda: pair[0].get(path).headers["accord-verdict"] == "identical", "a proper server is taken up")


def test_a_server_with_another_key_is_refused_and_named(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2)
    stranger = new_cluster(2)
    fill(pair[0])
    fill(stranger[1])
    (stranger[1].config.parent / "cluster.key").write_text("f" * 64)
    stranger[1].config.write_text(pair[0].config.read_text())
    stranger[1].port = pair[1].port
    pair[0].start()
    stranger[1].start()
    answer = pair[0].get(next(iter(CONTENT)))
    assert answer.headers["accord-verdict"] == "unverified"
    wait_until(lambda: pair[0].sees("server2", "refused"), "server1 says that server2 refused")
    assert "key" in pair[0].ready()["peers"][0]["reason"]
    for log in (pair[0].log, stranger[1].log):
        assert "f" * 64 not in log.read_text()
        assert "0123456789abcdef" * 4 not in log.read_text()


def drain_until_broken(answer: http.client.HTTPResponse) -> bytes:
    """What comes until the answer is visibly broken off; fails if it ends as if it were whole."""
    received = bytearray()
    expected = int(answer.headers["Content-Length"])
    try:
        while chunk := answer.read1(1024 * 1024):
            received += chunk
    except (http.client.IncompleteRead, ConnectionError):
        return bytes(received)
    assert len(received) < expected, "the answer was not broken off"
    return bytes(received)


def test_a_source_killed_while_it_is_read_through_breaks_the_answer_off(pair: Cluster) -> None:
    content = os.urandom(64 * 1024 * 1024)
    pair[1].put("large.bin", content)
    wait_until(lambda: pair[0].get("large.bin", method="HEAD").status == 200, "server2 has hashed it")
    connection = http.client.HTTPConnection("127.0.0.1", pair[0].port, timeout=20)
    connection.request("GET", "/files/large.bin")
    answer = connection.getresponse()
    received = answer.read(1024 * 1024)
    pair[1].kill()
    received += drain_until_broken(answer)
    connection.close()
    assert content.startswith(received)
    assert not (pair[0].root / "large.bin").exists()
    wait_until(lambda: not list((pair[0].root / ".accord" / "staging").iterdir()), "staging is clean")


def test_a_source_killed_while_it_is_read_through_is_followed_by_the_next(new_cluster: Callable[..., Cluster]) -> None:
    trio = new_cluster(3)
    trio.start()
    content = os.urandom(64 * 1024 * 1024)
    for server in trio.servers[1:]:
        server.put("large.bin", content)
    wait_until(
        lambda: "checking" not in trio[0].get("large.bin", method="HEAD").headers.get("accord-replicas", "checking"),
        "both have hashed it",
    )
    connection = http.client.HTTPConnection("127.0.0.1", trio[0].port, timeout=20)
    connection.request("GET", "/files/large.bin")
    answer = connection.getresponse()
    received = [answer.read(1024 * 1024)]
    trio[1].kill()
    while chunk := answer.read(1024 * 1024):
        received.append(chunk)
    connection.close()
    assert b"".join(received) == content
    wait_until((trio[0].root / "large.bin").exists, "the primary has it too")


def test_kill_9_at_any_moment_of_a_read_through_leaves_all_or_nothing(pair: Cluster) -> None:
    content = os.urandom(8 * 1024 * 1024)
    staging = pair[0].root / ".accord" / "staging"
    for round_number in range(6):
        path = f"f{round_number}.bin"
        pair[1].put(path, content)
        wait_until(lambda p=path: pair[1].get(p, method="HEAD").status == 200, "server2 has hashed it")
        connection = http.client.HTTPConnection("127.0.0.1", pair[0].port, timeout=20)
        connection.request("GET", f"/files/{path}")
        answer = connection.getresponse()
        answer.read(1 + round_number * len(content) // 5 if round_number < 5 else None)
        pair[0].kill()
        connection.close()
        kept = pair[0].root / path
        assert not kept.exists() or kept.read_bytes() == content
        left = set(staging.iterdir())
        pair[0].start()
        assert not left & set(staging.iterdir()), "what the killed one had begun is gone"
        wait_until(lambda: pair[0].sees("server2"), "server1 sees server2")
        assert pair[0].get(path).body == content
