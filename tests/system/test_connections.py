"""Clients that are slow, greedy, or go away: bounded memory, bounded patience, and nobody else waits."""

from __future__ import annotations

import os
import threading

import pytest

from tests.system.harness import Cluster, connected, read_response, request, request_bytes, wait_until

MIB = 1024 * 1024


def make_sparse(path: os.PathLike[str], size: int) -> None:
    with open(path, "wb") as sparse:
        sparse.truncate(size)


def test_a_client_that_reads_one_byte_at_a_time_costs_bounded_memory(pair: Cluster) -> None:
    for server in pair.servers:
        make_sparse(server.root / "large.bin", 512 * MIB)
    wait_until(pair[0].indexed, "server1 has hashed it")
    before = pair[0].rss_bytes()
    with connected(pair[0].port) as slow:
        slow.sendall(request_bytes("/files/large.bin"))
        for _ in range(500):
            assert slow.recv(1)
        pair[0].put("small.txt", b"quick")
        assert pair[0].get("small.txt").body == b"quick"
        assert pair[0].rss_bytes() - before < 32 * MIB


def test_eight_large_downloads_at_once_stay_below_the_bound(pair: Cluster) -> None:
    for server in pair.servers:
        make_sparse(server.root / "large.bin", 256 * MIB)
    for server in pair.servers:
        wait_until(server.indexed, "it is hashed")
    peak = 0
    failures: list[object] = []

    def download() -> None:
        nonlocal peak
        with connected(pair[0].port, timeout_s=60) as connection:
            connection.sendall(request_bytes("/files/large.bin", headers={"Connection": "close"}))
            received = 0
            while chunk := connection.recv(MIB):
                received += len(chunk)
                peak = max(peak, pair[0].rss_bytes())
            if received < 256 * MIB:
                failures.append(received)

    downloads = [threading.Thread(target=download) for _ in range(8)]
    for one in downloads:
        one.start()
    for one in downloads:
        one.join()
    assert not failures
    assert peak < 150 * MIB


def test_clients_that_go_away_leave_no_open_files(pair: Cluster) -> None:
    make_sparse(pair[0].root / "large.bin", 64 * MIB)
    wait_until(pair[0].indexed, "it is hashed")
    assert pair[0].process is not None
    descriptors = f"/proc/{pair[0].process.pid}/fd"
    before = len(os.listdir(descriptors))
    for _ in range(30):
        with connected(pair[0].port) as connection:
            connection.sendall(request_bytes("/files/large.bin"))
            assert connection.recv(1000)
    wait_until(lambda: len(os.listdir(descriptors)) <= before + 2, "everything is closed again")


def test_a_header_that_never_ends_is_given_up(pair: Cluster) -> None:
    with connected(pair[0].port, timeout_s=30) as connection:
        connection.sendall(b"GET /files/a HTTP/1.1\r\nHost: localhost\r\n")
        answer = read_response(connection)
        assert answer.status == 408
        assert answer.json()["type"] == "/problems/request-too-slow"


def test_a_digest_of_a_new_large_file_holds_nobody_up(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("small.txt", b"quick")
    assert pair[0].get("small.txt").headers["accord-verdict"] == "identical"
    make_sparse(pair[0].root / "huge.bin", 6 * 1024 * MIB)
    waiting = threading.Thread(target=lambda: request(pair[0].port, "/files/huge.bin", method="HEAD", timeout_s=60))
    waiting.start()
    answered = 0
    while waiting.is_alive():
        assert pair[0].get("small.txt").body == b"quick"
        answered += 1
    waiting.join()
    assert answered > 20


@pytest.mark.parametrize(
    "spec", ["0-0", "5-9", "-3", "1048570-1048590", "3000000-", "0-", "5242880-5242886", "-6000000"]
)
def test_ranges_are_proven_parts_of_the_content(pair: Cluster, spec: str) -> None:
    content = os.urandom(5 * MIB + 7)
    for server in pair.servers:
        server.put("f.bin", content)
    start, _, end = spec.partition("-")
    expected = content[-int(end) :] if not start else content[int(start) : int(end) + 1 if end else None]
    answer = pair[0].get("f.bin", headers={"Range": f"bytes={spec}"})
    assert answer.status == 206
    assert answer.body == expected
    assert answer.headers["content-range"].endswith(f"/{len(content)}")


def test_several_ranges_come_in_parts(pair: Cluster) -> None:
    content = os.urandom(3 * MIB)
    pair[0].put("f.bin", content)
    answer = pair[0].get("f.bin", headers={"Range": "bytes=0-9,2000000-2000009"})
    assert answer.status == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert content[:10] in answer.body
    assert content[2000000:2000010] in answer.body
    assert len(answer.body) == int(answer.headers["content-length"])


def test_a_range_of_a_file_the_primary_lacks(pair: Cluster) -> None:
    content = os.urandom(5 * MIB)
    pair[1].put("f.bin", content)
    answer = pair[0].get("f.bin", headers={"Range": "bytes=2000000-3999999"})
    assert (answer.status, answer.body) == (206, content[2000000:4000000])


def test_conditional_requests(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("f.txt", b"content")
    first = pair[0].get("f.txt")
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    unchanged = pair[0].get("f.txt", headers={"If-None-Match": etag})
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert pair[0].get("f.txt", headers={"If-Modified-Since": modified}).status == 304
    assert pair[0].get("f.txt", headers={"If-Match": '"blake3:other"'}).status == 412
    assert pair[0].get("f.txt", headers={"Range": "bytes=0-2", "If-Range": etag}).status == 206
    whole = pair[0].get("f.txt", headers={"Range": "bytes=0-2", "If-Range": '"other"'})
    assert (whole.status, whole.body) == (200, b"content")
    head = pair[0].get("f.txt", method="HEAD")
    assert (head.status, head.headers["etag"], head.headers["content-length"]) == (200, etag, "7")
    assert pair[0].get("f.txt", headers={"Range": "bytes=7-"}).status == 416


def test_garbage_behind_a_request_is_no_failure_of_the_server(pair: Cluster) -> None:
    """It closes the connection, perhaps before the request was answered: that is the client's fault, and no line of the log."""
    pair[0].put("small.txt", b"small")
    pair[0].put("large.bin", bytes(3_000_000))
    for path in ("small.txt", "large.bin"):
        assert pair[0].get(path).status == 200
        with connected(pair[0].port) as connection:
            connection.sendall(request_bytes(f"/files/{path}") + b"GARBAGE\r\n\r\n")
            while connection.recv(65536):
                pass
    assert pair[0].get("small.txt").status == 200
    assert "a read failed" not in pair[0].log.read_text()


def test_a_long_pipeline_of_a_client_that_does_not_read_costs_bounded_memory(pair: Cluster) -> None:
    content = os.urandom(MIB)
    for server in pair.servers:
        server.put("f.bin", content)
    assert pair[0].get("f.bin").headers["accord-verdict"] == "identical"
    before = pair[0].rss_bytes()
    with connected(pair[0].port) as connection:
        connection.sendall(request_bytes("/files/f.bin") * 400)
        assert connection.recv(1)
        for _ in range(20):
            assert pair[0].get("f.bin").status == 200
        assert pair[0].rss_bytes() - before < 32 * MIB
        received = 1
        while chunk := connection.recv(MIB):
            received += len(chunk)
    assert 60 * MIB < received < 80 * MIB, "those that could wait were answered, and then the connection ended"


def test_what_makes_no_sense_after_a_request_does_not_cost_its_answer(pair: Cluster) -> None:
    pair[0].put("f.txt", b"content")
    with connected(pair[0].port) as connection:
        connection.sendall(request_bytes("/files/f.txt") + b"\x00\x01 nonsense\r\n\r\n")
        assert read_response(connection).body == b"content"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /files/f.txt HTTP/1.1\r\n\r\n",
        b"GET /files/f.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /files/f.txt HTTP/2.0\r\nHost: a\r\n\r\n",
    ],
    ids=["no host", "two hosts", "another version"],
)
def test_requests_that_http_forbids_are_refused(pair: Cluster, head: bytes) -> None:
    pair[0].put("f.txt", b"content")
    with connected(pair[0].port) as connection:
        connection.sendall(head)
        assert read_response(connection).status == 400


def test_requests_for_files_and_pages_take_turns_in_one_pipeline(pair: Cluster) -> None:
    pair[0].put("f.txt", b"content")
    with connected(pair[0].port) as connection:
        connection.sendall((request_bytes("/files/f.txt") + request_bytes("/health")) * 10)
        stream = connection.makefile("rb")
        for turn in range(20):
            length = 0
            while (line := stream.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = stream.read(length)
            assert (body == b"content") if turn % 2 == 0 else (b'"status"' in body)
