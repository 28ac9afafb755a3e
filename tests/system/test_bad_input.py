"""Input that wants to get out of the root, past the limits, or on the server's nerves."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.system.harness import Cluster, Response, connected, read_response, request, request_bytes

SECRET = b"what nobody may read"

REFUSED = [
    "../secret.txt",
    "a/../../secret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "..%2fsecret.txt",
    "..%5csecret.txt",
    "a%5c..%5csecret.txt",
    "%c0%ae%c0%ae/secret.txt",
    "%e0%80%ae%e0%80%ae/secret.txt",
    "%ff%fe",
    "a%00.txt",
    "%00",
    "a%0ab",
    "a%0d%0aX-Injected:%20yes",
    "a%7fb",
    "%ed%a0%80",
    ".accord/index.db",
    ".ACCORD/index.db",
    ".Accord/index.db",
    "%2eaccord/index.db",
    ".accord",
    ".%EF%BC%A1ccord/index.db",
    ".acc%E2%80%8Bord/index.db",
    "a/.accord/b",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "a//b",
    "a/",
    "./a",
    "a/./b",
    "",
    "%zz",
    "%2",
    "a" * 256,
    "a" * 300,
    "/".join(["a" * 99] * 50),
    quote("é" * 128),
]


def assert_problem(answer: Response, *statuses: int) -> None:
    assert answer.status in statuses, answer
    assert answer.headers["content-type"] == "application/problem+json", answer
    problem = answer.json()
    assert problem["status"] == answer.status
    assert problem["type"].startswith("/problems/")
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("path", REFUSED)
def test_paths_that_are_refused(pair: Cluster, path: str) -> None:
    (pair[0].root.parent / "secret.txt").write_bytes(SECRET)
    answer = request(pair[0].port, f"/files/{path}")
    assert_problem(answer, 400)
    assert answer.json()["type"] == "/problems/invalid-path"
    assert SECRET not in answer.body
    assert "x-injected" not in answer.headers


def test_double_encoding_is_decoded_once(pair: Cluster) -> None:
    (pair[0].root.parent / "secret.txt").write_bytes(SECRET)
    assert_problem(request(pair[0].port, "/files/%252e%252e%252fsecret.txt"), 404)
    pair[0].put("%2e%2e", b"a strange but lawful name")
    assert request(pair[0].port, "/files/%252e%252e").body == b"a strange but lawful name"


@pytest.mark.parametrize(
    "name",
    [
        "a b.txt",
        "😀 é ü.txt",
        'it\'s "quoted".txt',
        "a#b?c%d&e=f.txt",
        "-rf",
        "...",
        ".hidden",
        "a+b.txt",
        "ñ" * 127,
        "trailing ",
        "~",
    ],
)
def test_awkward_names_that_work(pair: Cluster, name: str) -> None:
    for server in pair.servers:
        server.put(f"dir {name[:5]}/{name}", b"content")
    answer = request(pair[0].port, "/files/" + quote(f"dir {name[:5]}/{name}"))
    assert (answer.status, answer.body, answer.headers["accord-verdict"]) == (200, b"content", "identical")


def test_what_is_not_a_regular_file_is_not_served_and_never_blocks(pair: Cluster) -> None:
    root = pair[0].root
    (root.parent / "secret.txt").write_bytes(SECRET)
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "secret.txt").write_bytes(SECRET)
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)
        listener.bind("socket")
        os.chdir(here)
        (root / "folder").mkdir()
        (root / "link").symlink_to("../secret.txt")
        (root / "loop").symlink_to("loop")
        (root / "up").symlink_to("../outside")
        (root / "dangling").symlink_to("../nothing-there")
        for name in (
            "fifo",
            "socket",
            "folder",
            "link",
            "loop",
            "up/secret.txt",
            "up/no-such",
            "dangling",
            "up",
            "fifo/x",
        ):
            answer = request(pair[0].port, f"/files/{name}", timeout_s=5)
            assert_problem(answer, 404)
            assert SECRET not in answer.body
            assert b"outside" not in answer.body


@pytest.mark.needs_root
def test_a_device_is_not_served(pair: Cluster) -> None:
    os.mknod(pair[0].root / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    assert_problem(request(pair[0].port, "/files/device", timeout_s=5), 404)


def test_nothing_outside_can_be_told_from_nothing_at_all(pair: Cluster) -> None:
    outside = pair[0].root.parent / "outside"
    outside.mkdir()
    (outside / "there").write_bytes(SECRET)
    (pair[0].root / "up").symlink_to("../outside")
    there, not_there = (request(pair[0].port, f"/files/up/{name}").json() for name in ("there", "gone!"))
    for told in (there, not_there):
        del told["context"]  # it belongs to the path
    assert str(there).replace("there", "") == str(not_there).replace("gone!", "")


def test_a_symlink_swapped_in_during_the_requests_gives_nothing_away(new_cluster: Callable[..., Cluster]) -> None:
    alone = new_cluster(1)  # a second server would heal what is away for a moment
    alone.start()
    root = alone[0].root
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "f.txt").write_bytes(SECRET)
    alone[0].put("d/f.txt", b"inside")
    done = threading.Event()

    def swap() -> None:
        (root / "evil").symlink_to("../outside")
        while not done.is_set():
            os.rename(root / "d", root / "d.real")
            os.rename(root / "evil", root / "d")
            os.rename(root / "d", root / "evil")
            os.rename(root / "d.real", root / "d")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        answers = [alone[0].get("d/f.txt") for _ in range(300)]
    finally:
        done.set()
        swapper.join()
    assert not [answer for answer in answers if SECRET in answer.body]
    assert [answer for answer in answers if answer.body == b"inside"]


@pytest.mark.parametrize(
    "ranges",
    [
        "bytes=abc",
        "bytes=",
        "bytes=5-2",
        "bytes=--5",
        "bytes=1-2,x",
        "lines=1-2",
        "bytes",
        "bytes=0x1-2",
        "bytes=-",
        "bytes=1-2-3",
        "bytes=" + "9" * 500 + "-",
    ],
)
def test_malformed_ranges_do_no_harm(pair: Cluster, ranges: str) -> None:
    pair[0].put("f.txt", b"0123456789")
    answer = pair[0].get("f.txt", headers={"Range": ranges})
    assert answer.status in (200, 416)
    if answer.status == 200:
        assert answer.body == b"0123456789"


def test_ten_thousand_ranges_are_refused_or_ignored(pair: Cluster) -> None:
    content = os.urandom(100_000)
    pair[0].put("f.bin", content)
    many = "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(10_000))
    assert_problem(pair[0].get("f.bin", headers={"Range": many}), 431)
    fewer = "bytes=" + ",".join(f"{9 * n}-" for n in range(2000))
    answer = pair[0].get("f.bin", headers={"Range": fewer})
    assert answer.status in (200, 416)
    assert len(answer.body) <= len(content)


@pytest.mark.parametrize(
    ("target", "headers", "statuses"),
    [
        ("/files/" + "a" * 20_000, {}, (414,)),
        ("/files/a?" + "x" * 20_000, {}, (414,)),
        ("/files/a", {"X-Large": "y" * 40_000}, (431,)),
        ("/files/a", {f"X-{n}": "y" for n in range(200)}, (431,)),
        ("/files/a?verify=maybe", {}, (400,)),
        ("/files/a?nonsense=1", {}, (400,)),
        ("/files/a?version=zzz", {}, (400,)),
        ("/nothing/here", {}, (404,)),
    ],
)
def test_requests_too_large_or_senseless(
    pair: Cluster, target: str, headers: dict[str, str], statuses: tuple[int, ...]
) -> None:
    assert_problem(request(pair[0].port, target, headers=headers), *statuses)


def test_what_is_no_http_gets_a_problem_and_a_closed_connection(pair: Cluster) -> None:
    with connected(pair[0].port) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello?\r\n\r\n")
        assert_problem(read_response(connection), 400)
        assert connection.recv(1) == b""


def test_other_methods_on_a_file_say_what_is_allowed(pair: Cluster) -> None:
    pair[0].put("f.txt", b"content")
    for method in ("POST", "PATCH"):
        answer = pair[0].get("f.txt", method=method)
        assert_problem(answer, 405)
        assert "GET, HEAD, PUT, DELETE" in answer.headers["allow"]


def test_clients_cannot_use_what_servers_say_to_each_other(pair: Cluster) -> None:
    assert_problem(request(pair[0].port, "/peer/stream"), 404, 426)
    with connected(pair[0].port) as connection:
        upgrade = {"Connection": "Upgrade", "Upgrade": "accord-peer"}
        connection.sendall(request_bytes("/peer/stream", headers=upgrade) + b"\x00\x00\x00\x05hello" * 10)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        assert b"content" not in received


def test_pipelined_requests_are_answered_in_order(pair: Cluster) -> None:
    for number in range(20):
        pair[0].put(f"{number}.txt", b"content %d" % number)
    with connected(pair[0].port) as connection:
        connection.sendall(b"".join(request_bytes(f"/files/{number}.txt") for number in range(20)))
        stream = connection.makefile("rb")
        for number in range(20):
            length = 0
            while (line := stream.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert stream.read(length) == b"content %d" % number
