"""Writes that are not what they were announced to be, or go where nothing may be: refused clearly, and nothing of them is left."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Callable

import pytest

from tests.system.harness import Cluster, Response, connected, digest_of, read_response, request_bytes, wait_until
from tests.system.test_bad_input import REFUSED, assert_problem

OLD = b"what was there"
MIB = 1024 * 1024
PATIENCE = "10s"


@pytest.fixture
def pair(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two servers that give each other all the time that a busy machine takes."""
    cluster = new_cluster(2, peer_timeout=PATIENCE)
    cluster.start()
    return cluster


def assert_nothing_left(pair: Cluster, path: str, content: bytes | None) -> None:
    """Both servers have `content`, and nothing half received."""
    pair.clears_up()
    for server in pair.servers:
        assert server.content(path) == content
        answer = server.get(path)
        assert (answer.status, answer.body) == (200, content) if content is not None else answer.status == 404


def files_of(pair: Cluster) -> list[str]:
    return [str(file) for one in pair.servers for file in one.root.rglob("*") if ".accord" not in file.parts]


def sf_digest(algorithm: str, content: bytes) -> str:
    digest = hashlib.new(algorithm.replace("-", ""), content).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


@pytest.mark.parametrize("before", [None, OLD], ids=["new", "overwrite"])
def test_a_body_that_is_cut_leaves_nothing(pair: Cluster, before: bytes | None) -> None:
    if before is not None:
        assert pair[0].write("f.bin", before).status == 201
    content = os.urandom(4 * MIB)
    for sent in (0, 1, 3 * MIB, 4 * MIB - 1):
        with pair[0].writing("f.bin", len(content)) as connection:
            connection.sendall(content[:sent])
            if sent == 3 * MIB:
                for server in pair.servers:
                    wait_until(server.staged_bytes, f"content arrives at {server.name}")
        assert_nothing_left(pair, "f.bin", before)
    assert pair[0].write("f.bin", content).status == (201 if before is None else 200)


def test_a_body_without_its_last_chunk_leaves_nothing(pair: Cluster) -> None:
    head = request_bytes("/files/f.bin", "PUT", {"Transfer-Encoding": "chunked"})
    for body in (b"5\r\nhello\r\n", b"5\r\nhello\r\nno number\r\n", b"5\r\nhel", b"5\r\nhello world\r\n0\r\n\r\n"):
        with connected(pair[0].port) as connection:
            connection.sendall(head + body)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        assert_nothing_left(pair, "f.bin", None)
    with connected(pair[0].port) as connection:
        connection.sendall(head + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n")
        assert read_response(connection, "PUT").status == 201
    assert_nothing_left(pair, "f.bin", b"hello world")


def test_what_comes_after_the_announced_end_is_not_of_the_file(pair: Cluster) -> None:
    with pair[0].writing("f.txt", 5) as connection:
        connection.sendall(b"hello and more than was announced")
        assert read_response(connection, "PUT").status == 201
    assert_nothing_left(pair, "f.txt", b"hello")


def test_two_lengths_are_none(pair: Cluster) -> None:
    for fields in (
        {"Content-Length": "5", "content-length": "6"},
        {"Content-Length": "5", "Transfer-Encoding": "chunked"},
        {"Content-Length": "-5"},
        {"Content-Length": "0x5"},
        {"Content-Length": "9" * 30},
    ):
        with connected(pair[0].port) as connection:
            connection.sendall(request_bytes("/files/f.txt", "PUT", fields) + b"hello")
            assert_problem(read_response(connection, "PUT"), 400, 413)
        assert files_of(pair) == []


@pytest.mark.parametrize("size", [5, 2 * MIB + 1], ids=["small", "blocks"])
def test_a_wrong_digest_is_refused_and_leaves_nothing(pair: Cluster, size: int) -> None:
    content = os.urandom(size)
    wrong = [
        {"Content-Digest": sf_digest("sha-256", b"x")},
        {"Repr-Digest": sf_digest("sha-512", b"x")},
        {"Content-Digest": f"{sf_digest('sha-256', content)}, {sf_digest('sha-512', b'x')}"},
        {"Accord-Digest": digest_of(b"x")},
    ]
    assert pair[0].write("f.bin", OLD).status == 201
    for fields in wrong:
        answer = pair[0].write("f.bin", content, fields)
        assert_problem(answer, 400)
        assert answer.json()["type"] == "/problems/content-mismatch"
    assert_nothing_left(pair, "f.bin", OLD)
    right = {
        "Content-Digest": f"{sf_digest('sha-256', content)}, md5=:AAAA:",
        "Repr-Digest": sf_digest("sha-512", content),
        "Accord-Digest": digest_of(content),
    }
    assert pair[0].write("f.bin", content, right).status == 200
    assert_nothing_left(pair, "f.bin", content)


def test_fields_that_make_no_sense_are_refused_before_the_body(pair: Cluster) -> None:
    for fields in (
        {"Content-Digest": "sha-256=nonsense"},
        {"Accord-Digest": "blake3:abc"},
        {"Accord-Context": "made up"},
        {"Accord-Modified": "yesterday"},
        {"Accord-Executable": "yes"},
        {"Accord-Author": "a%0ab"},
        {"Accord-Message": "m" * 2001},
        {"Content-Range": "bytes 0-4/10"},
        {"If-None-Match": '"abc"'},
        {"Accord-Move": "?1"},
        {"Accord-Source": "/files/other.txt"},
    ):
        answer = refusal(pair, "f.txt", fields)
        assert_problem(answer, 400)
    assert_problem(refusal(pair, "f.txt", {"Content-Encoding": "gzip"}), 415)
    assert_problem(refusal(pair, "f.txt?min_copies=0", {}), 400)
    assert_problem(refusal(pair, "f.txt?nonsense=1", {}), 400)
    assert files_of(pair) == []


def test_names_that_are_refused(pair: Cluster) -> None:
    secret = pair[0].root.parent / "secret.txt"
    secret.write_bytes(OLD)
    for path in REFUSED:
        for answer in (pair[0].write(path, b"new"), pair[0].remove(path)):
            assert_problem(answer, 400)
            assert answer.json()["type"] == "/problems/invalid-path", path
    assert secret.read_bytes() == OLD
    assert files_of(pair) == []
    assert all(server.staged_bytes() is None for server in pair.servers)


def test_folders_and_files_in_the_way_are_a_conflict(pair: Cluster) -> None:
    assert pair[0].write("folder/file.txt", OLD).status == 201
    pair[1].put("elsewhere/file.txt", OLD)
    pair[1].put("other", OLD)
    for path in ("folder", "folder/file.txt/below", "folder/file.txt/far/below", "elsewhere", "other/below"):
        answer = refusal(pair, path, {})
        assert_problem(answer, 409)
        assert answer.json()["type"] == "/problems/conflict", path
    for server in pair.servers:
        assert server.content("folder/file.txt") == OLD
        assert server.staged_bytes() is None
    assert pair[1].content("other") == OLD


def test_a_folder_whose_files_are_gone_is_in_nobodys_way(pair: Cluster) -> None:
    assert pair[0].write("name/file.txt", OLD).status == 201
    assert pair[0].remove("name/file.txt").status == 200
    assert pair[0].write("name", b"now a file").status == 201
    for server in pair.servers:
        assert server.content("name") == b"now a file"


def test_refusals_come_before_the_body_and_nothing_else_does(pair: Cluster) -> None:
    assert pair[0].write("f.txt", OLD).status == 201
    assert pair[0].write("folder/file.txt", OLD).status == 201
    huge = {"Content-Length": str(2**60)}
    for path, fields, status in (
        ("f.txt", {"If-None-Match": "*"}, 412),
        ("f.txt", {"If-Match": f'"{digest_of(b"another")}"'}, 412),
        ("f.txt", {"If-Match": f'W/"{digest_of(OLD)}"'}, 412),
        ("new.txt", {"If-Match": "*"}, 412),
        ("folder", {}, 409),
        ("f.txt", huge, 413),
        ("f.txt", {"Content-Encoding": "gzip"}, 415),
        (".accord/index.db", {}, 400),
        ("f.txt", {"Content-Length": str(2**50)}, 507),
    ):
        assert_problem(refusal(pair, path, fields), status)
    for server in pair.servers:
        assert server.content("f.txt") == OLD
        assert server.staged_bytes() is None
    with pair[0].writing("f.txt", 3, {"Expect": "100-continue", "If-Match": f'"{digest_of(OLD)}"'}) as connection:
        assert first_line(connection) == b"HTTP/1.1 100"
        connection.sendall(b"new")
        assert read_response(connection, "PUT").status == 200
    assert_nothing_left(pair, "f.txt", b"new")


def refusal(pair: Cluster, path: str, fields: dict[str, str]) -> Response:
    """What a client that waits for its 100 is told instead."""
    with pair[0].writing(path, 5, {"Expect": "100-continue", **fields}) as connection:
        assert first_line(connection) != b"HTTP/1.1 100", (path, fields)
        return read_response(connection, "PUT")


def first_line(connection: socket.socket) -> bytes:
    """As far as its status; it stays to be read."""
    seen = b""
    while len(seen) < 12:
        seen = connection.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL)
        assert seen, "the connection was closed without a word"
    return seen
